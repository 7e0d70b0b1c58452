//! windlass-conformance
