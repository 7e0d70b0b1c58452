//! Addresses as ethers reads them.

use alloy_primitives::{Address, U256, hex};

/// How an address was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressForm {
    /// `0x` and 40 hex digits: all lower, all upper, or with the right EIP-55 checksum.
    Regular,
    /// The same without `0x`.
    WithoutPrefix,
    /// ICAP, the IBAN form: `XE`, two check digits, 30 or 31 characters in base 36.
    Icap,
}

/// An address and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedAddress {
    /// The address. Its `Display` has the EIP-55 checksum.
    pub address: Address,
    /// How it was written.
    pub form: AddressForm,
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `0x` and 40 hex digits nor one of the other known forms.
    #[error("not an address: expected 0x and 40 hex digits")]
    Shape,
    /// Upper and lower case are mixed, but not as EIP-55 asks: at least one digit is probably wrong.
    #[error("wrong checksum: the mix of upper and lower case does not fit the digits")]
    Checksum,
    /// The check digits of an ICAP text do not fit, or its value has more than 160 bits.
    #[error("wrong check digits in an ICAP address")]
    IcapChecksum,
    /// An address, but written in a form that nothing else accepts.
    #[error("write the address with 0x: {0}")]
    IrregularForm(Address),
}

/// Recognises an address in every form the original's check lets pass, and says which one it is.
///
/// Only [`AddressForm::Regular`] can be used afterwards: the original took the other two for names to resolve and failed.
///
/// # Errors
/// [`AddressError::Shape`], [`AddressError::Checksum`] or [`AddressError::IcapChecksum`].
pub fn parse_address_form(text: &str) -> Result<ParsedAddress, AddressError> {
    let (digits, form) = match text.strip_prefix("0x") {
        Some(digits) => (digits, AddressForm::Regular),
        None => (text, AddressForm::WithoutPrefix),
    };
    if let Some(address) = decode_digits(digits) {
        let mixed = digits.contains(|c: char| c.is_ascii_lowercase()) && digits.contains(|c: char| c.is_ascii_uppercase());
        if mixed && address.to_checksum(None).strip_prefix("0x") != Some(digits) {
            return Err(AddressError::Checksum);
        }
        return Ok(ParsedAddress { address, form });
    }
    parse_icap(text).map(|address| ParsedAddress { address, form: AddressForm::Icap })
}

/// Reads an address in its regular form.
///
/// # Errors
/// As [`parse_address_form`], and [`AddressError::IrregularForm`] for the two forms that are only recognised.
pub fn parse_address(text: &str) -> Result<Address, AddressError> {
    match parse_address_form(text)? {
        ParsedAddress { address, form: AddressForm::Regular } => Ok(address),
        ParsedAddress { address, .. } => Err(AddressError::IrregularForm(address)),
    }
}

/// Reads addresses separated by commas. Blanks around an entry are ignored; an empty entry is an error.
///
/// # Errors
/// The first entry that is wrong, counted from 1, with its error.
pub fn parse_address_list(text: &str) -> Result<Vec<ParsedAddress>, (usize, AddressError)> {
    let entries = text.split(',').zip(1..);
    entries.map(|(entry, number)| parse_address_form(entry.trim()).map_err(|error| (number, error))).collect()
}

/// Exactly 40 hex digits, without a prefix.
fn decode_digits(digits: &str) -> Option<Address> {
    if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0u8; 20];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(Address::from(bytes))
}

fn parse_icap(text: &str) -> Result<Address, AddressError> {
    let body = text.strip_prefix("XE").ok_or(AddressError::Shape)?;
    let (check, account) = body.split_at_checked(2).ok_or(AddressError::Shape)?;
    let well_formed = check.bytes().all(|b| b.is_ascii_digit())
        && account.bytes().all(|b| b.is_ascii_alphanumeric())
        && matches!(account.len(), 30 | 31);
    if !well_formed {
        return Err(AddressError::Shape);
    }
    if format!("{:02}", icap_check_digits(account)) != check {
        return Err(AddressError::IcapChecksum);
    }
    // 31 digits in base 36 have up to 161 bits, so the sum cannot overflow.
    let base = U256::from(36);
    let digits = account.chars().filter_map(|c| c.to_digit(36));
    let value = digits.fold(U256::ZERO, |value, digit| value * base + U256::from(digit));
    if value.bit_len() > 160 {
        return Err(AddressError::IcapChecksum);
    }
    Ok(Address::from_word(value.into()))
}

