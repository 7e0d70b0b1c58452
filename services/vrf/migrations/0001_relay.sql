-- Tasks of the providers. The seed is part of the name: a task that a reorganisation takes back and brings again finds its row again.
-- `live` = 1 while something may still happen.
CREATE TABLE vrf_tasks (
    chain_id BIGINT NOT NULL,
    provider BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    seed BLOB NOT NULL,
    state TEXT NOT NULL,
    hold TEXT,
    live BIGINT NOT NULL,
    task TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, provider, nonce, seed)
);
CREATE INDEX vrf_tasks_live ON vrf_tasks (chain_id, provider, nonce) WHERE live = 1;

-- Every Band transaction ever signed. Rows are never removed: any of them may be in a mempool somewhere.
CREATE TABLE vrf_band_txs (
    band_chain TEXT NOT NULL,
    account TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    number BIGINT NOT NULL,
    chain_id BIGINT NOT NULL,
    provider BLOB NOT NULL,
    tx_hash TEXT NOT NULL,
    raw BLOB NOT NULL,
    tasks TEXT NOT NULL,
    terms TEXT NOT NULL,
    fee BLOB NOT NULL,
    gas_limit BIGINT NOT NULL,
    state TEXT NOT NULL,
    height BIGINT,
    signed_at BIGINT NOT NULL,
    PRIMARY KEY (band_chain, account, sequence, number)
);
CREATE INDEX vrf_band_txs_open ON vrf_band_txs (chain_id, provider, sequence) WHERE state IN ('signed', 'broadcast');

-- Paid requests: which message of which transaction got which id.
CREATE TABLE vrf_requests (
    tx_hash TEXT NOT NULL,
    place BIGINT NOT NULL,
    chain_id BIGINT NOT NULL,
    provider BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    seed BLOB NOT NULL,
    request_id BIGINT NOT NULL,
    PRIMARY KEY (tx_hash, place)
);
CREATE INDEX vrf_requests_by_task ON vrf_requests (chain_id, provider, nonce, seed);

-- History of every task, for operators.
CREATE TABLE vrf_history (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    chain_id BIGINT NOT NULL,
    provider BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    seed BLOB NOT NULL,
    at BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    text TEXT NOT NULL,
    bad BIGINT NOT NULL
);
CREATE INDEX vrf_history_by_task ON vrf_history (chain_id, provider, nonce, position);

-- Where reading of task numbers goes on, and for which callers the ones below were looked at.
CREATE TABLE vrf_scans (
    chain_id BIGINT NOT NULL,
    provider BLOB NOT NULL,
    next BIGINT NOT NULL,
    callers BLOB NOT NULL,
    PRIMARY KEY (chain_id, provider)
);
