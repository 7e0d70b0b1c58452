//! An embedded chain with the contracts on it, and a BandChain of four validators that proves whatever it is asked.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_chain::{BlockRef, EndpointUrl, Endpoints, EndpointsConfig, Log};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};
use windlass_keys::{LocalSigner, Signer as _};
use windlass_outbox::{Outbox, OutboxConfig};
use windlass_store::Store;
use windlass_vrf::deploy::{Deployed, Deployment, deploy};
use windlass_vrf::ports::client_chain::{ProviderEvent, ProviderReader, decode_log, filter, request_call};
use windlass_vrf::protocol::assemble;
use windlass_vrf::protocol::header::Header;
use windlass_vrf::protocol::iavl::{Leaf, Tree};
use windlass_vrf::protocol::messages::oracle::ResolveStatus;
use windlass_vrf::protocol::multistore::{self, Layout};
use windlass_vrf::protocol::obi::{Calldata, ResultV1, ResultV2};
use windlass_vrf::protocol::oracle_result::{OracleResult, store_key};
use windlass_vrf::protocol::proof::RelayPart;
use windlass_vrf::protocol::signature::{TmSignature, eth_address};
use windlass_vrf::protocol::task::{ProviderVersion, Task};
use windlass_vrf::protocol::vote::{Common, EncodedChainId};

pub const SCRIPT: u64 = 152;
pub const COUNTS: (u8, u8) = (10, 16);
pub const FEE: u64 = 1_000;
const BAND_CHAIN: &str = "band-dev-1";
/// The validator keys are the hashes of these bytes.
const VALIDATORS: std::ops::Range<u8> = 1..5;

pub fn validator(number: u8) -> SigningKey {
    SigningKey::from_slice(keccak256([number]).as_slice()).unwrap()
}

/// What the contracts are deployed with.
pub fn plan(version: ProviderVersion, layout: Layout) -> Deployment {
    let validators =
        VALIDATORS.map(|number| (eth_address(validator(number).verifying_key()), U256::from(number) * U256::from(10)));
    Deployment {
        version,
        layout,
        validators: validators.collect(),
        encoded_chain_id: EncodedChainId::new(BAND_CHAIN),
        oracle_script_id: SCRIPT,
        minimum_fee: U256::from(FEE),
        counts: COUNTS,
    }
}

/// A proof that BandChain answered the task for this worker.
pub fn prove(task: &Task, worker: Address, version: ProviderVersion, layout: Layout) -> Bytes {
    prove_changed(task, worker, version, layout, |_| {})
}

/// As [`prove`], of a result that is changed before it is stored.
pub fn prove_changed(
    task: &Task,
    worker: Address,
    version: ProviderVersion,
    layout: Layout,
    change: impl FnOnce(&mut OracleResult),
) -> Bytes {
    let value = keccak256(task.seed);
    let result = match version {
        ProviderVersion::V1 => {
            let proof = Bytes::from(vec![7; 80]);
            ResultV1 { proof, result: [value, value].concat().into() }.encode()
        }
        ProviderVersion::V2 => ResultV2 { result: Bytes::copy_from_slice(value.as_slice()) }.encode(),
    };
    let mut stored = OracleResult {
        client_id: Bytes::from_static(b"vrf_worker"),
        oracle_script_id: SCRIPT,
        calldata: Calldata { seed: task.seed, time: task.time, worker }.encode().to_vec().into(),
        ask_count: u64::from(COUNTS.1),
        min_count: u64::from(COUNTS.0),
        request_id: 1000 + task.nonce,
        ans_count: 12,
        request_time: 1_700_000_003,
        resolve_time: 1_700_000_009,
        resolve_status: ResolveStatus::Success,
        result: result.into(),
    };
    change(&mut stored);
    let version = 7_000 + task.nonce;
    let key = Bytes::copy_from_slice(&store_key(stored.request_id));
    let other = Leaf::new(Bytes::from_static(b"\x01other"), b"value", 5).unwrap();
    let tree = Tree::new([other, Leaf::new(key.clone(), &stored.encode(), version).unwrap()]).unwrap();
    let root = tree.root().unwrap();
    let (multi_store, app_hash) = multistore::build(layout, |name| if name == "oracle" { root } else { keccak256(name) });
    let hash = |text: &str| Bytes::copy_from_slice(keccak256(text).as_slice());
    let header = Header {
        version_block: 11,
        chain_id: BAND_CHAIN.into(),
        height: version + 1,
        time_second: 1_700_000_010,
        time_nano: 5,
        last_commit_hash: hash("commit"),
        app_hash: Bytes::copy_from_slice(app_hash.as_slice()),
        ..Header::default()
    };
    let block_hash = header.hash();
    let common = Common::new(header.height, 0, 1, B256::repeat_byte(3).as_slice());
    let chain_id = EncodedChainId::new(BAND_CHAIN);
    let votes = VALIDATORS.map(|number| {
        let key = validator(number);
        let time = (header.time_second, u32::from(number));
        (eth_address(key.verifying_key()), TmSignature::sign(&key, &common, &block_hash, time, &chain_id))
    });
    let (_, signatures) = assemble::in_order(votes.collect());
    let relay = RelayPart { multi_store, merkle_parts: header.merkle_parts(), common, signatures };
    assemble::proof(relay, header.height, stored, &tree.prove(&key).unwrap()).encode()
}

