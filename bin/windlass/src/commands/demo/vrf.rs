//! The relay's part: a consumer asks for random values, BandChain makes them, the relay brings them, and the consumer has them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use anyhow::{Context as _, ensure};
use serde_json::json;
use windlass_chain::{BlockTag, Endpoints};
use windlass_contracts::vrf::{VRFConsumer, VRFProviderV2};
use windlass_devnet_band::{BandConfig, BandDevnet, GenesisAccount};
use windlass_devnet_evm::{Devnet, DevnetConfig};
use windlass_keys::{Coin, LocalSigner, Mnemonic, Secret, Signer as _};
use windlass_outbox::Outbox;
use windlass_vrf::deploy::{Deployed, Deployment, deploy};
use windlass_vrf::protocol::multistore::Layout;
use windlass_vrf::protocol::task::ProviderVersion;

use super::payer::{PATIENCE, wait_for, write_secret};
use super::report::Report;

const SERVICE: &str = "vrf";
/// Words of the Band account: public knowledge, as all keys of the demonstration.
const PHRASE: &str = "test test test test test test test test test test test junk";
/// Oracle script of the simulator whose results a V2 provider reads.
const ORACLE_SCRIPT: u64 = 43;
/// Blocks of BandChain while nobody watches, and while somebody does.
const BLOCK: Duration = Duration::from_millis(50);
const LIVE_BLOCK: Duration = Duration::from_secs(1);
/// Values that are asked for in a round.
const VALUES: u64 = 3;
/// Development accounts: the relay's, and the one that asks.
const RELAYER: usize = 4;
const ASKER: usize = 5;

/// What stands while the part is played.
pub(super) struct VrfStage {
    band: BandDevnet,
    deployed: Deployed,
    asker: Address,
    relayer: Address,
    /// Values that were asked for so far.
    asked: u64,
}

impl VrfStage {
    /// Starts a BandChain and deploys the contracts that trust it.
    pub(super) async fn set(outbox: &Outbox, live: bool, report: &mut Report) -> anyhow::Result<Self> {
        report.step(SERVICE, "start a BandChain in this process, deploy Bridge, provider, lens and a consumer");
        let account = Mnemonic::parse(&Secret::new(PHRASE.to_owned()))?.derive(Coin::Band, 0, &Secret::new(String::new()))?;
        let band = BandDevnet::start(BandConfig {
            accounts: vec![GenesisAccount { address: account.address.clone(), uband: 1_000_000_000 }],
            block_interval: Some(if live { LIVE_BLOCK } else { BLOCK }),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ..BandConfig::default()
        })
        .await?;
        let validators = band.validators_for_bridge();
        let plan = Deployment {
            version: ProviderVersion::V2,
            layout: Layout::V3,
            validators: validators.iter().map(|(address, power)| (*address, U256::from(*power))).collect(),
            encoded_chain_id: band.encoded_chain_id(),
            oracle_script_id: ORACLE_SCRIPT,
            minimum_fee: U256::from(1_000_u64),
            counts: (2, 3),
        };
        let deployed = deploy(outbox, "demo", &plan, PATIENCE).await?;
        let accounts = DevnetConfig::default().accounts;
        let address = |index: usize| {
            let account = accounts.get(index).context("the chain has too few accounts")?;
            anyhow::Ok(LocalSigner::from_bytes(&account.secret.0)?.address())
        };
        report.done(format!("provider {}, Bridge {} with {} validators", deployed.provider, deployed.bridge, validators.len()));
        Ok(Self { band, deployed, asker: address(ASKER)?, relayer: address(RELAYER)?, asked: 0 })
    }

