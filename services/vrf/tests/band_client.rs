//! The BandChain client against the simulated chain and its three servers: every question over every kind of endpoint that offers it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, keccak256};
use k256::ecdsa::SigningKey;
use windlass_devnet_band::{BandConfig, BandDevnet, CallFault, CallRule, Faults, GenesisAccount};
use windlass_node::config::SecretUrl;
use windlass_vrf::ports::band::{
    BandApi, BandClient, BandClientConfig, BandError, BroadcastMode, Method, RequestState, ResolveStatus, ServedProof,
};
use windlass_vrf_protocol::events::request_ids;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::Coin;
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::obi::Calldata;
use windlass_vrf_protocol::tx::{BandAddress, MessageType, RequestDataMsg, SignInput, SignedTx, sign};
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::verify::{BridgeState, verify_oracle_result};

/// A chain whose blocks are made by the test, and an account with coins.
struct World {
    devnet: BandDevnet,
    key: SigningKey,
    address: String,
}

/// Which servers the client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    Grpc,
    Rpc,
    Rest,
    RpcAndRest,
    All,
}

impl World {
    async fn new(config: BandConfig) -> Self {
        let key = SigningKey::from_slice(keccak256(b"band client").as_slice()).unwrap();
        let address = BandAddress::of_key(key.verifying_key()).to_string();
        let account = GenesisAccount { address: address.clone(), uband: 5_000_000_000 };
        let devnet = BandDevnet::start(BandConfig { accounts: vec![account], resolve_after: 1..=1, ..config }).await.unwrap();
        devnet.advance_by(3);
        Self { devnet, key, address }
    }

    fn config(&self, through: Through) -> BandClientConfig {
        let secret = |url: String| vec![SecretUrl::new(url.parse().unwrap())];
        let (grpc, rpc, rest) = match through {
            Through::Grpc => (true, false, false),
            Through::Rpc => (false, true, false),
            Through::Rest => (false, false, true),
            Through::RpcAndRest => (false, true, true),
            Through::All => (true, true, true),
        };
        BandClientConfig {
            grpc: if grpc { vec![self.devnet.grpc_url().parse().unwrap()] } else { Vec::new() },
            rpc: if rpc { secret(self.devnet.rpc_url()) } else { Vec::new() },
            rest: if rest { secret(format!("{}/api", self.devnet.rest_url())) } else { Vec::new() },
            timeout: Duration::from_secs(5),
            ..BandClientConfig::default()
        }
    }

    fn client(&self, through: Through) -> BandClient {
        BandClient::new(self.config(through)).unwrap()
    }

