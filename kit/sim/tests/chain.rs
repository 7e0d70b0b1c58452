//! The scripted chain behaves as a node does where a client can see it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Value, json};
use windlass_keys::{LocalSigner, Signer};
use windlass_sim::chain::{CallOutcome, Fate, GWEI, PoolRules, Refusal, SimChain, SimChainConfig, View, ether, revert_with};
use windlass_sim::{CrashPlan, CrashPoint, FaultProfile, FaultyRpc, Lies, Trace, Transfer, signer};
use windlass_store::{CommitHook, HookAction};

const START: u64 = 1_700_000_000;

fn world() -> (SimChain, LocalSigner) {
    let signer = signer(1).unwrap();
    let chain =
        SimChain::new(SimChainConfig { balances: BTreeMap::from([(signer.address(), ether(1))]), ..SimChainConfig::default() });
    (chain, signer)
}

fn transfer(nonce: u64) -> Transfer {
    Transfer { gas_limit: 30_000, ..Transfer::new(31_337, nonce, Address::repeat_byte(9)) }
}

async fn submit(chain: &SimChain, signer: &LocalSigner, transfer: &Transfer) -> Result<B256, Refusal> {
    chain.submit(&transfer.sign(signer).await.unwrap())
}

fn ask(chain: &SimChain, method: &str, params: Value) -> Value {
    chain.request(View::default(), method, &params).unwrap()
}

#[tokio::test]
async fn the_pool_has_the_rules_of_geth() {
    let (chain, signer) = world();
    let first = submit(&chain, &signer, &transfer(0)).await.unwrap();
    let again = submit(&chain, &signer, &transfer(0)).await.unwrap_err();
    assert_eq!(again.to_string(), "already known");

    let mut slightly_more = transfer(0);
    slightly_more.max_fee_per_gas = slightly_more.max_fee_per_gas * 109 / 100;
    slightly_more.max_priority_fee_per_gas = slightly_more.max_priority_fee_per_gas * 109 / 100;
    let refused = submit(&chain, &signer, &slightly_more).await.unwrap_err();
    assert_eq!(refused.to_string(), "replacement transaction underpriced");
    // Both fields must rise.
    let mut half = transfer(0);
    half.max_fee_per_gas *= 2;
    assert_eq!(submit(&chain, &signer, &half).await.unwrap_err(), Refusal::ReplacementUnderpriced);
    let mut enough = transfer(0);
    enough.max_fee_per_gas = enough.max_fee_per_gas * 110 / 100;
    enough.max_priority_fee_per_gas = enough.max_priority_fee_per_gas * 110 / 100;
    let replacement = submit(&chain, &signer, &enough).await.unwrap();
    assert_eq!(ask(&chain, "eth_getTransactionByHash", json!([first])), Value::Null);

    // A gap waits.
    submit(&chain, &signer, &transfer(2)).await.unwrap();
    chain.mine(START + 12);
    assert_eq!(chain.nonce(signer.address()), 1);
    assert_eq!(chain.landed()[0].transaction.hash, replacement);
    let late = submit(&chain, &signer, &transfer(0)).await.unwrap_err();
    assert_eq!(late.to_string(), "nonce too low: next nonce 1, tx nonce 0");
    let pending = ask(&chain, "eth_getTransactionCount", json!([signer.address(), "pending"]));
    assert_eq!(pending, json!("0x1"));
    submit(&chain, &signer, &transfer(1)).await.unwrap();
    chain.mine(START + 24);
    assert_eq!(chain.nonce(signer.address()), 3);

    let poor = Transfer { value: ether(2), ..transfer(3) };
    let refused = submit(&chain, &signer, &poor).await.unwrap_err();
    assert!(refused.to_string().starts_with("insufficient funds for gas * price + value: balance "), "{refused}");
    // The cost of what waits counts.
    let half = Transfer { value: ether(1) / U256::from(2), ..transfer(3) };
    submit(&chain, &signer, &half).await.unwrap();
    let second_half = Transfer { nonce: 4, ..half };
    let refused = submit(&chain, &signer, &second_half).await.unwrap_err();
    assert!(refused.to_string().contains("queued cost"), "{refused}");

    let foreign = Transfer { chain_id: 1, ..transfer(5) };
    assert_eq!(
        submit(&chain, &signer, &foreign).await.unwrap_err().to_string(),
        "invalid chain id for signer: have 1 want 31337"
    );
}