    /// The section of the relay, as an operator would write it.
    pub(super) fn section(&self, folder: &Path) -> anyhow::Result<String> {
        let key = DevnetConfig::default().accounts.get(RELAYER).context("the chain has too few accounts")?.secret;
        let key = write_secret(folder, "relay-key", &key.to_string())?;
        let words = write_secret(folder, "band-words", PHRASE)?;
        Ok(format!(
            "\n[vrf.demo]\nchain = \"devnet\"\nprovider = \"{}\"\nlens = \"{}\"\ncallers = [\"{}\"]\nconfirmations = 1\nfinal_depth = 1\n\n\
             [vrf.demo.account]\nprivate_key = {:?}\n\n[vrf.demo.band]\ngrpc = [\"{}\"]\nrpc = [\"{}\"]\nmnemonic = {:?}\npoll_interval = \"20ms\"\n",
            self.deployed.provider,
            self.deployed.lens,
            self.deployed.consumer,
            format!("file:{}", key.display()),
            self.band.grpc_url(),
            self.band.rpc_url(),
            format!("file:{}", words.display()),
        ))
    }

    /// Asks for some values and waits until the consumer has them.
    pub(super) async fn act(&mut self, devnet: &Devnet, endpoints: &Endpoints, report: &mut Report) -> anyhow::Result<()> {
        report.step(SERVICE, format!("let a consumer ask for {VALUES} random values"));
        let before = endpoints.balance(self.relayer, BlockTag::Latest).await?;
        let first = self.asked;
        for number in first..first.saturating_add(VALUES) {
            let data =
                VRFConsumer::requestRandomDataFromProviderCall { clientSeed: format!("demonstration {number}") }.abi_encode();
            let fee = format!("{:#x}", U256::from(10_u64).pow(U256::from(16)));
            let call = json!([{ "from": self.asker, "to": self.deployed.consumer, "value": fee, "data": alloy_primitives::hex::encode_prefixed(data) }]);
            devnet
                .request("eth_sendTransaction", call)
                .await
                .map_err(|error| anyhow::anyhow!("the request was refused: {error:?}"))?;
        }
        self.asked = first.saturating_add(VALUES);
        wait_for("the requests to be in blocks", || async {
            Ok(self.call(endpoints, self.deployed.provider, VRFProviderV2::taskNonceCall {}).await? >= self.asked)
        })
        .await?;
        report.done(format!("taskNonce() is {}", self.asked));

        report.step(SERVICE, "relay what BandChain makes of them");
        wait_for("all values to be relayed", || async {
            for number in first..self.asked {
                if !self.task(endpoints, number).await?.isResolved {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        let mut values: Vec<B256> = Vec::new();
        for number in first..self.asked {
            values.push(self.task(endpoints, number).await?.result);
        }
        let latest: B256 = self.call(endpoints, self.deployed.consumer, VRFConsumer::latestResultCall {}).await?;
        ensure!(values.contains(&latest), "the consumer holds {latest}, which is none of the values {values:?}");
        let paid = self.band.chain().request_count();
        ensure!(paid == self.asked, "{paid} requests were paid on BandChain for {} values", self.asked);
        let after = endpoints.balance(self.relayer, BlockTag::Latest).await?;
        ensure!(after > before, "the relayer has {after} wei after {before}: the fees do not cover its gas");
        report.done(format!(
            "the consumer has {latest}, {paid} Band requests for {} values, the relayer earned {} wei",
            self.asked,
            after.saturating_sub(before)
        ));
        Ok(())
    }

    async fn task(&self, endpoints: &Endpoints, number: u64) -> anyhow::Result<VRFProviderV2::tasksReturn> {
        self.call(endpoints, self.deployed.provider, VRFProviderV2::tasksCall { nonce: number }).await
    }

    async fn call<C: SolCall>(&self, endpoints: &Endpoints, contract: Address, call: C) -> anyhow::Result<C::Return> {
        let answer = endpoints.call(contract, call.abi_encode(), BlockTag::Latest).await?;
        Ok(C::abi_decode_returns_validate(&answer)?)
    }

    /// Stops the chain.
    pub(super) async fn strike(self) {
        self.band.shutdown().await;
    }
}
