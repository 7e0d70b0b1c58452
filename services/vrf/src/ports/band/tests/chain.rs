//! One block of a chain with validators, votes and an oracle store, and how nodes tell of it.

use alloy_primitives::{Address, B256, U256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use windlass_vrf_protocol::assemble;
use windlass_vrf_protocol::header::{BlockId, Header};
use windlass_vrf_protocol::iavl::{Leaf, Tree};
use windlass_vrf_protocol::ics23;
use windlass_vrf_protocol::multistore::{self, Layout, MultiStoreProof};
use windlass_vrf_protocol::oracle_result::{COUNT_KEY, OracleResult, ResolveStatus, store_key};
use windlass_vrf_protocol::signature::{TmSignature, eth_address, validator_address};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::BridgeState;
use windlass_vrf_protocol::vote::{Common, EncodedChainId};

use super::CHAIN;

/// Seconds and nanoseconds of every block and vote.
const TIME: (u64, u32) = (1_700_000_000, 123_456_789);

pub(super) struct Chain {
    keys: Vec<SigningKey>,
    results: Vec<OracleResult>,
    tree: Tree,
    multi_store: MultiStoreProof,
    pub(super) header: Header,
}

impl Chain {
    /// A chain whose block of this height seals results of these requests, written one block before.
    pub(super) fn new(height: u64, requests: &[u64]) -> Self {
        let keys = (1..=4u8).map(|seed| SigningKey::from_slice(&[seed; 32]).unwrap()).collect();
        let results: Vec<_> = requests.iter().map(|id| result(*id)).collect();
        let leaf = |key: &[u8], value: &[u8]| Leaf::new(key.to_vec().into(), value, height - 1).unwrap();
        let count = leaf(COUNT_KEY, &(requests.len() as u64).to_be_bytes());
        let leaves = results.iter().map(|result| leaf(&store_key(result.request_id), &result.encode()));
        let tree = Tree::new(leaves.chain([count])).unwrap();
        let root = tree.root().unwrap();
        let (multi_store, app_hash) = multistore::build(Layout::V3, |name| {
            if name == multistore::ORACLE { root } else { B256::repeat_byte(u8::try_from(name.len()).unwrap()) }
        });
        let hash = |byte: u8| vec![byte; 32].into();
        let header = Header {
            version_block: 11,
            version_app: 0,
            chain_id: CHAIN.to_owned(),
            height,
            time_second: TIME.0,
            time_nano: TIME.1,
            last_block_id: BlockId { hash: hash(1), parts_total: 1, parts_hash: hash(2) },
            last_commit_hash: hash(3),
            data_hash: hash(4),
            validators_hash: hash(5),
            next_validators_hash: hash(5),
            consensus_hash: hash(6),
            app_hash: app_hash.to_vec().into(),
            last_results_hash: hash(7),
            evidence_hash: hash(8),
            proposer_address: vec![9; 20].into(),
        };
        Self { keys, results, tree, multi_store, header }
    }

    pub(super) fn height(&self) -> u64 {
        self.header.height
    }

    pub(super) fn app_hash(&self) -> B256 {
        self.multi_store.app_hash(Layout::V3)
    }

    /// The Bridge that trusts the validators.
    pub(super) fn bridge(&self) -> BridgeState {
        let list = self.validators().into_iter().map(|(address, power)| (address, U256::from(power)));
        BridgeState::new(ValidatorSet::new(list).unwrap(), EncodedChainId::new(CHAIN))
    }

    pub(super) fn validators(&self) -> Vec<(Address, u64)> {
        (1..).zip(&self.keys).map(|(power, key)| (eth_address(key.verifying_key()), power * 100)).collect()
    }

    /// Proof of a request as the Proof service serves it.
    pub(super) fn proof(&self, id: u64) -> Vec<u8> {
        let common = Common::new(self.height(), 0, 1, &[3; 32]);
        let (hash, chain) = (self.header.hash(), EncodedChainId::new(CHAIN));
        let votes =
            self.keys.iter().map(|key| (eth_address(key.verifying_key()), TmSignature::sign(key, &common, &hash, TIME, &chain)));
        let (_, signatures) = assemble::in_order(votes.collect());
        let (multi_store, merkle_parts) = (self.multi_store, self.header.merkle_parts());
        let relay = windlass_vrf_protocol::proof::RelayPart { multi_store, merkle_parts, common, signatures };
        let existence = self.tree.prove(&store_key(id)).unwrap();
        let result = self.results.iter().find(|result| result.request_id == id).unwrap().clone();
        assemble::proof(relay, self.height(), result, &existence).encode().to_vec()
    }

    /// Answer of `/commit`. One validator voted for nothing, and `silent` are absent.
    pub(super) fn commit(&self, canonical: bool, silent: usize) -> Value {
        let header = &self.header;
        let upper = |bytes: &[u8]| hex::encode_upper(bytes);
        let time = "2023-11-14T22:13:20.123456789Z";
        let block_id = json!({ "hash": upper(header.hash().as_slice()), "parts": { "total": 1, "hash": upper(&[3; 32]) } });
        let votes = self.keys.iter().enumerate().map(|(index, key)| {
            if index < silent {
                return json!({ "block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null });
            }
            json!({
                "block_id_flag": 2, "validator_address": upper(&address_of(key)), "timestamp": time,
                "signature": STANDARD.encode(self.vote(key)),
            })
        });
        let nil = json!({
            "block_id_flag": 3, "validator_address": upper(&[8; 20]), "timestamp": time, "signature": STANDARD.encode([1; 64]),
        });
        let signatures: Vec<_> = votes.chain([nil]).collect();
        json!({
            "signed_header": {
                "header": {
                    "version": { "block": "11" }, "chain_id": CHAIN, "height": header.height.to_string(), "time": time,
                    "last_block_id": { "hash": upper(&[1; 32]), "parts": { "total": 1, "hash": upper(&[2; 32]) } },
                    "last_commit_hash": upper(&[3; 32]), "data_hash": upper(&[4; 32]), "validators_hash": upper(&[5; 32]),
                    "next_validators_hash": upper(&[5; 32]), "consensus_hash": upper(&[6; 32]), "app_hash": upper(&header.app_hash),
                    "last_results_hash": upper(&[7; 32]), "evidence_hash": upper(&[8; 32]), "proposer_address": upper(&[9; 20]),
                },
                "commit": { "height": header.height.to_string(), "round": 0, "block_id": block_id, "signatures": signatures },
            },
            "canonical": canonical,
        })
    }

    fn vote(&self, key: &SigningKey) -> Vec<u8> {
        let common = Common::new(self.height(), 0, 1, &[3; 32]);
        let signature = TmSignature::sign(key, &common, &self.header.hash(), TIME, &EncodedChainId::new(CHAIN));
        [signature.r.as_slice(), signature.s.as_slice()].concat()
    }

    /// Answer of `/abci_query` for the result of a request.
    pub(super) fn store(&self, id: u64) -> Value {
        let key = store_key(id);
        let Some(existence) = self.tree.prove(&key) else {
            return json!({ "response": { "code": 0, "log": "", "value": null, "proofOps": null, "height": "1", "codespace": "" } });
        };
        let value = self.results.iter().find(|result| result.request_id == id).unwrap().encode();
        let ops = ics23::to_ops(&key, &value, &existence, &self.multi_store, Layout::V3);
        let ops: Vec<_> = ops
            .iter()
            .map(|op| json!({ "type": op.r#type, "key": STANDARD.encode(&op.key), "data": STANDARD.encode(&op.data) }))
            .collect();
        json!({ "response": {
            "code": 0, "log": "", "info": "", "index": "0", "key": STANDARD.encode(key), "value": STANDARD.encode(value),
            "proofOps": { "ops": ops }, "height": (self.height() - 1).to_string(), "codespace": "",
        } })
    }

    /// One page of the validators as CometBFT tells them.
    pub(super) fn validators_json(&self, page: usize, per_page: usize) -> Value {
        let all = (1..).zip(&self.keys).map(|(power, key): (u64, _)| {
            json!({
                "address": hex::encode_upper(address_of(key)),
                "pub_key": { "type": "tendermint/PubKeySecp256k1", "value": STANDARD.encode(compressed(key)) },
                "voting_power": (power * 100).to_string(), "proposer_priority": "0",
            })
        });
        let validators: Vec<_> = all.skip((page - 1) * per_page).take(per_page).collect();
        json!({ "block_height": "77", "count": validators.len().to_string(), "validators": validators, "total": "4" })
    }

    pub(super) fn public_keys(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(compressed).collect()
    }
}

fn compressed(key: &SigningKey) -> Vec<u8> {
    key.verifying_key().to_encoded_point(true).as_bytes().to_vec()
}

fn address_of(key: &SigningKey) -> [u8; 20] {
    validator_address(&compressed(key))
}

fn result(id: u64) -> OracleResult {
    OracleResult {
        client_id: b"vrf_worker".as_slice().into(),
        oracle_script_id: 6,
        calldata: vec![5; 68].into(),
        ask_count: 3,
        min_count: 2,
        request_id: id,
        ans_count: 2,
        request_time: 1_699_999_990,
        resolve_time: 1_699_999_999,
        resolve_status: ResolveStatus::Success,
        result: vec![6; 36].into(),
    }
}
