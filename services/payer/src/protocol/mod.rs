//! The bytes and the arithmetic of a payment agreement.
