//! Transactions as they arrive: decoding, and the checks that need no state.

use alloy_primitives::{B256, Bytes};
use prost::Message;
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::{AuthInfo, Coin, PubKey, SIGN_MODE_DIRECT, TxBody, TxRaw};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::signature::validator_address;
use windlass_vrf_protocol::tx::{BandAddress, MessageType};

use super::bank::Failure;
use crate::config::DENOM;

/// Type URL of a plain payment.
const MSG_SEND: &str = "/cosmos.bank.v1beta1.MsgSend";

/// Most gas that preparing and executing a request may use together.
const MAX_OWASM_GAS: u64 = 8_000_000;

/// Longest client id in bytes.
const MAX_CLIENT_ID: usize = 128;

/// Longest memo in bytes.
const MAX_MEMO: usize = 256;

/// `cosmos.bank.v1beta1.MsgSend`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct MsgSend {
    /// Who pays. Bech32.
    #[prost(string, tag = "1")]
    pub(crate) from_address: String,
    /// Who receives. Bech32.
    #[prost(string, tag = "2")]
    pub(crate) to_address: String,
    /// How much.
    #[prost(message, repeated, tag = "3")]
    pub(crate) amount: Vec<Coin>,
}

/// A message that the chain can execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Msg {
    Request(MessageType, Box<MsgRequestData>),
    Send(MsgSend),
}

impl Msg {
    pub(crate) fn type_url(&self) -> &'static str {
        match self {
            Self::Request(kind, _) => kind.type_url(),
            Self::Send(_) => MSG_SEND,
        }
    }

    pub(crate) fn sender(&self) -> &str {
        match self {
            Self::Request(_, message) => &message.sender,
            Self::Send(message) => &message.from_address,
        }
    }

    fn decode(type_url: &str, value: &[u8]) -> Result<Self, Failure> {
        let parse = |error: prost::DecodeError| Failure::sdk(2, format!("{error}: tx parse error"));
        match (MessageType::from_type_url(type_url), type_url) {
            (Some(kind), _) => Ok(Self::Request(kind, Box::new(MsgRequestData::decode(value).map_err(parse)?))),
            (None, MSG_SEND) => Ok(Self::Send(MsgSend::decode(value).map_err(parse)?)),
            (None, _) => Err(unknown_type(type_url)),
        }
    }

    /// Checks that need no state, in the order of the real chain.
    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Request(_, message) => check_request(message),
            Self::Send(message) => match uband(&message.amount) {
                Some(1..) => Ok(()),
                _ => Err(Failure::sdk(10, "invalid coins")),
            },
        }
    }
}

fn check_request(message: &MsgRequestData) -> Result<(), Failure> {
    let MsgRequestData { min_count, ask_count, prepare_gas, execute_gas, client_id, .. } = message;
    if *min_count == 0 {
        return Err(Failure::oracle(24, "got: 0: invalid min count"));
    }
    if ask_count < min_count {
        return Err(Failure::oracle(25, format!("got: {ask_count}, min count: {min_count}: invalid ask count")));
    }
    if client_id.len() > MAX_CLIENT_ID {
        let text = format!("got: {}, max: {MAX_CLIENT_ID}: too long client id", client_id.len());
        return Err(Failure::oracle(27, text));
    }
    for (name, gas) in [("prepare", *prepare_gas), ("execute", *execute_gas)] {
        if gas == 0 {
            return Err(Failure::oracle(44, format!("invalid {name} gas: 0: invalid owasm gas")));
        }
    }
    let sum = prepare_gas.saturating_add(*execute_gas);
    if sum > MAX_OWASM_GAS {
        let text = format!("sum of prepare gas and execute gas ({sum}) exceed {MAX_OWASM_GAS}: invalid owasm gas");
        return Err(Failure::oracle(44, text));
    }
    if uband(&message.fee_limit).is_none() {
        return Err(Failure::sdk(10, "invalid coins"));
    }
    if !(0..=3).contains(&message.tss_encoder) {
        let text = format!("invalid encoder type: {}: invalid oracle encoder", message.tss_encoder);
        return Err(Failure::oracle(48, text));
    }
    Ok(())
}

fn unknown_type(type_url: &str) -> Failure {
    Failure::sdk(2, format!("unable to resolve type URL {type_url}: tx parse error"))
}

