//! The pure state machine of one agreement.
