//! windlass-outbox
