//! Bytes of the VRF relay.
pub mod messages;
