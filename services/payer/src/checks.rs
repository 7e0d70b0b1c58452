//! Checks of an agreement's terms and token before money depends on them.
//!
//! The contract accepts almost anything and can never be changed. What it accepts and nobody wants is found here, before
//! the deployment. The rules are pure; reading the token from a chain is in [`crate::ports::contract`].

use std::collections::BTreeSet;
use std::fmt;

use alloy_primitives::{Address, U256};
use serde::Serialize;

use crate::protocol::Terms;

/// A start further ahead than this is taken for milliseconds: ten years in seconds.
const START_TOO_FAR_AHEAD_SECONDS: u64 = 10 * 365 * 86_400 + 3 * 86_400;

/// From this many keypers on one payment costs more than two million gas the first time.
const MANY_KEYPERS: usize = 200;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// Worth knowing.
    Note,
    /// Works, but probably is not what is meant.
    Warning,
    /// Refused unless a flag allows it.
    Refusal,
}

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The keyper list is empty; the constructor reverts.
    NoKeypers,
    /// An address is listed more than once and gets that many shares.
    DuplicateKeyper {
        /// The address.
        keyper: Address,
        /// How often.
        times: usize,
    },
    /// The zero address is listed; its share is locked for ever.
    ZeroKeyper,
    /// So many keypers that payments get expensive.
    ManyKeypers {
        /// How many.
        count: usize,
    },
    /// The rate is zero; the agreement is always paid.
    RateZero,
    /// The rate is so large that `isPaid` reverts soon after the start, for ever.
    RateTooLarge,
    /// The start lies more than ten years ahead, as a time in milliseconds does.
    StartTooFarAhead {
        /// The start.
        start: U256,
        /// The present.
        now_s: u64,
    },
    /// The start has passed: a debt exists at once.
    StartInThePast {
        /// How long ago it was.
        seconds: u64,
        /// The debt at this moment, in token units; `None` when it overflows.
        debt: Option<U256>,
    },
    /// The token is the zero address.
    TokenZero,
    /// There is no code at the token address: every payment reverts.
    TokenWithoutCode {
        /// The address.
        token: Address,
    },
    /// The code at the token address does not answer as a token.
    NotAToken {
        /// The address.
        token: Address,
        /// Which question it failed.
        detail: String,
    },
    /// The token has no readable `decimals` or `symbol`; both are optional in the standard.
    TokenUnnamed {
        /// What is missing.
        detail: String,
    },
    /// The decimals are unusual: the rate may be off by powers of ten.
    TokenDecimals {
        /// The number.
        decimals: u8,
    },
    /// Less arrives than is sent: keypers who withdraw last get nothing.
    FeeOnTransfer {
        /// Units sent in the simulation.
        sent: U256,
        /// Units that arrived.
        received: U256,
    },
    /// The transfer could not be simulated.
    TransferNotSimulated {
        /// Why.
        detail: String,
    },
}

