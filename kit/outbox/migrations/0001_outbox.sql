-- Intents: what must reach the chain exactly once. `id` is derived from chain, account and key, so that the key is unique.
CREATE TABLE outbox_intents (
    id BLOB NOT NULL PRIMARY KEY,
    chain_id BIGINT NOT NULL,
    account BLOB NOT NULL,
    position BIGINT NOT NULL,
    intent_key TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    label TEXT NOT NULL,
    recipient BLOB,
    value BLOB NOT NULL,
    data BLOB NOT NULL,
    gas_limit BIGINT,
    fee_policy TEXT NOT NULL,
    confirmations BIGINT NOT NULL,
    deadline BIGINT,
    simulate BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    hold TEXT,
    cancel BIGINT NOT NULL,
    bump BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    retry_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX outbox_intents_by_state ON outbox_intents (chain_id, account, state, position);

-- The sign-once guard: a nonce exists here before anything is signed with it, and belongs to one intent for ever.
-- A row without intent is a filler. status: open (signed), included (in a block), closed (final), foreign (used by another).
CREATE TABLE outbox_nonces (
    chain_id BIGINT NOT NULL,
    account BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    intent_id BLOB,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, account, nonce)
);
CREATE INDEX outbox_nonces_open ON outbox_nonces (chain_id, account, nonce) WHERE status = 'open';
CREATE INDEX outbox_nonces_by_intent ON outbox_nonces (intent_id);

-- Every transaction ever signed. Rows are never removed: any of them may be in a pool somewhere.
CREATE TABLE outbox_attempts (
    tx_hash BLOB NOT NULL PRIMARY KEY,
    chain_id BIGINT NOT NULL,
    account BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    number BIGINT NOT NULL,
    intent_id BLOB,
    kind TEXT NOT NULL,
    raw BLOB NOT NULL,
    max_fee BLOB NOT NULL,
    priority_fee BLOB NOT NULL,
    legacy BIGINT NOT NULL,
    gas_limit BIGINT NOT NULL,
    signed_at BIGINT NOT NULL,
    accepted_at BIGINT,
    accepted_block BIGINT,
    offered_at BIGINT,
    offers BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    rejection TEXT,
    rejection_message TEXT
);
CREATE UNIQUE INDEX outbox_attempts_by_nonce ON outbox_attempts (chain_id, account, nonce, number);

-- Nonces in a block. A reorganisation removes the row (the history keeps it); settled = 1 is final.
CREATE TABLE outbox_inclusions (
    chain_id BIGINT NOT NULL,
    account BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    tx_hash BLOB NOT NULL,
    intent_id BLOB,
    kind TEXT NOT NULL,
    success BIGINT NOT NULL,
    revert_reason TEXT,
    block_number BIGINT NOT NULL,
    block_hash BLOB NOT NULL,
    final_block BIGINT NOT NULL,
    fee_paid BLOB NOT NULL,
    fee_day BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    PRIMARY KEY (chain_id, account, nonce)
);
CREATE INDEX outbox_inclusions_due ON outbox_inclusions (chain_id, account, final_block) WHERE settled = 0;

-- History of every change of state, for operators.
CREATE TABLE outbox_transitions (
    intent_id BLOB NOT NULL,
    position BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    reason TEXT,
    tx_hash BLOB,
    nonce BIGINT,
    note TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (intent_id, position)
);

-- Fees paid per day (days since 1970-01-01 UTC).
CREATE TABLE outbox_spending (
    chain_id BIGINT NOT NULL,
    account BLOB NOT NULL,
    day BIGINT NOT NULL,
    fees BLOB NOT NULL,
    PRIMARY KEY (chain_id, account, day)
);
