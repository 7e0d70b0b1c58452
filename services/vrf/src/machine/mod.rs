//! The pure state machine of one relay.