#[tokio::test]
async fn limits_of_the_pool_hold() {
    let (chain, signer) = world();
    chain.set_pool_rules(PoolRules { account_slots: Some(2), account_queue: 1, tip_floor: 1_000, ..PoolRules::default() });
    submit(&chain, &signer, &transfer(0)).await.unwrap();
    submit(&chain, &signer, &transfer(1)).await.unwrap();
    assert_eq!(submit(&chain, &signer, &transfer(2)).await.unwrap_err(), Refusal::AccountLimit { pooled: 2 });
    let cheap = Transfer { max_priority_fee_per_gas: 999, ..transfer(0) };
    assert!(matches!(
        submit(&chain, &signer, &cheap).await.unwrap_err(),
        Refusal::ReplacementUnderpriced | Refusal::Underpriced { .. }
    ));
    // Behind a gap one may wait; a second pushes the highest nonce out.
    chain.set_pool_rules(PoolRules { account_queue: 1, ..PoolRules::default() });
    submit(&chain, &signer, &transfer(7)).await.unwrap();
    submit(&chain, &signer, &transfer(6)).await.unwrap();
    let nonces: Vec<u64> = chain.pooled().iter().map(|t| t.nonce).collect();
    assert_eq!(nonces, [0, 1, 6]);
}

#[tokio::test]
async fn a_transaction_that_cannot_pay_the_base_fee_waits() {
    let (chain, signer) = world();
    let cheap = Transfer { max_fee_per_gas: u128::from(5 * GWEI), max_priority_fee_per_gas: u128::from(GWEI), ..transfer(0) };
    submit(&chain, &signer, &cheap).await.unwrap();
    chain.set_next_base_fee(50 * GWEI);
    chain.mine(START + 12);
    assert_eq!(chain.nonce(signer.address()), 0);
    // An empty block lowers the base fee by an eighth.
    let block = chain.mine(START + 24);
    assert_eq!(block.header.base_fee_per_gas, Some(50 * GWEI - 50 * GWEI / 8));
    for step in 0..30 {
        chain.mine(START + 36 + 12 * step);
    }
    assert_eq!(chain.nonce(signer.address()), 1);
    let landed = &chain.landed()[0];
    assert_eq!(landed.fee % U256::from(21_000), U256::ZERO);
}

#[tokio::test]
async fn a_reorganisation_takes_back_state_and_returns_or_loses_transactions() {
    let (chain, signer) = world();
    let hash = submit(&chain, &signer, &transfer(0)).await.unwrap();
    let old = chain.mine(START + 12);
    chain.mine(START + 24);
    let receipt = ask(&chain, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt["blockHash"], json!(old.hash));
    assert_eq!(receipt["status"], "0x1");

    assert_eq!(chain.reorganise(2, 1, Fate::Vanish), 2);
    assert_eq!(chain.head().header.number, 1);
    assert_eq!(chain.nonce(signer.address()), 0);
    assert_eq!(chain.balance(signer.address()), ether(1));
    assert_eq!(ask(&chain, "eth_getTransactionReceipt", json!([hash])), Value::Null);
    assert_ne!(chain.block(1).unwrap().hash, old.hash);
    // A node that lags still believes in the old branch.
    let behind = View { behind: 2, sees_pool: true };
    let old_view = chain.request(behind, "eth_getTransactionReceipt", &json!([hash])).unwrap();
    assert_eq!(old_view["blockHash"], json!(old.hash));

    submit(&chain, &signer, &transfer(0)).await.unwrap();
    chain.mine(START + 36);
    assert_eq!(chain.nonce(signer.address()), 1);
    chain.reorganise(1, 0, Fate::Return);
    assert_eq!(chain.pooled().len(), 1);
    chain.mine(START + 48);
    assert_eq!(chain.nonce(signer.address()), 1);
}

#[tokio::test]
async fn a_branch_that_was_left_comes_back_as_it_was() {
    let (chain, signer) = world();
    let first = chain.mine(START + 12);
    submit(&chain, &signer, &transfer(0)).await.unwrap();
    let second = chain.mine(START + 24);
    let third = chain.mine(START + 36);
    assert!(!chain.return_to(third.hash), "it is canonical");
    chain.reorganise(2, 3, Fate::Vanish);
    assert_eq!(chain.nonce(signer.address()), 0);
    submit(&chain, &signer, &transfer(0)).await.unwrap();
    let other = chain.mine(START + 100);

    assert!(chain.return_to(third.hash));
    assert_eq!((chain.head().hash, chain.head().header.number), (third.hash, 3));
    assert_eq!(chain.block(2).unwrap().hash, second.hash);
    assert_eq!(chain.nonce(signer.address()), 1);
    assert!(chain.pooled().is_empty(), "what came back with the branch waits no more");
    assert_eq!(chain.landed().len(), 1);
    let behind = ask_behind(&chain, 1);
    assert_eq!(behind["number"], json!("0x2"));
    assert!(chain.return_to(other.hash) && chain.return_to(third.hash));
    assert!(!chain.return_to(B256::repeat_byte(1)));
    assert!(chain.block(1).unwrap().hash == first.hash && chain.reorganisations() == 4);
}