/// A decoded transaction with one signer.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) bytes: Bytes,
    pub(crate) hash: B256,
    pub(crate) raw: TxRaw,
    pub(crate) messages: Vec<Msg>,
    pub(crate) memo: String,
    pub(crate) timeout_height: u64,
    /// Bech32 of the signer, who also pays.
    pub(crate) sender: String,
    /// Compressed key, 33 bytes.
    pub(crate) public_key: Vec<u8>,
    pub(crate) sequence: u64,
    /// What it pays in uband.
    pub(crate) fee: u128,
    /// The fee as text, for logs and events.
    pub(crate) fee_text: String,
    pub(crate) gas_limit: u64,
}

/// Hash of a transaction, by which it is found.
pub(crate) fn hash_of(bytes: &[u8]) -> B256 {
    sha256(&[bytes])
}

impl Transaction {
    /// Decodes and checks what needs no state: code 2 for bytes that are no transaction, and the codes of `ValidateBasic`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let parse = |error: prost::DecodeError| Failure::sdk(2, format!("{error}: tx parse error"));
        let raw = TxRaw::decode(bytes).map_err(parse)?;
        let body = TxBody::decode(raw.body_bytes.as_slice()).map_err(parse)?;
        let auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).map_err(parse)?;
        let messages = body.messages.iter().map(|any| Msg::decode(&any.type_url, &any.value)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = messages.first() else {
            return Err(Failure::sdk(18, "must contain at least one message: invalid request"));
        };
        messages.iter().try_for_each(Msg::check)?;
        let sender = first.sender().to_owned();
        let signers = messages.iter().filter(|message| message.sender() != sender).count() + 1;
        let signer = match auth.signer_infos.as_slice() {
            [signer] if signers == 1 && raw.signatures.len() == 1 => signer,
            _ => {
                let text = format!("invalid number of signer;  expected: {signers}, got {}: unauthorized", raw.signatures.len());
                return Err(Failure::sdk(4, text));
            }
        };
        let direct = signer.mode_info.as_ref().and_then(|mode| mode.single.as_ref()).is_some_and(|s| s.mode == SIGN_MODE_DIRECT);
        if !direct {
            return Err(Failure::sdk(4, "only SIGN_MODE_DIRECT is supported: unauthorized"));
        }
        let public_key = signer.public_key.as_ref().map(|any| PubKey::decode(any.value.as_slice())).transpose();
        let public_key = public_key.map_err(parse)?.unwrap_or_default().key;
        let fee = auth.fee.unwrap_or_default();
        Ok(Self {
            bytes: Bytes::copy_from_slice(bytes),
            hash: hash_of(bytes),
            messages,
            memo: body.memo,
            timeout_height: body.timeout_height,
            sender,
            public_key,
            sequence: signer.sequence,
            fee_text: coins_text(&fee.amount),
            fee: uband(&fee.amount).unwrap_or_default(),
            gas_limit: fee.gas_limit,
            raw,
        })
    }

    /// Refuses requests of the other chain version, as the real chains do.
    pub(crate) fn check_types(&self, layout: Layout) -> Result<(), Failure> {
        let known = if layout == Layout::V3 { MessageType::V3 } else { MessageType::V2 };
        let is_other = |message: &&Msg| matches!(message, Msg::Request(kind, _) if *kind != known);
        self.messages.iter().find(is_other).map_or(Ok(()), |message| Err(unknown_type(message.type_url())))
    }

    /// Checks about memo, end of validity and key, which need the height only.
    pub(crate) fn check_envelope(&self, height: u64) -> Result<(), Failure> {
        if self.timeout_height != 0 && height > self.timeout_height {
            let text = format!("block height: {height}, timeout height: {}: tx timeout height", self.timeout_height);
            return Err(Failure::sdk(30, text));
        }
        if self.memo.len() > MAX_MEMO {
            let text = format!("maximum number of characters is {MAX_MEMO} but received {} characters", self.memo.len());
            return Err(Failure::sdk(12, format!("{text}: memo too large")));
        }
        Ok(())
    }

    /// Whether the key is that of the sender.
    pub(crate) fn check_key(&self) -> Result<(), Failure> {
        let owner = BandAddress(validator_address(&self.public_key)).to_string();
        if self.public_key.len() != 33 || owner != self.sender {
            let text = format!("pubKey does not match signer address {} with signer index: 0: invalid pubkey", self.sender);
            return Err(Failure::sdk(8, text));
        }
        Ok(())
    }
}

/// The sum in uband. `None`: another coin, the same coin twice, or no number.
pub(crate) fn uband(coins: &[Coin]) -> Option<u128> {
    match coins {
        [] => Some(0),
        [coin] if coin.denom == DENOM => coin.amount.parse().ok(),
        _ => None,
    }
}

fn coins_text(coins: &[Coin]) -> String {
    coins.iter().map(|coin| format!("{}{}", coin.amount, coin.denom)).collect::<Vec<_>>().join(",")
}
