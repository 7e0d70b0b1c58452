//! A small BandChain for tests, benchmarks and fuzz targets: validators with keys, an oracle store, one block and its votes.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

use k256::ecdsa::SigningKey;
use windlass_vrf_protocol::assemble::{self, AssembledBlock, in_order};
use windlass_vrf_protocol::header::{BlockId, Header};
use windlass_vrf_protocol::iavl::{Leaf, Tree};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::Timestamp;
use windlass_vrf_protocol::messages::tendermint::{BlockId as CommitBlock, BlockIdFlag, Commit, CommitSig, PartSetHeader};
use windlass_vrf_protocol::multistore::{Layout, MultiStoreProof, ORACLE, build};
use windlass_vrf_protocol::obi::{Calldata, ResultV2};
use windlass_vrf_protocol::oracle_result::{COUNT_KEY, OracleResult, ResolveStatus, store_key};
use windlass_vrf_protocol::proof::{CountProof, MultiProof, Proof, RelayPart};
use windlass_vrf_protocol::signature::{TmSignature, eth_address, sign, validator_address};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::BridgeState;
use windlass_vrf_protocol::vote::{self, Common, EncodedChainId};
use windlass_vrf_protocol::{Address, B256, Bytes, U256};

pub const WORKER: Address = Address::repeat_byte(0xEE);
pub const TIME: u64 = 1_655_972_425;

/// What a block is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub layout: Layout,
    pub chain_id: String,
    pub powers: Vec<u64>,
    /// Validators that do not vote.
    pub absent: Vec<usize>,
    pub height: u64,
    pub round: u64,
    /// Ids of the requests in the store, all resolved in the block before.
    pub requests: Vec<u64>,
    /// Entries of the store that are no requests.
    pub others: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            layout: Layout::V3,
            chain_id: "bandchain-sim".into(),
            powers: vec![100, 90, 80, 70, 60, 50, 40, 10],
            absent: Vec::new(),
            height: 51,
            round: 0,
            requests: vec![1000],
            others: 5,
        }
    }
}

/// A block with everything that proofs need.
pub struct Block {
    pub setup: Setup,
    pub header: Header,
    pub commit: Commit,
    pub multi_store: MultiStoreProof,
    pub tree: Tree,
    pub relay: RelayPart,
    pub bridge: BridgeState,
    /// Keys in the order of the powers.
    pub keys: Vec<SigningKey>,
}

pub fn key(number: usize) -> SigningKey {
    SigningKey::from_slice(sha256(&[b"validator", &number.to_be_bytes()]).as_slice()).unwrap()
}

pub fn seed_of(request: u64) -> B256 {
    sha256(&[b"seed", &request.to_be_bytes()])
}

pub fn result(request: u64) -> OracleResult {
    let calldata = Calldata { seed: seed_of(request), time: TIME, worker: WORKER };
    OracleResult {
        client_id: Bytes::from_static(b"vrf_worker"),
        oracle_script_id: 152,
        calldata: Bytes::copy_from_slice(&calldata.encode()),
        ask_count: 16,
        min_count: 10,
        request_id: request,
        ans_count: 11,
        request_time: 1_700_000_003,
        resolve_time: 1_700_000_009,
        resolve_status: ResolveStatus::Success,
        result: ResultV2 { result: sha256(&[&calldata.encode()]).to_vec().into() }.encode().into(),
    }
}

impl Setup {
    /// The chain that the fuzz target for proofs and its corpus share.
    pub fn fuzzed() -> Self {
        Self { powers: vec![4, 3, 2, 1], requests: vec![1000, 1001], others: 2, ..Self::default() }
    }