impl Finding {
    /// How bad it is.
    pub fn gravity(&self) -> Gravity {
        match self {
            Self::NoKeypers
            | Self::DuplicateKeyper { .. }
            | Self::ZeroKeyper
            | Self::RateTooLarge
            | Self::StartTooFarAhead { .. }
            | Self::TokenZero
            | Self::TokenWithoutCode { .. }
            | Self::NotAToken { .. } => Gravity::Refusal,
            Self::ManyKeypers { .. } | Self::RateZero | Self::StartInThePast { .. } | Self::FeeOnTransfer { .. } => {
                Gravity::Warning
            }
            Self::TokenUnnamed { .. } | Self::TokenDecimals { .. } | Self::TransferNotSimulated { .. } => Gravity::Note,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeypers => write!(f, "the keyper list is empty; list at least one address"),
            Self::DuplicateKeyper { keyper, times } => {
                write!(f, "keyper {keyper} is listed {times} times and would get {times} shares; list each address once")
            }
            Self::ZeroKeyper => {
                write!(f, "the zero address is listed as a keyper; its share would be locked for ever; remove it")
            }
            Self::ManyKeypers { count } => write!(
                f,
                "{count} keypers: the first payment costs about {} gas, later ones about {}; consider fewer",
                25_000 * count + 92_000,
                7_900 * count + 58_000
            ),
            Self::RateZero => write!(f, "the rate is 0: the agreement would always count as paid"),
            Self::RateTooLarge => write!(
                f,
                "the rate is 2^192 or more: isPaid would revert for ever after the product overflows; the rate is in token \
                 base units per second"
            ),
            Self::StartTooFarAhead { start, now_s } => write!(
                f,
                "the start {start} lies more than ten years after now ({now_s}); it must be in seconds, not milliseconds"
            ),
            Self::StartInThePast { seconds, debt: Some(debt) } => {
                write!(f, "the start was {seconds} s ago: {debt} token units would be owed at once")
            }
            Self::StartInThePast { seconds, debt: None } => {
                write!(f, "the start was {seconds} s ago and the debt does not fit 256 bits")
            }
            Self::TokenZero => write!(f, "the token is the zero address; give the address of an ERC-20 token"),
            Self::TokenWithoutCode { token } => write!(
                f,
                "there is no code at the token address {token}: every payment would revert; check the address and the chain"
            ),
            Self::NotAToken { token, detail } => {
                write!(f, "the contract at {token} is not an ERC-20 token: {detail}; check the address and the chain")
            }
            Self::TokenUnnamed { detail } => write!(f, "the token does not describe itself: {detail}"),
            Self::TokenDecimals { decimals } => {
                write!(f, "the token has {decimals} decimals, not the usual 18; check that the rate is in its base units")
            }
            Self::FeeOnTransfer { sent, received } => write!(
                f,
                "the token keeps a fee: of {sent} units sent {received} arrive; the contract would owe more than it holds"
            ),
            Self::TransferNotSimulated { detail } => {
                write!(f, "whether the token keeps a fee on transfers could not be found out: {detail}")
            }
        }
    }
}

/// Judges the terms of an agreement at the moment `now_s`.
pub fn terms_findings(token: Address, keypers: &[Address], rate: U256, start: U256, now_s: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if token.is_zero() {
        findings.push(Finding::TokenZero);
    }
    if keypers.is_empty() {
        findings.push(Finding::NoKeypers);
    }
    for keyper in keypers.iter().copied().collect::<BTreeSet<_>>() {
        let times = keypers.iter().filter(|other| **other == keyper).count();
        if keyper.is_zero() {
            findings.push(Finding::ZeroKeyper);
        } else if times > 1 {
            findings.push(Finding::DuplicateKeyper { keyper, times });
        }
    }
    if keypers.len() >= MANY_KEYPERS {
        findings.push(Finding::ManyKeypers { count: keypers.len() });
    }
    if rate.is_zero() {
        findings.push(Finding::RateZero);
    } else if rate >= U256::ONE << 192 {
        findings.push(Finding::RateTooLarge);
    }
    let now = U256::from(now_s);
    if start > now.saturating_add(U256::from(START_TOO_FAR_AHEAD_SECONDS)) {
        findings.push(Finding::StartTooFarAhead { start, now_s });
    } else if start < now && !rate.is_zero() {
        let terms = Terms { requested_rate: rate, start_timestamp: start };
        let seconds = u64::try_from(now - start).unwrap_or(u64::MAX);
        findings.push(Finding::StartInThePast { seconds, debt: terms.required_at(now_s) });
    }
    findings
}

/// What a token says about itself, as far as it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenFacts {
    /// The address.
    pub token: Address,
    /// There is code at the address.
    pub has_code: bool,
    /// Answer to `decimals()`, or why there is none.
    pub decimals: Result<u8, String>,
    /// Answer to `symbol()`, or why there is none.
    pub symbol: Result<String, String>,
    /// Answer to `totalSupply()`, or why there is none; every token has it.
    pub total_supply: Result<U256, String>,
    /// Units sent and received in a simulated transfer, or why it could not be simulated.
    pub transfer: Result<(U256, U256), String>,
}

