//! The relay end to end: the program as its operator uses it, a chain in a process of its own, a BandChain that outlives the node, and
//! `kill -9` in the middle.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_devnet_band::{BandConfig, BandDevnet, GenesisAccount};

use crate::support::{Chain, DEV_KEY, Node, eventually, run, run_ok};

/// Words of the Band account: public knowledge.
const PHRASE: &str = "test test test test test test test test test test test junk";
/// The account that asks, which both chains hold the key of.
const ASKER: &str = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc";
const RELAYED: &str = "0xbb35e03f369500c47da299f2f157992432def6f457e32bf81db41dfd1e7cca9c";

struct Scene {
    chain: Chain,
    band: BandDevnet,
    provider: String,
}

impl Scene {
    async fn set(folder: &Path, version: &str) -> Self {
        secret(folder, "key", DEV_KEY);
        secret(folder, "words", PHRASE);
        let chain = Chain::start(folder).await;
        let words = run_ok(folder, &["keys", "derive", "--phrase", "file:words", "--coin", "band", "--json"]);
        let words: Value = serde_json::from_str(&words).unwrap();
        let address = words["addresses"][0]["address"].as_str().unwrap().to_owned();
        let band = BandDevnet::start(BandConfig {
            accounts: vec![GenesisAccount { address, uband: 1_000_000_000 }],
            block_interval: Some(Duration::from_millis(50)),
            resolve_after: 2..=6,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ..BandConfig::default()
        })
        .await
        .unwrap();
        let script = if version == "v1" { "36" } else { "43" };
        let rpc = band.rpc_url();
        let deployed = run_ok(
            folder,
            &[
                "--json",
                "vrf",
                "deploy-dev",
                "--rpc-url",
                &chain.url,
                "--key",
                "file:key",
                "--band-rpc",
                &rpc,
                "--generation",
                version,
                "--oracle-script-id",
                script,
            ],
        );
        let deployed: Value = serde_json::from_str(&deployed).unwrap();
        let provider = deployed["deployed"]["provider"].as_str().unwrap().to_owned();
        let text = format!(
            "[chain.local]\nurls = [\"{}\"]\nchain_id = 31337\n\n[vrf.local]\nchain = \"local\"\nprovider = \"{provider}\"\nlens = {}\n\
             callers = [\"{}\"]\nconfirmations = 1\nfinal_depth = 1\npoll_interval = \"100ms\"\n\n\
             [vrf.local.account]\nprivate_key = \"file:key\"\n\n\
             [vrf.local.band]\ngrpc = [\"{}\"]\nrpc = [\"{rpc}\"]\nmnemonic = \"file:words\"\npoll_interval = \"20ms\"\n",
            chain.url,
            deployed["deployed"]["lens"],
            ASKER.to_lowercase(),
            band.grpc_url(),
        );
        std::fs::write(folder.join("windlass.toml"), text).unwrap();
        Self { chain, band, provider }
    }

    async fn ask(&self, seed: &str) {
        let data = windlass_vrf::ports::client_chain::request_call(seed.as_bytes());
        let call = json!([{ "from": ASKER, "to": self.provider, "value": "0x2386f26fc10000", "data": data }]);
        self.chain.request("eth_sendTransaction", call).await;
    }

    async fn relayed(&self) -> usize {
        let filter = json!([{ "address": self.provider, "fromBlock": "0x0", "topics": [RELAYED] }]);
        self.chain.request("eth_getLogs", filter).await.as_array().unwrap().len()
    }
}

fn secret(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
    std::fs::set_permissions(folder.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// The node dies at six different moments in the life of requests; every value arrives, and each is paid for once on both chains.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn random_values_are_relayed_and_paid_once_although_the_node_is_killed_six_times() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scene = Scene::set(folder, "v2").await;
    let checked = run_ok(folder, &["vrf", "check"]);
    assert!(checked.contains("windlass-band-1"), "{checked}");
    let mut asked = 0;
    for life in 0_u64..6 {
        let mut node = Node::start(folder, "windlass.toml").await;
        for _ in 0..2 {
            scene.ask(&format!("seed {asked}")).await;
            asked += 1;
        }
        // Another moment in each life: before the payment, while BandChain works, while the relay is under way.
        tokio::time::sleep(Duration::from_millis(40 + 110 * life)).await;
        node.process.kill_9();
    }
    let node = Node::start(folder, "windlass.toml").await;
    eventually("all values", || async { scene.relayed().await >= asked }).await;
    eventually("the node to be ready", || async { node.status("/health/ready").await == Some(200) }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.relayed().await, asked, "none is relayed twice");
    assert_eq!(usize::try_from(scene.band.chain().request_count()).unwrap(), asked, "none is paid for twice");

    eventually("the rows to say so", || async {
        let status: Value = serde_json::from_str(&run_ok(folder, &["--json", "vrf", "status"])).unwrap();
        status.to_string().contains(&format!("\"resolved\":{asked}"))
    })
    .await;
    let trace = run_ok(folder, &["vrf", "inspect", "0"]);
    for word in ["resolved", "Band request", "relay"] {
        assert!(trace.contains(word), "`{word}` is missing in\n{trace}");
    }
    assert!(run(folder, &["vrf", "drift"]).status.success());
    let again = run(folder, &["vrf", "inspect", "999"]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    scene.band.shutdown().await;
}

/// A provider of the first generation: it states its own counts and stores proof and result.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_provider_of_the_first_generation_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scene = Scene::set(folder, "v1").await;
    let _node = Node::start(folder, "windlass.toml").await;
    for number in 0..3 {
        scene.ask(&format!("seed {number}")).await;
    }
    eventually("all values", || async { scene.relayed().await == 3 }).await;
    assert_eq!(scene.band.chain().request_count(), 3);
    scene.band.shutdown().await;
}
