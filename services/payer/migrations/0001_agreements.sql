-- One row per agreement: the whole state of its machine, and the parts of it that people ask for.
CREATE TABLE payer_agreements (
    name TEXT NOT NULL PRIMARY KEY,
    chain_id BIGINT NOT NULL,
    contract BLOB NOT NULL,
    phase TEXT NOT NULL,
    health TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);

-- What happened to an agreement, in order; never changed.
CREATE TABLE payer_history (
    agreement TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    code TEXT NOT NULL,
    severity TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (agreement, sequence)
);
