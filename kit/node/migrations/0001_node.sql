CREATE TABLE node_event (
    id BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    service TEXT NOT NULL,
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE INDEX node_event_by_service ON node_event (service, id);
CREATE TABLE node_alert (
    service TEXT NOT NULL,
    alert_key TEXT NOT NULL,
    content TEXT NOT NULL,
    raised_at_ms BIGINT NOT NULL,
    PRIMARY KEY (service, alert_key)
);
CREATE TABLE node_idempotency (
    scope TEXT NOT NULL,
    request_key TEXT NOT NULL,
    digest BLOB NOT NULL,
    started_at_ms BIGINT NOT NULL,
    status BIGINT,
    content_type TEXT,
    body BLOB,
    PRIMARY KEY (scope, request_key)
);
CREATE INDEX node_idempotency_by_time ON node_idempotency (started_at_ms);