fn ask_behind(chain: &SimChain, behind: usize) -> Value {
    let view = View { behind, ..View::default() };
    chain.request(view, "eth_getBlockByNumber", &json!(["latest", false])).unwrap()
}

#[tokio::test]
async fn no_reorganisation_goes_below_the_finalized_block() {
    let (chain, _) = world();
    for step in 1..=200 {
        chain.mine(START + 12 * step);
    }
    assert_eq!(chain.finalized(), 104);
    let finalized = chain.block(104).unwrap().hash;
    assert_eq!(chain.reorganise(150, 151, Fate::Random), 96);
    assert_eq!(chain.block(104).unwrap().hash, finalized);
    let block = ask(&chain, "eth_getBlockByNumber", json!(["finalized", false]));
    assert_eq!(block["number"], "0x69");
}

#[tokio::test]
async fn handlers_answer_calls_and_keep_slots_by_fork() {
    let (chain, signer) = world();
    let counter = Address::repeat_byte(0xcc);
    chain.register(
        counter,
        Arc::new(|context| {
            if context.input.as_ref() == b"fail" {
                return revert_with("not today");
            }
            let count = context.storage.entry(B256::ZERO).or_default();
            *count = B256::from(U256::from_be_bytes(count.0).wrapping_add(U256::from(1)));
            let count = *count;
            context.gas += 5_000;
            context.emit(vec![B256::repeat_byte(1)], count.to_vec().into());
            CallOutcome::Return(count.to_vec().into())
        }),
    );
    let error = chain
        .request(View::default(), "eth_call", &json!([{"to": counter, "input": Bytes::from_static(b"fail")}, "latest"]))
        .unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (3, "execution reverted: not today"));
    let estimate = ask(&chain, "eth_estimateGas", json!([{"from": signer.address(), "to": counter}]));
    assert_eq!(estimate, json!("0x6590"));

    let call = Transfer { to: counter, ..transfer(0) };
    submit(&chain, &signer, &call).await.unwrap();
    let block = chain.mine(START + 12);
    let logs = ask(
        &chain,
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "toBlock": "latest", "address": counter, "topics": [[B256::repeat_byte(1)]]}]),
    );
    assert_eq!(logs[0]["blockHash"], json!(block.hash));
    assert_eq!(logs.as_array().unwrap().len(), 1);
    let read = |chain: &SimChain| ask(chain, "eth_call", json!([{"to": counter}, "latest"]));
    assert_eq!(read(&chain), json!(B256::with_last_byte(2)));
    chain.reorganise(1, 1, Fate::Vanish);
    assert_eq!(read(&chain), json!(B256::with_last_byte(1)));
}

#[tokio::test]
async fn handlers_call_each_other_and_a_revert_takes_everything_back() {
    let (chain, signer) = world();
    let [shop, bell] = [0xc1, 0xc2].map(Address::repeat_byte);
    let key = B256::repeat_byte(1);
    // Notes parent hash and chain id, then rings; what the bell says decides.
    chain.register(
        shop,
        Arc::new(move |context| {
            if context.input.is_empty() {
                let known = context.storage.get(&key).copied().unwrap_or_default();
                return CallOutcome::Return(known.to_vec().into());
            }
            context.storage.insert(key, context.parent_hash);
            context.emit(vec![B256::from(U256::from(context.chain_id))], Bytes::new());
            let input = context.input.clone();
            context.call(bell, U256::from(7), &input)
        }),
    );
    // Rings, and asks back what the shop has noted.
    chain.register(
        bell,
        Arc::new(move |context| {
            context.storage.insert(key, B256::repeat_byte(9));
            context.gas += 1_000;
            assert_eq!((context.from, context.value), (shop, U256::from(7)));
            assert!(context.is_contract(shop) && !context.is_contract(Address::ZERO));
            context.emit(vec![key], Bytes::new());
            if context.input.as_ref() == b"broken" {
                return revert_with("broken");
            }
            context.call(shop, U256::ZERO, &Bytes::new())
        }),
    );
    let storage =
        |chain: &SimChain, address| chain.head().state.get(&address).map(|account| account.storage.clone()).unwrap_or_default();
    let call = |nonce, data: &'static [u8]| Transfer { to: shop, data: Bytes::from_static(data), ..transfer(nonce) };
    submit(&chain, &signer, &call(0, b"broken")).await.unwrap();
    let block = chain.mine(START + 12);
    assert!(!block.receipts[0].success && block.receipts[0].logs.is_empty());
    assert!(storage(&chain, shop).is_empty() && storage(&chain, bell).is_empty());

    submit(&chain, &signer, &call(1, b"ring")).await.unwrap();
    let block = chain.mine(START + 24);
    let receipt = &block.receipts[0];
    assert!(receipt.success);
    assert_eq!(receipt.gas_used, 21_000 + 4 * 16 + 1_000);
    assert_eq!(receipt.logs.iter().map(|log| log.address).collect::<Vec<_>>(), [shop, bell]);
    assert_eq!(receipt.logs[0].topics(), [B256::from(U256::from(31_337))]);
    assert_eq!(storage(&chain, shop)[&key], block.header.parent_hash);
    assert_eq!(storage(&chain, bell)[&key], B256::repeat_byte(9));
    let answer = ask(&chain, "eth_call", json!([{"to": shop, "input": Bytes::from_static(b"ring")}, "latest"]));
    assert_eq!(answer, json!(block.header.parent_hash));
}