/// The check digits of ISO 13616: the account, then `XE00`, letters written as 10 to 35, modulo 97, from 98.
fn icap_check_digits(account: &str) -> u32 {
    let remainder = account.chars().chain("XE00".chars()).filter_map(|c| c.to_digit(36)).fold(0, |remainder, digit| {
        let shift = if digit < 10 { 10 } else { 100 };
        (remainder * shift + digit) % 97
    });
    98 - remainder
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloy_primitives::address;
    use proptest::prelude::*;

    const CHECKSUMMED: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

    #[test]
    fn regular_forms() {
        let expected = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
        let upper = format!("0x{}", CHECKSUMMED[2..].to_uppercase());
        for text in [CHECKSUMMED, &CHECKSUMMED.to_lowercase(), &upper] {
            assert_eq!(parse_address(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn recognised_but_of_no_use() {
        let bare = &CHECKSUMMED[2..];
        assert_eq!(parse_address_form(bare).unwrap().form, AddressForm::WithoutPrefix);
        assert!(matches!(parse_address(bare), Err(AddressError::IrregularForm(_))));
        let icap = parse_address_form("XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS").unwrap();
        assert_eq!(icap.form, AddressForm::Icap);
        assert_eq!(icap.address, address!("00c5496aEe77C1bA1f0854206A26DdA82a81D6D8"));
    }

    #[test]
    fn refused_forms() {
        for (text, error) in [
            ("", AddressError::Shape),
            ("0x", AddressError::Shape),
            ("vitalik.eth", AddressError::Shape),
            (" 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", AddressError::Shape),
            ("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293B", AddressError::Shape),
            ("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BCC", AddressError::Shape),
            ("0X3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", AddressError::Shape),
            ("0x0x3C44CdDdB6a900fa2b585dd299e03d12FA4293", AddressError::Shape),
            ("0x3c44CdDdB6a900fa2b585dd299e03d12FA4293BC", AddressError::Checksum),
            ("3c44CdDdB6a900fa2b585dd299e03d12FA4293BC", AddressError::Checksum),
            ("XE7438O073KYGTWWZN0F2WZ0R8PX5ZPPZS", AddressError::IcapChecksum),
            ("XE73", AddressError::Shape),
            ("XE7é", AddressError::Shape),
        ] {
            assert_eq!(parse_address_form(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn lists_ignore_blanks_and_name_the_bad_entry() {
        let list = format!("{CHECKSUMMED}, {} ", CHECKSUMMED.to_lowercase());
        assert_eq!(parse_address_list(&list).unwrap().len(), 2);
        assert_eq!(parse_address_list(&format!("{CHECKSUMMED},0x12")), Err((2, AddressError::Shape)));
        assert_eq!(parse_address_list(&format!("{CHECKSUMMED},")), Err((2, AddressError::Shape)));
        assert_eq!(parse_address_list(""), Err((1, AddressError::Shape)));
    }

    proptest! {
        #[test]
        fn every_address_survives_in_its_regular_forms(bytes in any::<[u8; 20]>()) {
            let address = Address::from(bytes);
            let lower = format!("{address:#x}");
            let upper = format!("0x{}", lower[2..].to_uppercase());
            for text in [address.to_string(), lower, upper] {
                prop_assert_eq!(parse_address(&text), Ok(address));
            }
        }

        /// Changing the case of one letter of a checksummed address is noticed, unless the whole becomes one case.
        #[test]
        fn a_changed_case_is_noticed(bytes in any::<[u8; 20]>(), position in 2usize..42) {
            let text = Address::from(bytes).to_string();
            let changed: String = text.chars().enumerate().map(|(index, c)| match c {
                c if index != position => c,
                c if c.is_ascii_lowercase() => c.to_ascii_uppercase(),
                c => c.to_ascii_lowercase(),
            }).collect();
            prop_assume!(changed != text);
            let digits = &changed[2..];
            prop_assume!(digits != digits.to_lowercase() && digits != digits.to_uppercase());
            prop_assert_eq!(parse_address(&changed), Err(AddressError::Checksum));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(XE|0x)?[0-9A-Za-z]{0,44}|.{0,44}") {
            let _ = parse_address_form(&text);
        }
    }
}
