//! A wallet that signs requests, and a Bridge in Rust that judges proofs.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use alloy_primitives::{Address, Bytes, U256, keccak256};
use k256::ecdsa::SigningKey;
use prost::Message;
use windlass_devnet_band::{BandConfig, Chain, CheckAnswer, GenesisAccount};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::{Any, Coin, SignDoc, TxBody};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::obi::Calldata;
use windlass_vrf_protocol::oracle_result::OracleResult;
use windlass_vrf_protocol::tx::{BandAddress, MessageType, RequestDataMsg, SignInput, SignedTx, UnsignedTx, sign, unsigned};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{BridgeState, Refusal, relay_and_verify, verify_oracle_result};

/// Time between blocks of the tests.
pub const BLOCK_MS: u64 = 1_000;

#[derive(Clone, PartialEq, prost::Message)]
struct MsgSend {
    #[prost(string, tag = "1")]
    from_address: String,
    #[prost(string, tag = "2")]
    to_address: String,
    #[prost(message, repeated, tag = "3")]
    amount: Vec<Coin>,
}

pub struct Wallet {
    key: SigningKey,
    pub address: String,
    pub input: SignInput,
    pub version: MessageType,
    pub script: u64,
}

impl Wallet {
    pub fn new(number: u8) -> Self {
        let key = SigningKey::from_slice(keccak256([number]).as_slice()).unwrap();
        let input = SignInput {
            messages: Vec::new(),
            memo: String::new(),
            fee: 2_000,
            denom: "uband".to_owned(),
            gas_limit: 800_000,
            sequence: 0,
            account_number: 20,
            chain_id: BandConfig::default().chain_id,
        };
        let address = BandAddress::of_key(key.verifying_key()).to_string();
        Self { key, address, input, version: MessageType::V3, script: 43 }
    }

    pub fn genesis(&self) -> GenesisAccount {
        GenesisAccount { address: self.address.clone(), uband: 1_000_000_000_000 }
    }

    pub fn message(&self, number: u64) -> RequestDataMsg {
        let calldata =
            Calldata { seed: keccak256(number.to_be_bytes()), time: 1_700_000_000 + number, worker: Address::repeat_byte(7) };
        let message = MsgRequestData {
            oracle_script_id: self.script,
            calldata: calldata.encode().to_vec(),
            ask_count: 3,
            min_count: 2,
            client_id: "vrf_worker".to_owned(),
            fee_limit: vec![Coin { denom: "uband".to_owned(), amount: "48".to_owned() }],
            prepare_gas: 100_000,
            execute_gas: 400_000,
            sender: self.address.clone(),
            tss_encoder: 0,
        };
        RequestDataMsg { version: self.version, message }
    }

    /// Signs messages with the present sequence.
    pub fn sign(&self, messages: Vec<RequestDataMsg>) -> SignedTx {
        self.sign_with(|input| input.messages = messages)
    }

    pub fn sign_with(&self, change: impl FnOnce(&mut SignInput)) -> SignedTx {
        let mut input = self.input.clone();
        input.messages = vec![self.message(self.input.sequence)];
        change(&mut input);
        sign(&self.key, &input).unwrap()
    }

    /// Signs a plain payment with the present sequence, as other software that has the same key would.
    pub fn pay(&self, to: &str, uband: u128) -> SignedTx {
        let key = self.key.verifying_key();
        let coin = Coin { denom: "uband".to_owned(), amount: uband.to_string() };
        let send = MsgSend { from_address: self.address.clone(), to_address: to.to_owned(), amount: vec![coin] };
        let any = Any { type_url: "/cosmos.bank.v1beta1.MsgSend".to_owned(), value: send.encode_to_vec() };
        let body = TxBody { messages: vec![any], ..TxBody::default() }.encode_to_vec();
        let unsigned = UnsignedTx { body: body.clone().into(), ..unsigned(key, &self.input) };
        let document = SignDoc {
            body_bytes: body,
            auth_info_bytes: unsigned.auth_info.to_vec(),
            chain_id: self.input.chain_id.clone(),
            account_number: self.input.account_number,
        };
        let (r, s, _) = windlass_vrf_protocol::signature::sign(&self.key, &sha256(&[&document.encode_to_vec()]));
        unsigned.with_signature(&[r.as_slice(), s.as_slice()].concat())
    }

    /// Signs `count` requests in one transaction and uses the sequence.
    pub fn next(&mut self, count: u64) -> SignedTx {
        let first = self.input.sequence * 1_000;
        let messages: Vec<_> = (0..count).map(|number| self.message(first + number)).collect();
        let signed = self.sign_with(|input| {
            input.messages = messages;
            input.gas_limit = 100_000 + 720_000 * count;
            input.fee = u128::from(input.gas_limit.div_ceil(400));
        });
        self.input.sequence += 1;
        signed
    }

    /// Sends `count` requests in one transaction.
    pub fn send(&mut self, chain: &mut Chain, count: u64) -> CheckAnswer {
        let signed = self.next(count);
        chain.check_tx(&signed.bytes)
    }
}

pub fn config(wallet: &Wallet) -> BandConfig {
    BandConfig { accounts: vec![wallet.genesis()], ..BandConfig::default() }
}

pub fn chain(wallet: &Wallet) -> Chain {
    Chain::new(config(wallet)).unwrap()
}

/// Makes so many blocks.
pub fn advance(chain: &mut Chain, blocks: u64) {
    for _ in 0..blocks {
        let now = chain.latest().unwrap().time_ms() + BLOCK_MS;
        chain.advance(now).unwrap();
    }
}

/// The Bridge that was initialized with the chain's present validators.
pub fn bridge(chain: &Chain) -> BridgeState {
    let powers = chain.validators_for_bridge().into_iter().map(|(address, power)| (address, U256::from(power)));
    BridgeState::new(ValidatorSet::new(powers).unwrap(), chain.encoded_chain_id())
}

/// Judges a proof by both ways of the Bridge, which must agree.
pub fn judge(proof: &Bytes, layout: Layout, bridge: &BridgeState) -> Result<OracleResult, Refusal> {
    let result = verify_oracle_result(proof, layout, bridge);
    assert_eq!(relay_and_verify(proof, layout, bridge).map(|relayed| relayed.value).ok(), result.clone().ok());
    result
}

/// Ids of the requests of an included transaction.
pub fn ids(chain: &Chain, hash: &str) -> Vec<u64> {
    let included = chain.transaction(hash).expect("included");
    windlass_vrf_protocol::events::request_ids(&included.events, &included.raw_log).unwrap()
}

pub fn seed() -> u64 {
    std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// A number that follows from seed and place.
pub fn roll(seed: u64, place: u64) -> u64 {
    let digest = keccak256([seed.to_be_bytes(), place.to_be_bytes()].concat());
    u64::from_be_bytes(*digest.first_chunk().unwrap())
}
