//! The keyper-payer protocol without IO: text forms, ABI encodings, storage layout and the arithmetic of "paid".
//!
//! Everything here is a pure function of its arguments. Amounts are 256-bit integers in token base units. Times are Unix
//! seconds: `u64` where they come from a block, 256 bits where the contract stores them.

pub mod abi;
mod address;
mod holdings;
mod integer;
pub mod storage;
mod terms;

pub use address::{AddressError, AddressForm, ParsedAddress, parse_address, parse_address_form, parse_address_list};
pub use holdings::Holdings;
pub use integer::{Integer, IntegerError, parse_integer};
pub use terms::{PaidUntil, Quote, Terms, round_up_to_multiple};
