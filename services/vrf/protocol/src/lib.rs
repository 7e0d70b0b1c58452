//! Bytes of the VRF relay.