    pub fn build(self) -> Block {
        let version = self.height - 1;
        let mut leaves = vec![Leaf::new(Bytes::from_static(COUNT_KEY), &99u64.to_be_bytes(), version).unwrap()];
        leaves.extend(
            self.requests.iter().map(|id| Leaf::new(store_key(*id).to_vec().into(), &result(*id).encode(), version).unwrap()),
        );
        let other =
            |number: u64| Leaf::new([&[1u8][..], &number.to_be_bytes()].concat().into(), &[number as u8], 1 + number).unwrap();
        leaves.extend((0..self.others).map(other));
        let tree = Tree::new(leaves).unwrap();
        let root = tree.root().unwrap();
        let (multi_store, app_hash) = build(self.layout, |name| if name == ORACLE { root } else { sha256(&[name.as_bytes()]) });
        let hash = |name: &str| Bytes::copy_from_slice(sha256(&[name.as_bytes()]).as_slice());
        let header = Header {
            version_block: 11,
            version_app: 0,
            chain_id: self.chain_id.clone(),
            height: self.height,
            time_second: 1_700_000_000 + self.height,
            time_nano: 123_456_789,
            last_block_id: BlockId { hash: hash("last"), parts_total: 1, parts_hash: hash("last parts") },
            last_commit_hash: hash("commit"),
            data_hash: hash("data"),
            validators_hash: hash("validators"),
            next_validators_hash: hash("next"),
            consensus_hash: hash("consensus"),
            app_hash: app_hash.to_vec().into(),
            last_results_hash: hash("results"),
            evidence_hash: hash("evidence"),
            proposer_address: hash("proposer").slice(..20),
        };
        let keys: Vec<SigningKey> = (0..self.powers.len()).map(key).collect();
        let list = keys.iter().zip(&self.powers).map(|(key, power)| (eth_address(key.verifying_key()), U256::from(*power)));
        let bridge = BridgeState::new(ValidatorSet::new(list).unwrap(), EncodedChainId::new(&self.chain_id));
        let commit = self.commit(&header, &keys);
        let AssembledBlock { relay, .. } = assemble::relay_part(&header, &commit, multi_store, self.layout).unwrap();
        Block { setup: self, header, commit, multi_store, tree, relay, bridge, keys }
    }

    fn commit(&self, header: &Header, keys: &[SigningKey]) -> Commit {
        let (parts_hash, chain_id) = (sha256(&[b"parts"]).to_vec(), EncodedChainId::new(&self.chain_id));
        let common = Common::new(self.height, self.round, 1, &parts_hash);
        let votes = keys.iter().enumerate().map(|(number, key)| {
            let address = validator_address(key.verifying_key().to_encoded_point(true).as_bytes());
            if self.absent.contains(&number) {
                return CommitSig { block_id_flag: BlockIdFlag::Absent as i32, ..CommitSig::default() };
            }
            let (second, nano) = (header.time_second + 1 + number as u64 % 3, number as u32 * 1000);
            let digest = common.digest(&header.hash(), &vote::timestamp(second, nano), &chain_id);
            let (r, s, _) = sign(key, &digest);
            CommitSig {
                block_id_flag: BlockIdFlag::Commit as i32,
                validator_address: address.to_vec(),
                timestamp: Some(Timestamp { seconds: second as i64, nanos: nano as i32 }),
                signature: [r.0, s.0].concat(),
            }
        });
        Commit {
            height: self.height as i64,
            round: self.round as i32,
            block_id: Some(CommitBlock {
                hash: header.hash().to_vec(),
                part_set_header: Some(PartSetHeader { total: 1, hash: parts_hash }),
            }),
            signatures: votes.collect(),
        }
    }
}

impl Block {
    pub fn proof(&self, request: u64) -> Proof {
        let existence = self.tree.prove(&store_key(request)).unwrap();
        assemble::proof(self.relay.clone(), self.setup.height, result(request), &existence)
    }

    pub fn multi_proof(&self) -> MultiProof {
        let verify = self.setup.requests.iter().map(|id| self.proof(*id).verify).collect();
        MultiProof { relay: self.relay.clone(), verify }
    }

    pub fn count_proof(&self) -> CountProof {
        let existence = self.tree.prove(COUNT_KEY).unwrap();
        assemble::count_proof(self.relay.clone(), self.setup.height, 99, &existence)
    }

    /// Signs the relay part anew, after something in it was changed.
    pub fn sign_again(&self, relay: &mut RelayPart) {
        let hash = relay.merkle_parts.block_hash(&relay.multi_store.app_hash(self.setup.layout)).unwrap();
        let chain_id = EncodedChainId::new(&self.setup.chain_id);
        let votes = self.keys.iter().map(|key| {
            let time = (1_700_000_060, 5);
            (eth_address(key.verifying_key()), TmSignature::sign(key, &relay.common, &hash, time, &chain_id))
        });
        relay.signatures = in_order(votes.collect()).1;
    }
}
