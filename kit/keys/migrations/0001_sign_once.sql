CREATE TABLE sign_once (
    domain    TEXT NOT NULL,
    slot      TEXT NOT NULL,
    digest    BLOB NOT NULL,
    signed_ms BIGINT NOT NULL,
    PRIMARY KEY (domain, slot)
);
