//! Scripted nodes for tests.