pub struct World {
    pub devnet: Devnet,
    pub endpoints: Endpoints,
    pub outbox: Outbox,
    pub accounts: Vec<Address>,
    pub deployed: Deployed,
    pub version: ProviderVersion,
    pub layout: Layout,
    _server: DevnetServer,
    _folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl World {
    pub async fn new(version: ProviderVersion, layout: Layout) -> Self {
        let config = DevnetConfig::default();
        let signer = LocalSigner::from_bytes(&config.accounts[0].secret.0).unwrap();
        let accounts = config.accounts.iter().map(|account| LocalSigner::from_bytes(&account.secret.0).unwrap().address());
        let accounts = accounts.collect();
        let devnet = Devnet::new(config);
        let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let config =
            EndpointsConfig { chain_id: Some(31337), ..EndpointsConfig::new("devnet", [EndpointUrl::new(server.http_url())]) };
        let endpoints = Endpoints::connect(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("outbox.db").display())).await.unwrap();
        let options = OutboxConfig { chain: "devnet".into(), head_poll: Duration::from_millis(20), ..OutboxConfig::default() };
        let outbox = Outbox::open(store, endpoints.clone(), Arc::new(signer), options).await.unwrap();
        let stop = CancellationToken::new();
        let sender = outbox.clone();
        let token = stop.clone();
        tokio::spawn(async move { sender.run(token).await });
        let deployed = deploy(&outbox, "test", &plan(version, layout), Duration::from_secs(30)).await.unwrap();
        Self { devnet, endpoints, outbox, accounts, deployed, version, layout, _server: server, _folder: folder, stop }
    }

    pub fn reader(&self) -> ProviderReader {
        ProviderReader::new(self.endpoints.clone(), self.deployed.provider, Some(self.deployed.lens), None)
    }

    pub async fn head(&self) -> BlockRef {
        self.endpoints.head().await.unwrap()
    }

    /// Sends from an account and expects success. Returns the logs.
    pub async fn transact(&self, from: Address, to: Option<Address>, value: u64, data: impl Into<Bytes>) -> Vec<Log> {
        let receipt = self.attempt(from, to, value, data.into()).await;
        assert_eq!(receipt["status"], "0x1", "a transaction to {to:?} failed");
        serde_json::from_value(receipt["logs"].clone()).unwrap()
    }

    pub async fn attempt(&self, from: Address, to: Option<Address>, value: u64, data: Bytes) -> Value {
        let transaction = json!({ "from": from, "to": to, "value": U256::from(value), "data": data, "gas": "0xb71b00" });
        let hash = self.devnet.request("eth_sendTransaction", json!([transaction])).await.unwrap();
        self.devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap()
    }

    pub async fn create(&self, data: Bytes) -> Address {
        let receipt = self.attempt(self.accounts[0], None, 0, data).await;
        receipt["contractAddress"].as_str().unwrap().parse().unwrap()
    }

    /// Asks for a random value and returns the task that is announced.
    pub async fn request(&self, from: Address, client_seed: &[u8]) -> Task {
        let logs = self.transact(from, Some(self.deployed.provider), FEE, request_call(client_seed)).await;
        announced(&logs, self.deployed.provider)
    }

    pub fn prove(&self, task: &Task, worker: Address) -> Bytes {
        prove(task, worker, self.version, self.layout)
    }
}

/// The task that these logs announce.
pub fn announced(logs: &[Log], provider: Address) -> Task {
    let logs = logs.iter().filter(|log| filter(provider).matches(log));
    let tasks: Vec<Task> = logs
        .filter_map(|log| match decode_log(log) {
            Some(ProviderEvent::Requested(task)) => Some(task),
            _ => None,
        })
        .collect();
    assert_eq!(tasks.len(), 1);
    tasks.into_iter().next().unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
