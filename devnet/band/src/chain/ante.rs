//! What every transaction passes before its messages run: fee, account, key, sequence, signature, in the order of the real chain.

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use prost::Message;
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::tx::SignDoc;
use windlass_vrf_protocol::tx::fee;

use super::bank::{Bank, Failure};
use super::transaction::Transaction;
use crate::config::{BandConfig, DENOM};

/// Gas of a transaction beside its bytes and messages.
const BASE_GAS: u64 = 45_000;

/// Gas of each byte of a transaction.
const GAS_PER_BYTE: u64 = 10;

/// Why a transaction is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It arrives at the node.
    Check,
    /// It waits while a block was made.
    Recheck,
    /// It is in a block. Its signature was checked when it arrived.
    Deliver,
    /// Somebody wants to know its gas; it may be unsigned.
    Simulate,
}

/// Gas that a transaction has used of what it may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gas {
    pub(crate) limit: u64,
    pub(crate) used: u64,
}

impl Gas {
    /// Uses gas.
    pub(crate) fn consume(&mut self, amount: u64, location: &str) -> Result<(), Failure> {
        self.used = self.used.saturating_add(amount);
        if self.used > self.limit {
            let Self { limit, used } = self;
            let text = format!("out of gas in location: {location}; gasWanted: {limit}, gasUsed: {used}: out of gas");
            return Err(Failure::sdk(11, text));
        }
        Ok(())
    }
}

/// Runs the checks and takes fee and sequence from `bank`, which stays as it was if one fails. `height` is that of the block that the
/// transaction is or would be in.
pub(crate) fn run(
    config: &BandConfig,
    bank: &mut Bank,
    transaction: &Transaction,
    height: u64,
    mode: Mode,
) -> Result<Gas, Failure> {
    let sender = &transaction.sender;
    if transaction.gas_limit > config.max_block_gas {
        let text = format!("tx gas limit {} exceeds block max gas {}", transaction.gas_limit, config.max_block_gas);
        return Err(Failure::sdk(41, format!("{text}: invalid gas limit")));
    }
    transaction.check_envelope(height)?;
    // A simulation is not bounded by the limit that it is to find.
    let limit = if mode == Mode::Simulate { u64::MAX } else { transaction.gas_limit };
    let mut gas = Gas { limit, used: 0 };
    let size = (transaction.bytes.len() as u64).saturating_mul(GAS_PER_BYTE);
    gas.consume(BASE_GAS.saturating_add(size), "txSize")?;
    if matches!(mode, Mode::Check | Mode::Recheck) {
        check_fee(config, transaction)?;
    }
    let Some(before) = bank.get(sender) else {
        return Err(Failure::sdk(9, format!("fee payer address: {sender} does not exist: unknown address")));
    };
    bank.debit(sender, transaction.fee).map_err(|failure| {
        // The SDK wraps the bank's error in one of the same kind.
        Failure { raw_log: format!("{}: insufficient funds", failure.raw_log), ..failure }
    })?;
    let rest = check_signer(config, transaction, before.number, before.sequence, mode);
    if let Some(account) = bank.get_mut(sender) {
        match &rest {
            Ok(()) => account.sequence = account.sequence.saturating_add(1),
            Err(_) => *account = before,
        }
    }
    rest.map(|()| gas)
}

fn check_fee(config: &BandConfig, transaction: &Transaction) -> Result<(), Failure> {
    // The price was checked when the chain was made.
    let required = fee(transaction.gas_limit, &config.min_gas_price).unwrap_or(u128::MAX);
    if transaction.fee < required {
        let text = format!("insufficient fees; got: {} required: {required}{DENOM}: insufficient fee", transaction.fee_text);
        return Err(Failure::sdk(13, text));
    }
    Ok(())
}

fn check_signer(config: &BandConfig, transaction: &Transaction, number: u64, expected: u64, mode: Mode) -> Result<(), Failure> {
    if mode != Mode::Simulate || !transaction.public_key.is_empty() {
        transaction.check_key()?;
    }
    if transaction.sequence != expected {
        let got = transaction.sequence;
        return Err(sequence_mismatch(expected, got));
    }
    if mode == Mode::Check && !is_signed(config, transaction, number) {
        let chain_id = &config.chain_id;
        let asked = format!("account number ({number}), sequence ({expected}) and chain-id ({chain_id})");
        let text = format!("signature verification failed; please verify {asked}: (unable to verify single signer signature)");
        return Err(Failure::sdk(4, format!("{text}: unauthorized")));
    }
    Ok(())
}

/// The refusal of a transaction whose sequence is not the account's.
pub(crate) fn sequence_mismatch(expected: u64, got: u64) -> Failure {
    let text = format!("account sequence mismatch, expected {expected}, got {got}: incorrect account sequence");
    Failure::sdk(32, text)
}

fn is_signed(config: &BandConfig, transaction: &Transaction, account_number: u64) -> bool {
    let doc = SignDoc {
        body_bytes: transaction.raw.body_bytes.clone(),
        auth_info_bytes: transaction.raw.auth_info_bytes.clone(),
        chain_id: config.chain_id.clone(),
        account_number,
    };
    let digest = sha256(&[&doc.encode_to_vec()]);
    let key = VerifyingKey::from_sec1_bytes(&transaction.public_key);
    let signature = transaction.raw.signatures.first().map(|bytes| Signature::from_slice(bytes));
    match (key, signature) {
        // Signatures with a high second half are refused, as on the real chain.
        (Ok(key), Some(Ok(signature))) if signature.normalize_s().is_none() => {
            key.verify_prehash(digest.as_slice(), &signature).is_ok()
        }
        _ => false,
    }
}
