//! Transactions on BandChain: request messages, exact fees, signing and reading back.

mod address;
mod fee;

use alloy_primitives::{B256, Bytes, hex};
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::merkle::sha256;
use crate::messages::oracle::MsgRequestData;
use crate::messages::tx::{
    Any, AuthInfo, Coin, Fee, ModeInfo, ModeInfoSingle, PubKey, SIGN_MODE_DIRECT, SignDoc, SignerInfo, TxBody, TxRaw,
};

pub use address::{AddressError, BandAddress};
pub use fee::{FeeError, fee};

/// Type URL of a signer's key.
pub const PUB_KEY_TYPE_URL: &str = "/cosmos.crypto.secp256k1.PubKey";

/// Which chain version a request message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// `band.oracle.v1`.
    V3,
    /// `oracle.v1`; without field 10.
    V2,
}

impl MessageType {
    /// Type URL of the message.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::V3 => "/band.oracle.v1.MsgRequestData",
            Self::V2 => "/oracle.v1.MsgRequestData",
        }
    }

    /// The version with this type URL.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        [Self::V3, Self::V2].into_iter().find(|version| version.type_url() == type_url)
    }
}

/// A request message with its chain version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDataMsg {
    /// The chain version.
    pub version: MessageType,
    /// The message. `tss_encoder` is left out for V2.
    pub message: MsgRequestData,
}

impl RequestDataMsg {
    /// The message in its `Any`.
    pub fn to_any(&self) -> Any {
        let mut message = self.message.clone();
        if self.version == MessageType::V2 {
            message.tss_encoder = 0;
        }
        Any { type_url: self.version.type_url().to_owned(), value: message.encode_to_vec() }
    }

