//! From messages of nodes to what the relay is told. Numbers that cannot be are refused, never cut.

use alloy_primitives::{Address, B256, Bytes};
use sha2::{Digest, Sha256};
use windlass_vrf_protocol::messages::oracle::QueryRequestResponse;
use windlass_vrf_protocol::messages::tendermint::{Header, SECP256K1_TYPE_URL, Validator};
use windlass_vrf_protocol::messages::tx::{self, PubKey, TxResponse};
use windlass_vrf_protocol::messages::{Any, Timestamp};
use windlass_vrf_protocol::oracle_result::ResolveStatus;
use windlass_vrf_protocol::proof::Proof;
use windlass_vrf_protocol::signature;

use super::error::BandError;
use super::site::Site;
use super::types::{BandBlock, BroadcastAnswer, RequestState, ServedProof, TxInfo};

/// Hash of a transaction as nodes write it: upper-case hexadecimal.
pub(super) fn tx_hash(tx: &[u8]) -> String {
    hex::encode_upper(Sha256::digest(tx))
}

pub(super) fn height(site: Site<'_>, height: i64) -> Result<u64, BandError> {
    u64::try_from(height).map_err(|_| site.malformed(format!("height {height}")))
}

pub(super) fn hash(site: Site<'_>, bytes: &[u8]) -> Result<B256, BandError> {
    B256::try_from(bytes).map_err(|_| site.malformed(format!("a hash of {} bytes", bytes.len())))
}

/// Unix milliseconds, cut.
pub(super) fn millis(site: Site<'_>, time: Timestamp) -> Result<i64, BandError> {
    let nanos = (0..1_000_000_000).contains(&time.nanos).then_some(i64::from(time.nanos));
    let millis = nanos.and_then(|nanos| time.seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000));
    millis.ok_or_else(|| site.malformed("a time that cannot be"))
}

pub(super) fn block(site: Site<'_>, header: &Header, block_hash: &[u8]) -> Result<BandBlock, BandError> {
    if header.chain_id.is_empty() {
        return Err(site.malformed("a header without chain id"));
    }
    Ok(BandBlock {
        chain_id: header.chain_id.clone(),
        height: height(site, header.height)?,
        hash: hash(site, block_hash)?,
        time_ms: millis(site, header.time.unwrap_or_default())?,
    })
}

pub(super) fn tx_info(site: Site<'_>, answer: TxResponse) -> Result<TxInfo, BandError> {
    Ok(TxInfo {
        height: height(site, answer.height)?,
        hash: answer.txhash.to_ascii_uppercase(),
        code: answer.code,
        codespace: answer.codespace,
        raw_log: answer.raw_log,
        events: answer.events,
        // Negative in answers that know no gas: nothing decides by it.
        gas_wanted: u64::try_from(answer.gas_wanted).unwrap_or(0),
        gas_used: u64::try_from(answer.gas_used).unwrap_or(0),
    })
}

/// An answer to a broadcast; one that names another hash than the bytes have is no answer to it.
pub(super) fn broadcast_answer(site: Site<'_>, tx: &[u8], answer: TxResponse) -> Result<BroadcastAnswer, BandError> {
    let expected = tx_hash(tx);
    if !answer.txhash.eq_ignore_ascii_case(&expected) {
        return Err(site.malformed("the hash of another transaction"));
    }
    let included = (answer.height > 0).then(|| tx_info(site, answer.clone())).transpose()?;
    Ok(BroadcastAnswer { hash: expected, code: answer.code, codespace: answer.codespace, raw_log: answer.raw_log, included })
}

/// What became of a transaction, with its signed bytes. Nodes send it decoded and encoded again, so the bytes are taken only where they
/// have the right hash.
pub(super) fn found_tx(site: Site<'_>, answer: TxResponse, tx: Option<&tx::Tx>) -> Result<(TxInfo, Option<Bytes>), BandError> {
    let fits = |bytes: &Vec<u8>| tx_hash(bytes).eq_ignore_ascii_case(&answer.txhash);
    let packed = answer.tx.as_ref().map(|any| any.value.clone()).filter(fits);
    let bytes = packed.or_else(|| tx.map(prost::Message::encode_to_vec).filter(fits));
    Ok((tx_info(site, answer)?, bytes.map(Bytes::from)))
}

pub(super) fn request_state(site: Site<'_>, id: u64, answer: QueryRequestResponse) -> Result<RequestState, BandError> {
    let Some(result) = answer.result else {
        return match answer.request {
            Some(_) => Ok(RequestState::Open),
            None => Err(site.not_found(&format!("request {id} not found"))),
        };
    };
    if result.request_id != id {
        return Err(site.malformed(format!("the result of request {}", result.request_id)));
    }
    match ResolveStatus::try_from(result.resolve_status) {
        Ok(ResolveStatus::Open) => Ok(RequestState::Open),
        Ok(status) => Ok(RequestState::Resolved(status)),
        Err(_) => Err(site.malformed(format!("resolve status {}", result.resolve_status))),
    }
}

/// A proof that can be read and that is about the request. Whether it is true is decided by who uses it. Its height may be another than
/// the one asked for: old nodes do not look at that.
pub(super) fn served_proof(site: Site<'_>, id: u64, bytes: Vec<u8>) -> Result<ServedProof, BandError> {
    let proof = Proof::decode(&bytes).map_err(|error| site.malformed(format!("proof: {error}")))?;
    if proof.verify.result.request_id != id {
        return Err(site.malformed(format!("the proof of request {}", proof.verify.result.request_id)));
    }
    let block_height = proof.relay.merkle_parts.height;
    Ok(ServedProof { block_height, evm_proof_bytes: bytes.into(), ..ServedProof::default() })
}

/// EVM address of the consensus key, and voting power.
pub(super) fn validator(site: Site<'_>, validator: &Validator) -> Result<(Address, u64), BandError> {
    let address = validator.pub_key.as_ref().and_then(evm_address);
    let address = address.ok_or_else(|| site.malformed(format!("validator {} without secp256k1 key", validator.address)))?;
    let power = u64::try_from(validator.voting_power);
    let power = power.map_err(|_| site.malformed(format!("validator {} with negative power", validator.address)))?;
    Ok((address, power))
}

fn evm_address(key: &Any) -> Option<Address> {
    if key.type_url != SECP256K1_TYPE_URL {
        return None;
    }
    let key: PubKey = prost::Message::decode(key.value.as_slice()).ok()?;
    signature::eth_address_of_compressed(&key.key)
}

/// The same key in an envelope, from its 33 bytes.
pub(super) fn secp256k1_key(compressed: Vec<u8>) -> Any {
    let value = prost::Message::encode_to_vec(&PubKey { key: compressed });
    Any { type_url: SECP256K1_TYPE_URL.to_owned(), value }
}

pub(super) fn amount(site: Site<'_>, denom: &str, coin: &tx::Coin) -> Result<u128, BandError> {
    if coin.denom != denom {
        return Err(site.malformed("the balance of another denomination"));
    }
    coin.amount.parse().map_err(|_| site.malformed("an amount that is no number"))
}
