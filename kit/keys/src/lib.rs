//! windlass-keys
