//! Both chains embedded: the client chain with accounts that have coins, and a BandChain whose blocks the test makes.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use alloy_primitives::{Address, Bytes, U256};
use serde_json::{Value, json};
use windlass_chain::{BlockTag, EndpointUrl, Endpoints, EndpointsConfig};
use windlass_devnet_band::{BandConfig, BandDevnet};
use windlass_devnet_evm::{Devnet, DevnetConfig, DevnetServer};
use windlass_keys::LocalSigner;
use windlass_node::config::{Schema, SecretUrl, Sources};
use windlass_vrf::VrfConfig;
use windlass_vrf::ports::band::{BandApi as _, BandClient, BandClientConfig, BroadcastMode};
use windlass_vrf::ports::client_chain::{ProviderReader, request_call};
use windlass_vrf::protocol::events::request_ids;
use windlass_vrf::protocol::messages::oracle::MsgRequestData;
use windlass_vrf::protocol::messages::tx::Coin;
use windlass_vrf::protocol::obi::Calldata;
use windlass_vrf::protocol::task::Task;
use windlass_vrf::protocol::tx::{MessageType, RequestDataMsg, SignInput, sign};
use windlass_vrf::service::band_key;

pub const SCRIPT: u64 = 43;
const FEE: u64 = 1_000;

pub struct Chains {
    pub devnet: Devnet,
    pub band: BandDevnet,
    pub url: String,
    pub endpoints: Endpoints,
    pub key_file: String,
    accounts: Vec<Address>,
    folder: tempfile::TempDir,
    _server: DevnetServer,
}

impl Chains {
    pub async fn new() -> Self {
        let config = DevnetConfig::default();
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key").to_str().unwrap().to_owned();
        std::fs::write(&key_file, alloy_primitives::hex::encode(config.accounts[0].secret.0)).unwrap();
        // A key that others can read is refused.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key_file, owner_only).unwrap();
        let signers = config.accounts.iter().map(|account| LocalSigner::from_bytes(&account.secret.0).unwrap());
        let accounts = signers.map(|signer| windlass_keys::Signer::address(&signer)).collect();
        let devnet = Devnet::new(config);
        let server = devnet.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = server.http_url();
        let asked = EndpointsConfig { chain_id: Some(31_337), ..EndpointsConfig::new("devnet", [EndpointUrl::new(&url)]) };
        let endpoints = Endpoints::connect(asked).await.unwrap();
        let band = BandDevnet::start(BandConfig { resolve_after: 1..=1, ..BandConfig::default() }).await.unwrap();
        band.advance_by(3);
        Self { devnet, band, url, endpoints, key_file, accounts, folder, _server: server }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The section of a relay between the two.
    pub fn config(&self, provider: Address, lens: Address, callers: &[Address]) -> VrfConfig {
        let callers: Vec<String> = callers.iter().map(|caller| format!("\"{caller}\"")).collect();
        let text = format!(
            "[chain.sim]\nchain_id = 31337\nurls = [\"{}\"]\n[vrf.sim]\nchain = \"sim\"\nprovider = \"{provider}\"\nlens = \"{lens}\"\n\
             callers = [{}]\n[vrf.sim.account]\nprivate_key = \"file:{}\"\n[vrf.sim.band]\ngrpc = [\"{}\"]\nrpc = [\"{}\"]\n\
             mnemonic = \"test test test test test test test test test test test junk\"\n",
            self.url,
            callers.join(", "),
            self.key_file,
            self.band.grpc_url(),
            self.band.rpc_url()
        );
        let config = Schema::new().section::<VrfConfig>().load(&Sources::text("windlass.toml", &text));
        config.unwrap_or_else(|errors| panic!("{errors}")).instance::<VrfConfig>("sim").unwrap().clone()
    }

    pub fn account(&self, number: usize) -> Address {
        self.accounts[number]
    }

    pub async fn nonce(&self, account: Address) -> u64 {
        self.endpoints.transaction_count(account, BlockTag::Latest).await.unwrap()
    }

    /// Asks for a random value.
    pub async fn request(&self, provider: Address, seed: &str) -> Task {
        let (from, value) = (self.account(3), U256::from(FEE));
        let transaction =
            json!({ "from": from, "to": provider, "value": value, "data": request_call(seed.as_bytes()), "gas": "0xb71b00" });
        let hash = self.devnet.request("eth_sendTransaction", json!([transaction])).await.unwrap();
        let receipt: Value = self.devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let reader = ProviderReader::new(self.endpoints.clone(), provider, None, None);
        let head = self.endpoints.head().await.unwrap();
        let newest = reader.settings(&head).await.unwrap().task_nonce - 1;
        reader.task(newest, &head, 1).await.unwrap().unwrap()
    }

    pub fn client(&self) -> BandClient {
        let rpc = vec![SecretUrl::new(self.band.rpc_url().parse().unwrap())];
        let grpc = vec![self.band.grpc_url().parse().unwrap()];
        BandClient::new(BandClientConfig { grpc, rpc, ..BandClientConfig::default() }).unwrap()
    }

    /// Pays a request for the task from the relay's own Band account, and has it proven.
    pub async fn prove(&self, config: &VrfConfig, task: &Task, worker: Address) -> Bytes {
        let (key, client) = (band_key(config).await.unwrap(), self.client());
        self.band.fund(&key.address, 5_000_000_000);
        let account = client.account(&key.address).await.unwrap();
        let message = MsgRequestData {
            oracle_script_id: SCRIPT,
            calldata: Calldata { seed: task.seed, time: task.time, worker }.encode().to_vec(),
            ask_count: 3,
            min_count: 2,
            client_id: "vrf_worker".to_owned(),
            fee_limit: vec![Coin { denom: "uband".to_owned(), amount: "48".to_owned() }],
            prepare_gas: 100_000,
            execute_gas: 400_000,
            sender: key.address.clone(),
            tss_encoder: 0,
        };
        let input = SignInput {
            messages: vec![RequestDataMsg { version: MessageType::V3, message }],
            memo: String::new(),
            fee: 20_000,
            denom: "uband".to_owned(),
            gas_limit: 800_000,
            sequence: account.sequence,
            account_number: account.account_number,
            chain_id: self.band.encoded_chain_id().name().unwrap().to_owned(),
        };
        let signed = sign(&key.key, &input).unwrap();
        assert!(client.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap().is_taken());
        self.band.advance_by(4);
        let info = client.transaction(&signed.hash).await.unwrap().unwrap();
        let id = request_ids(&info.events, &info.raw_log).unwrap()[0];
        client.proof(id, None).await.unwrap().evm_proof_bytes
    }
}
