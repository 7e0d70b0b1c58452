//! The keyper-payer protocol without IO: text forms, ABI encodings, storage layout and the arithmetic of "paid".
//!
//! Everything here is a pure function of its arguments. Quantities are 256-bit integers in token base units, times are
//! Unix seconds as 256-bit integers because the contract stores them so.