    /// Reads a message. `None` for another type, or if it is malformed.
    pub fn from_any(any: &Any) -> Option<Self> {
        let version = MessageType::from_type_url(&any.type_url)?;
        Some(Self { version, message: MsgRequestData::decode(&any.value[..]).ok()? })
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInput {
    /// The messages, in order.
    pub messages: Vec<RequestDataMsg>,
    /// Free text.
    pub memo: String,
    /// What the transaction costs, in `denom`. Nothing: no coin.
    pub fee: u128,
    /// Denomination of the fee, such as `uband`.
    pub denom: String,
    /// Most gas it may use.
    pub gas_limit: u64,
    /// The account's sequence.
    pub sequence: u64,
    /// The account's number.
    pub account_number: u64,
    /// Name of the chain.
    pub chain_id: String,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTx {
    /// Encoded `TxRaw`: what is broadcast.
    pub bytes: Bytes,
    /// Hash of the bytes, upper-case hex.
    pub hash: String,
    /// Encoded `TxBody`.
    pub body: Bytes,
    /// Encoded `AuthInfo`.
    pub auth_info: Bytes,
    /// Encoded `SignDoc`.
    pub sign_doc: Bytes,
    /// 64 bytes.
    pub signature: Bytes,
}

/// A key could not sign. It does not happen with a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignError;

/// Signs a transaction: SIGN_MODE_DIRECT, deterministic nonce, `s` in the lower half. The same input gives the same bytes.
///
/// # Errors
/// If the library cannot sign.
pub fn sign(key: &SigningKey, input: &SignInput) -> Result<SignedTx, SignError> {
    let parts = unsigned(key.verifying_key(), input);
    let digest = sha256(&[&parts.sign_doc]);
    let signature: Signature = key.sign_prehash(digest.as_slice()).map_err(|_| SignError)?;
    let signature = signature.normalize_s().unwrap_or(signature);
    Ok(parts.with_signature(&signature.to_bytes()))
}

/// Everything but the signature, for signers that only see the digest of the sign document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedTx {
    /// Encoded `TxBody`.
    pub body: Bytes,
    /// Encoded `AuthInfo`.
    pub auth_info: Bytes,
    /// Encoded `SignDoc`; its SHA-256 is signed.
    pub sign_doc: Bytes,
}

/// The parts of a transaction that a signature covers.
pub fn unsigned(key: &VerifyingKey, input: &SignInput) -> UnsignedTx {
    let body = TxBody {
        messages: input.messages.iter().map(RequestDataMsg::to_any).collect(),
        memo: input.memo.clone(),
        ..TxBody::default()
    };
    let public_key = PubKey { key: key.to_encoded_point(true).as_bytes().to_vec() };
    let signer = SignerInfo {
        public_key: Some(Any { type_url: PUB_KEY_TYPE_URL.to_owned(), value: public_key.encode_to_vec() }),
        mode_info: Some(ModeInfo { single: Some(ModeInfoSingle { mode: SIGN_MODE_DIRECT }), multi: None }),
        sequence: input.sequence,
    };
    let coin = Coin { denom: input.denom.clone(), amount: input.fee.to_string() };
    let amount = if input.fee == 0 { Vec::new() } else { vec![coin] };
    let fee = Fee { amount, gas_limit: input.gas_limit, ..Fee::default() };
    let auth_info = AuthInfo { signer_infos: vec![signer], fee: Some(fee) };
    let (body, auth_info) = (body.encode_to_vec(), auth_info.encode_to_vec());
    let sign_doc = SignDoc {
        body_bytes: body.clone(),
        auth_info_bytes: auth_info.clone(),
        chain_id: input.chain_id.clone(),
        account_number: input.account_number,
    };
    UnsignedTx { body: body.into(), auth_info: auth_info.into(), sign_doc: sign_doc.encode_to_vec().into() }
}

impl UnsignedTx {
    /// The transaction with this signature of 64 bytes.
    pub fn with_signature(self, signature: &[u8]) -> SignedTx {
        let raw = TxRaw {
            body_bytes: self.body.to_vec(),
            auth_info_bytes: self.auth_info.to_vec(),
            signatures: vec![signature.to_vec()],
        };
        let bytes = raw.encode_to_vec();
        SignedTx {
            hash: hash(&bytes),
            bytes: bytes.into(),
            body: self.body,
            auth_info: self.auth_info,
            sign_doc: self.sign_doc,
            signature: Bytes::copy_from_slice(signature),
        }
    }
}

/// Hash of a transaction: upper-case hex of the SHA-256 of its bytes.
pub fn hash(transaction: &[u8]) -> String {
    hex::encode_upper(sha256(&[transaction]))
}

/// A transaction that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedTx {
    /// Its messages with their types.
    pub messages: Vec<Any>,
    /// Those of them that are request messages, with their place.
    pub requests: Vec<(usize, RequestDataMsg)>,
    /// Free text.
    pub memo: String,
    /// Last block that may include it; 0 for any.
    pub timeout_height: u64,
    /// The signer.
    pub signer: VerifyingKey,
    /// The signer's sequence.
    pub sequence: u64,
    /// What it costs.
    pub fee: Vec<Coin>,
    /// Most gas it may use.
    pub gas_limit: u64,
    /// Hash of the bytes, upper-case hex.
    pub hash: String,
    raw: TxRaw,
}

/// Why bytes are no transaction of one signer in SIGN_MODE_DIRECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transaction has no readable {0}")]
pub struct DecodeError(pub &'static str);

impl DecodedTx {
    /// The account of the signer.
    pub fn sender(&self) -> BandAddress {
        BandAddress::of_key(&self.signer)
    }

    /// Whether the signature is right for this chain and account number.
    pub fn verify(&self, chain_id: &str, account_number: u64) -> bool {
        let document = SignDoc {
            body_bytes: self.raw.body_bytes.clone(),
            auth_info_bytes: self.raw.auth_info_bytes.clone(),
            chain_id: chain_id.to_owned(),
            account_number,
        };
        let digest: B256 = sha256(&[&document.encode_to_vec()]);
        let signature = self.raw.signatures.first().and_then(|bytes| Signature::from_slice(bytes).ok());
        // Chains refuse the higher half, and so does the library.
        signature.is_some_and(|signature| self.signer.verify_prehash(digest.as_slice(), &signature).is_ok())
    }
}

/// Reads a transaction with one signer. Nothing is said about its signature: see [`DecodedTx::verify`].
///
/// # Errors
/// What cannot be read.
pub fn decode(transaction: &[u8]) -> Result<DecodedTx, DecodeError> {
    let raw = TxRaw::decode(transaction).map_err(|_| DecodeError("envelope"))?;
    let body = TxBody::decode(&raw.body_bytes[..]).map_err(|_| DecodeError("body"))?;
    let auth = AuthInfo::decode(&raw.auth_info_bytes[..]).map_err(|_| DecodeError("signer and fee"))?;
    let [signer] = auth.signer_infos.as_slice() else {
        return Err(DecodeError("single signer"));
    };
    let single = signer.mode_info.as_ref().and_then(|mode| mode.single);
    if single.is_none_or(|single| single.mode != SIGN_MODE_DIRECT) || raw.signatures.len() != 1 {
        return Err(DecodeError("direct signature"));
    }
    let key = signer.public_key.as_ref().filter(|key| key.type_url == PUB_KEY_TYPE_URL).ok_or(DecodeError("key"))?;
    let key = PubKey::decode(&key.value[..]).map_err(|_| DecodeError("key"))?;
    let fee = auth.fee.ok_or(DecodeError("fee"))?;
    let requests = body.messages.iter().enumerate();
    Ok(DecodedTx {
        requests: requests.filter_map(|(place, any)| Some((place, RequestDataMsg::from_any(any)?))).collect(),
        messages: body.messages,
        memo: body.memo,
        timeout_height: body.timeout_height,
        signer: VerifyingKey::from_sec1_bytes(&key.key).map_err(|_| DecodeError("key"))?,
        sequence: signer.sequence,
        fee: fee.amount,
        gas_limit: fee.gas_limit,
        hash: hash(transaction),
        raw,
    })
}

#[cfg(test)]
mod tests;