    /// A transaction of so many requests.
    fn requests(&self, account_number: u64, sequence: u64, count: u64, version: MessageType) -> SignedTx {
        let message = |number: u64| {
            let calldata =
                Calldata { seed: B256::with_last_byte(u8::try_from(number).unwrap()), time: 7, worker: Address::repeat_byte(7) };
            let message = MsgRequestData {
                oracle_script_id: 43,
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
            RequestDataMsg { version, message }
        };
        let input = SignInput {
            messages: (0..count).map(message).collect(),
            memo: String::new(),
            fee: 20_000,
            denom: "uband".to_owned(),
            gas_limit: 800_000 * count,
            sequence,
            account_number,
            chain_id: self.devnet.encoded_chain_id().name().unwrap().to_owned(),
        };
        sign(&self.key, &input).unwrap()
    }

    /// The Bridge that was initialized with the chain's validators.
    fn bridge(&self) -> BridgeState {
        let powers = self.devnet.validators_for_bridge().into_iter().map(|(address, power)| (address, U256::from(power)));
        BridgeState::new(ValidatorSet::new(powers).unwrap(), self.devnet.encoded_chain_id())
    }

    fn accept(&self, proof: &ServedProof, layout: Layout, id: u64) {
        let result = verify_oracle_result(&proof.evm_proof_bytes, layout, &self.bridge()).unwrap();
        assert_eq!(result.request_id, id);
    }

    /// Sends requests, has them resolved, and returns their numbers.
    async fn resolved(&self, client: &BandClient, count: u64, version: MessageType) -> Vec<u64> {
        let account = client.account(&self.address).await.unwrap();
        let signed = self.requests(account.account_number, account.sequence, count, version);
        let answer = client.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap();
        assert!(answer.is_taken(), "{answer:?}");
        self.devnet.advance_by(2);
        let info = client.transaction(&signed.hash).await.unwrap().unwrap();
        request_ids(&info.events, &info.raw_log).unwrap()
    }
}

#[tokio::test]
async fn a_request_from_the_account_to_the_proof_over_every_kind_of_endpoint() {
    for through in [Through::Grpc, Through::RpcAndRest, Through::All] {
        let world = World::new(BandConfig::default()).await;
        let client = world.client(through);
        assert!(client.identify_all().await.iter().all(|(_, _, outcome)| outcome.is_ok()));

        let account = client.account(&world.address).await.unwrap();
        assert_eq!(client.balance(&world.address, "uband").await.unwrap(), 5_000_000_000);
        assert_eq!(client.balance("band1m5lq9u533qaya4q3nfyl6ulzqkpkhge9q8tpzs", "uband").await.unwrap(), 0);
        let signed = world.requests(account.account_number, account.sequence, 3, MessageType::V3);
        if through != Through::RpcAndRest {
            assert!(client.simulate(&signed.bytes).await.unwrap().gas_used > 1_000_000);
        }
        assert_eq!(client.transaction(&signed.hash).await.unwrap(), None);
        let answer = client.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap();
        assert_eq!((answer.code, answer.hash.as_str()), (0, signed.hash.as_str()));
        let again = client.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap();
        assert!(again.is_taken(), "{again:?}");
        assert_eq!(client.transaction(&signed.hash).await.unwrap(), None);
        assert_eq!(client.transaction_at_sequence(&world.address, account.sequence).await.unwrap(), None);

        let included = world.devnet.advance().unwrap();
        let info = client.transaction(&signed.hash).await.unwrap().unwrap();
        assert_eq!((info.height, info.code, info.hash.as_str()), (included, 0, signed.hash.as_str()));
        assert!(info.gas_used > 0 && info.gas_wanted == 2_400_000);
        let ids = request_ids(&info.events, &info.raw_log).unwrap();
        assert_eq!(ids.len(), 3);
        assert_eq!(client.transaction_at_sequence(&world.address, account.sequence).await.unwrap().unwrap().hash, signed.hash);
        let found = client.transactions_of(&world.address, 10).await.unwrap();
        assert_eq!((found.len(), &found[0].1, &found[0].0.hash), (1, &signed.bytes, &signed.hash));
        assert_eq!(client.account(&world.address).await.unwrap().sequence, account.sequence + 1);
        assert_eq!(client.request(ids[0]).await.unwrap(), RequestState::Open);

        let resolved = world.devnet.advance().unwrap();
        for id in &ids {
            assert_eq!(client.request(*id).await.unwrap(), RequestState::Resolved(ResolveStatus::Success));
        }
        let error = client.request(ids[2] + 1).await.unwrap_err();
        assert!(matches!(&error, BandError::NotFound { .. }), "{error}");
        if through != Through::Grpc {
            let expected: Vec<_> = ids.iter().map(|id| (*id, ResolveStatus::Success)).collect();
            assert_eq!(client.resolved_in(resolved).await.unwrap(), expected);
            assert_eq!(client.resolved_in(included).await.unwrap(), []);
            assert!(matches!(client.resolved_in(resolved + 9).await, Err(BandError::NotReady { .. })));
        }

        // One block that seals the state, and one that carries its votes.
        assert!(matches!(client.proof(ids[0], None).await, Err(BandError::NotReady { .. })));
        world.devnet.advance_by(2);
        for id in &ids {
            let proof = client.proof(*id, None).await.unwrap();
            world.accept(&proof, Layout::V3, *id);
            assert_eq!(proof.block_height, resolved + 1);
            let asked = client.proof(*id, Some(resolved + 1)).await.unwrap();
            assert_eq!(asked, proof);
        }
        assert!(matches!(client.proof(ids[0], Some(resolved + 2)).await, Err(BandError::NotReady { .. })));
        let block = client.latest_block().await.unwrap();
        assert_eq!((block.height, block.chain_id.as_str()), (resolved + 2, "windlass-band-1"));
        assert_eq!(client.block_hash(block.height).await.unwrap(), block.hash);
        assert!(matches!(client.block_hash(block.height + 1).await, Err(BandError::NotFound { .. })));
    }
}

#[tokio::test]
async fn the_store_itself_gives_the_proof_a_block_earlier() {
    for layout in [Layout::V3, Layout::V2] {
        let world = World::new(BandConfig { layout, ..BandConfig::default() }).await;
        let version = if layout == Layout::V3 { MessageType::V3 } else { MessageType::V2 };
        let client = world.client(Through::RpcAndRest);
        let ids = world.resolved(&client, 4, version).await;
        let resolved = world.devnet.height();
        assert!(matches!(client.raw_proof(ids[0], resolved).await, Err(BandError::NotReady { .. })));
        let newest = world.devnet.advance().unwrap();
        assert!(
            matches!(client.proof(ids[0], Some(newest)).await, Err(BandError::NotReady { .. })),
            "the service waits for one more"
        );
        for id in &ids {
            let proof = client.raw_proof(*id, newest).await.unwrap();
            assert_eq!(proof.block_height, newest);
            world.accept(&proof, layout, *id);
        }
        assert_eq!(client.counts().get(Method::Commit), 2, "one for each height");
        world.devnet.advance();
        // Byte for byte what the Proof service makes of the same block.
        let served = client.proof(ids[1], Some(newest)).await.unwrap();
        let built = client.raw_proof(ids[1], newest).await.unwrap();
        assert_eq!((built.block_height, &built.evm_proof_bytes), (served.block_height, &served.evm_proof_bytes));
        let signers: BTreeSet<_> = built.recovered.iter().map(|recovered| recovered.signer).collect();
        let validators: BTreeSet<_> = world.devnet.validators_for_bridge().into_iter().map(|(address, _)| address).collect();
        assert!(!signers.is_empty() && signers.is_subset(&validators), "{signers:?}");
    }
}

#[tokio::test]
async fn validators_are_those_of_the_bridge() {
    for through in [Through::Grpc, Through::Rpc] {
        let world = World::new(BandConfig::default()).await;
        let live: BTreeMap<_, _> = world.client(through).validators().await.unwrap().into_iter().collect();
        assert_eq!(live, world.devnet.validators_for_bridge().into_iter().collect(), "{through:?}");
    }
}

#[tokio::test]
async fn a_chain_says_which_message_it_understands() {
    for (layout, expected) in [(Layout::V3, MessageType::V3), (Layout::V2, MessageType::V2)] {
        let world = World::new(BandConfig { layout, strict_message_type: true, ..BandConfig::default() }).await;
        let client = world.client(Through::Grpc);
        let told = client.message_type().await.unwrap();
        // A simulator that serves both names is as good as one of the newest chain.
        assert!(told == expected || told == MessageType::V3);
        let ids = world.resolved(&client, 1, expected).await;
        world.devnet.advance_by(2);
        world.accept(&client.proof(ids[0], None).await.unwrap(), layout, ids[0]);
    }
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_chain() {
    for through in [Through::Grpc, Through::Rpc, Through::Rest] {
        let world = World::new(BandConfig::default()).await;
        let client = world.client(through);
        let account = world.client(Through::Grpc).account(&world.address).await.unwrap();
        let ahead = world.requests(account.account_number, account.sequence + 5, 1, MessageType::V3);
        let answer = client.broadcast(&ahead.bytes, BroadcastMode::Sync).await.unwrap();
        assert_eq!((answer.code, answer.codespace.as_str()), (32, "sdk"), "{through:?}");
        assert!(answer.raw_log.contains("account sequence mismatch") && !answer.is_taken());
    }
}

#[tokio::test]
async fn old_chains_can_wait_for_the_block() {
    let world = World::new(BandConfig { layout: Layout::V2, ..BandConfig::default() }).await;
    let client = world.client(Through::Grpc);
    let account = client.account(&world.address).await.unwrap();
    let signed = world.requests(account.account_number, account.sequence, 1, MessageType::V2);
    let broadcast = client.broadcast(&signed.bytes, BroadcastMode::Block);
    let blocks = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.devnet.advance().unwrap()
    };
    let (answer, height) = tokio::join!(broadcast, blocks);
    let answer = answer.unwrap();
    assert!(answer.is_taken());
    // A chain that refuses the mode gets the transaction all the same.
    assert!(answer.included.is_none_or(|info| info.height == height));
    assert_eq!(client.transaction(&signed.hash).await.unwrap().unwrap().height, height);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_its_hash() {
    let world = World::new(BandConfig::default()).await;
    let client = world.client(Through::Grpc);
    let account = client.account(&world.address).await.unwrap();
    let signed = world.requests(account.account_number, account.sequence, 1, MessageType::V3);
    world.devnet.set_faults(Faults::none().with_call(CallRule::next(1, "grpc/BroadcastTx", CallFault::LoseAnswer)));
    let error = client.broadcast(&signed.bytes, BroadcastMode::Sync).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    world.devnet.advance();
    assert!(client.transaction(&signed.hash).await.unwrap().is_some());
}

#[tokio::test]
async fn what_one_server_refuses_another_serves() {
    let world = World::new(BandConfig::default()).await;
    let client = world.client(Through::All);
    let ids = world.resolved(&client, 1, MessageType::V3).await;
    world.devnet.advance_by(2);
    for fault in [
        CallFault::Unavailable,
        CallFault::RateLimited { retry_after_seconds: 30 },
        CallFault::Unknown("database is locked".to_owned()),
    ] {
        let client = world.client(Through::All);
        world.devnet.set_faults(Faults::none().with_call(CallRule::always("grpc/*", fault)));
        world.accept(&client.proof(ids[0], None).await.unwrap(), Layout::V3, ids[0]);
        assert_eq!(client.account(&world.address).await.unwrap().sequence, 1);
        assert_eq!(client.latest_block().await.unwrap().height, world.devnet.height());
    }
}

#[tokio::test]
async fn a_slow_node_does_not_hold_up_the_answer_for_long() {
    let world = World::new(BandConfig::default()).await;
    let config = BandClientConfig { timeout: Duration::from_millis(300), ..world.config(Through::All) };
    let client = BandClient::new(config).unwrap();
    world.devnet.set_faults(Faults::none().with_call(CallRule::always("grpc/*", CallFault::Delay(Duration::from_secs(30)))));
    let start = std::time::Instant::now();
    assert_eq!(client.account(&world.address).await.unwrap().sequence, 0);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(client.account(&world.address).await.unwrap().sequence, 0, "now the slow one is known");
}

#[tokio::test]
async fn cut_and_pruned_proofs_are_told_apart() {
    let world = World::new(BandConfig::default()).await;
    let client = world.client(Through::All);
    let ids = world.resolved(&client, 1, MessageType::V3).await;
    world.devnet.advance_by(6);
    let height = world.devnet.height() - 1;
    world.devnet.set_faults(Faults { truncate_proof_bytes: 40, ..Faults::none() });
    assert!(matches!(client.proof(ids[0], None).await, Err(BandError::Malformed { .. })));
    assert!(client.raw_proof(ids[0], height).await.is_ok(), "which the service's fault does not touch");
    world.devnet.set_faults(Faults { pruned_below: height, ..Faults::none() });
    let (first, newest) = (height - 3, world.devnet.height());
    for error in [client.proof(ids[0], Some(first)).await.unwrap_err(), client.raw_proof(ids[0], first).await.unwrap_err()] {
        assert!(matches!(&error, BandError::Pruned { .. }), "{error}");
    }
    assert!(client.raw_proof(ids[0], newest).await.is_ok());
}

#[tokio::test]
async fn the_endpoint_of_another_chain_is_left_alone() {
    let (ours, other) = (
        World::new(BandConfig::default()).await,
        World::new(BandConfig { chain_id: "other-1".to_owned(), ..BandConfig::default() }).await,
    );
    let config = ours.config(Through::Grpc);
    let grpc = vec![other.devnet.grpc_url().parse().unwrap(), config.grpc[0].clone()];
    let client = BandClient::new(BandClientConfig { chain_id: Some("windlass-band-1".to_owned()), grpc, ..config }).unwrap();
    assert_eq!(client.latest_block().await.unwrap().chain_id, "windlass-band-1");
    let status = client.status();
    assert_eq!((status[0].healthy, status[0].note.as_deref()), (false, Some("serves chain other-1")));
    let alone =
        BandClient::new(BandClientConfig { chain_id: Some("windlass-band-1".to_owned()), ..other.config(Through::All) }).unwrap();
    assert!(matches!(alone.account(&ours.address).await, Err(BandError::WrongChain { .. })));
}

#[tokio::test]
async fn a_request_takes_few_questions() {
    let world = World::new(BandConfig::default()).await;
    let client = world.client(Through::All);
    client.latest_block().await.unwrap();
    let before = client.counts().total();
    let ids = world.resolved(&client, 10, MessageType::V3).await;
    world.devnet.advance();
    let newest = client.latest_block().await.unwrap().height;
    for id in ids {
        client.raw_proof(id, newest).await.unwrap();
    }
    let asked = client.counts().total() - before;
    // The chain id of one endpoint, account, broadcast, transaction, newest block, one commit, and one store proof each.
    assert!(asked <= 17, "{asked} {:?}", client.counts().snapshot());
}