#[tokio::test]
async fn blocks_are_what_clients_parse_and_hash() {
    let (chain, signer) = world();
    submit(&chain, &signer, &transfer(0)).await.unwrap();
    chain.emit(Address::repeat_byte(7), vec![B256::repeat_byte(2)], Bytes::new());
    chain.mine(START + 12);
    let value = ask(&chain, "eth_getBlockByNumber", json!(["latest", true]));
    let block: alloy_rpc_types_eth::Block = serde_json::from_value(value).unwrap();
    assert_eq!(block.header.inner.hash_slow(), block.header.hash);
    assert_eq!(block.transactions.len(), 2);
    let receipts = ask(&chain, "eth_getBlockReceipts", json!(["latest"]));
    let receipts: Vec<alloy_rpc_types_eth::TransactionReceipt> = serde_json::from_value(receipts).unwrap();
    assert_eq!(receipts[1].from, signer.address());
    assert_eq!(receipts[0].inner.logs().len(), 1);
    let history = ask(&chain, "eth_feeHistory", json!(["0x2", "latest", [50.0]]));
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["oldestBlock"], "0x0");
}

#[tokio::test]
async fn faults_follow_the_seed() {
    let run = |seed| {
        let (chain, _) = world();
        for step in 1..20 {
            chain.mine(START + 12 * step);
        }
        let profile = FaultProfile { lies: Lies::all(0.2), lag_changes: 0.2, lag_heads: 5, ..FaultProfile::flaky(0.05) };
        let trace = Trace::default();
        let life = Arc::new(CrashPlan::new(trace.clone()));
        let node = FaultyRpc::new(chain, "a", seed, profile).connect(life, trace.clone());
        let mut errors = 0;
        for _ in 0..300 {
            let answer = node.ask("eth_getBlockByNumber", &json!(["latest", false]));
            errors += usize::from(answer.is_err());
        }
        (errors, trace.hash())
    };
    let (errors, hash) = run(5);
    assert!((40..200).contains(&errors), "{errors}");
    assert_eq!(run(5), (errors, hash));
    assert_ne!(run(6).1, hash);
}

#[tokio::test]
async fn a_dead_process_has_no_effect() {
    let (chain, signer) = world();
    let plan = Arc::new(CrashPlan::new(Trace::default()));
    let node = FaultyRpc::new(chain.clone(), "a", 1, FaultProfile::none()).connect(plan.clone(), Trace::default());
    let send = async |nonce| {
        let raw = transfer(nonce).sign(&signer).await.unwrap();
        node.ask("eth_sendRawTransaction", &json!([raw]))
    };
    plan.arm(Some(CrashPoint::AfterBroadcast(2)));
    send(0).await.unwrap();
    send(1).await.unwrap_err();
    assert_eq!(chain.pooled().len(), 2);
    send(2).await.unwrap_err();
    assert_eq!(chain.pooled().len(), 2);
    assert_eq!(plan.before_commit(&["x"]), HookAction::Crash);

    let plan = CrashPlan::new(Trace::default());
    plan.arm(Some(CrashPoint::AfterCommit(2)));
    assert_eq!(plan.before_commit(&["x"]), HookAction::Proceed);
    assert_eq!(plan.after_commit(&["x"]), HookAction::Proceed);
    assert_eq!(plan.before_commit(&["x"]), HookAction::Proceed);
    assert_eq!(plan.after_commit(&["x"]), HookAction::Crash);
    assert!(plan.is_dead());
}
