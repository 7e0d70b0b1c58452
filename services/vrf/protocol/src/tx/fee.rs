//! The fee of a transaction, in exact decimals.

/// Why no fee can be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeeError {
    /// The price is no decimal number.
    #[error("the gas price {0:?} is no decimal number such as 0.0025")]
    Malformed(String),
    /// The fee does not fit 128 bits, or the price has more than 38 digits.
    #[error("the gas price {0:?} gives a fee beyond all bounds")]
    TooLarge(String),
}

/// `ceil(gas_limit * gas_price)` without rounding errors: 600001 gas at 0.003 cost 1801.
///
/// The price is a decimal number without sign: `0.0025`, `1`, `.5`, `25e-4`.
///
/// # Errors
/// If the price is no number, or the fee is out of range.
pub fn fee(gas_limit: u64, gas_price: &str) -> Result<u128, FeeError> {
    let too_large = || FeeError::TooLarge(gas_price.chars().take(80).collect());
    let price = Decimal::parse(gas_price).ok_or_else(|| FeeError::Malformed(gas_price.chars().take(80).collect()))?;
    if gas_limit == 0 || price.digits.is_empty() {
        return Ok(0);
    }
    let digits = price.digits.parse::<u128>().map_err(|_| too_large())?;
    let product = digits.checked_mul(u128::from(gas_limit));
    if let Ok(zeros) = u32::try_from(price.exponent) {
        let factor = 10u128.checked_pow(zeros);
        return product.zip(factor).and_then(|(product, factor)| product.checked_mul(factor)).ok_or_else(too_large);
    }
    let places = u32::try_from(price.exponent.unsigned_abs()).map_err(|_| too_large())?;
    match 10u128.checked_pow(places) {
        Some(divisor) => {
            // With the price split at the point neither product exceeds what the fee itself needs.
            let (whole, rest) = (digits / divisor, digits % divisor);
            let whole = whole.checked_mul(u128::from(gas_limit));
            let part = rest.checked_mul(u128::from(gas_limit)).map(|part| part.div_ceil(divisor));
            whole.zip(part).and_then(|(whole, part)| whole.checked_add(part)).ok_or_else(too_large)
        }
        // A price below 10^-38: at most 64 bits of gas cost less than one unit each.
        None if product.is_some() => Ok(1),
        None => Err(too_large()),
    }
}

/// A number as its significant digits and a power of ten. Zero has no digits.
struct Decimal {
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{part}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let exponent = i64::from(exponent).checked_sub(i64::try_from(part.len()).ok()?)?;
        let trimmed = digits.trim_end_matches('0');
        let exponent = exponent.checked_add(i64::try_from(digits.len() - trimmed.len()).ok()?)?;
        Some(Self { digits: trimmed.trim_start_matches('0').to_owned(), exponent })
    }
}
