-- Who may act. `number` is the fencing number: it grows with every change of the holder and with every release.
-- `expires_at_ms` is in the time of the database server (PostgreSQL) or of the program's clock (SQLite).
CREATE TABLE windlass_lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    number BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

-- Named positions in streams. Exactly one of `number` and `bytes` is set.
CREATE TABLE windlass_cursor (
    name TEXT NOT NULL PRIMARY KEY,
    number BIGINT,
    bytes BLOB
);
