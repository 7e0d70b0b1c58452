-- The HTTP trigger of a cloud: failed cycles in a row, and when the next task of the queue is due. One row for each relay.
CREATE TABLE vrf_cloud (
    instance TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    next_due_ms BIGINT
);
