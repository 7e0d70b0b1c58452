-- One row per subscriber: where its stream began.
CREATE TABLE chain_follow (
    subscriber TEXT NOT NULL PRIMARY KEY,
    first_number BIGINT NOT NULL
);

-- The last delivered blocks of each subscriber. The highest one is its position.
CREATE TABLE chain_follow_block (
    subscriber TEXT NOT NULL,
    number BIGINT NOT NULL,
    hash BLOB NOT NULL,
    parent_hash BLOB NOT NULL,
    timestamp_seconds BIGINT NOT NULL,
    base_fee_per_gas BIGINT,
    gas_limit BIGINT NOT NULL,
    gas_used BIGINT NOT NULL,
    PRIMARY KEY (subscriber, number)
);
