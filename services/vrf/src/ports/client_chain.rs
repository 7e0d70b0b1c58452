//! Provider, lens and Bridge on the client chain.