/// Judges a token by what it says about itself.
pub fn token_findings(facts: &TokenFacts) -> Vec<Finding> {
    let token = facts.token;
    if token.is_zero() {
        return vec![Finding::TokenZero];
    }
    if !facts.has_code {
        return vec![Finding::TokenWithoutCode { token }];
    }
    if let Err(detail) = &facts.total_supply {
        return vec![Finding::NotAToken { token, detail: format!("totalSupply() fails: {detail}") }];
    }
    let mut findings = Vec::new();
    match &facts.decimals {
        Ok(18) => {}
        Ok(decimals) => findings.push(Finding::TokenDecimals { decimals: *decimals }),
        Err(detail) => findings.push(Finding::TokenUnnamed { detail: format!("decimals() fails: {detail}") }),
    }
    if let Err(detail) = &facts.symbol {
        findings.push(Finding::TokenUnnamed { detail: format!("symbol() fails: {detail}") });
    }
    match &facts.transfer {
        Ok((sent, received)) if sent != received => {
            findings.push(Finding::FeeOnTransfer { sent: *sent, received: *received });
        }
        Ok(_) => {}
        Err(detail) => findings.push(Finding::TransferNotSimulated { detail: detail.clone() }),
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn address(byte: u8) -> Address {
        Address::repeat_byte(byte)
    }

    fn findings(keypers: &[Address], rate: u64, start: u64) -> Vec<Finding> {
        terms_findings(address(9), keypers, U256::from(rate), U256::from(start), NOW)
    }

    #[test]
    fn good_terms_have_no_findings() {
        assert_eq!(findings(&[address(1), address(2)], 5, NOW + 60), vec![]);
        assert_eq!(findings(&[address(1)], 5, NOW), vec![], "a start at this very second owes nothing yet");
    }

    #[test]
    fn keypers_are_checked() {
        let found = findings(&[address(1), address(2), address(1), Address::ZERO], 5, NOW);
        assert_eq!(found, vec![Finding::ZeroKeyper, Finding::DuplicateKeyper { keyper: address(1), times: 2 }]);
        assert_eq!(findings(&[], 5, NOW), vec![Finding::NoKeypers]);
        let many: Vec<_> = (0..200_u16).map(|i| Address::left_padding_from(&(i + 1).to_be_bytes())).collect();
        assert_eq!(findings(&many, 5, NOW), vec![Finding::ManyKeypers { count: 200 }]);
    }

    #[test]
    fn rates_are_checked() {
        assert_eq!(findings(&[address(1)], 0, 0), vec![Finding::RateZero], "no debt at rate 0");
        let start = U256::from(NOW);
        let limit = U256::ONE << 192;
        assert_eq!(terms_findings(address(9), &[address(1)], limit, start, NOW), vec![Finding::RateTooLarge]);
        assert_eq!(terms_findings(address(9), &[address(1)], limit - U256::ONE, start, NOW), vec![]);
    }

    #[test]
    fn starts_are_checked() {
        let found = findings(&[address(1)], 5, NOW - 10);
        assert_eq!(found, vec![Finding::StartInThePast { seconds: 10, debt: Some(U256::from(50)) }]);
        let millis = findings(&[address(1)], 5, NOW * 1000);
        assert_eq!(millis, vec![Finding::StartTooFarAhead { start: U256::from(NOW * 1000), now_s: NOW }]);
        let ten_years = NOW + START_TOO_FAR_AHEAD_SECONDS;
        assert_eq!(findings(&[address(1)], 5, ten_years), vec![]);
        assert_eq!(findings(&[address(1)], 5, ten_years + 1).len(), 1);
    }

    #[test]
    fn tokens_are_checked() {
        let good = TokenFacts {
            token: address(9),
            has_code: true,
            decimals: Ok(18),
            symbol: Ok("SPT".into()),
            total_supply: Ok(U256::from(1)),
            transfer: Ok((U256::from(10_000), U256::from(10_000))),
        };
        assert_eq!(token_findings(&good), vec![]);
        let bare = TokenFacts { has_code: false, ..good.clone() };
        assert_eq!(token_findings(&bare), vec![Finding::TokenWithoutCode { token: address(9) }]);
        let foreign = TokenFacts { total_supply: Err("reverted".into()), ..good.clone() };
        assert_eq!(token_findings(&foreign).first().unwrap().gravity(), Gravity::Refusal);
        let fee = TokenFacts { transfer: Ok((U256::from(10_000), U256::from(9_900))), ..good.clone() };
        assert_eq!(token_findings(&fee).first().unwrap().gravity(), Gravity::Warning);
        let odd = TokenFacts { decimals: Ok(6), symbol: Err("reverted".into()), ..good };
        assert_eq!(token_findings(&odd).len(), 2);
    }
}
