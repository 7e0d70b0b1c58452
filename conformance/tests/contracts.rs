//! The payment contract beyond the vectors: re-entrancy, odd tokens, and what it costs.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use alloy_primitives::{Address, Bytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use serde_json::{Value, json};
use windlass_chain::{CallRequest, RevertReason, decode_revert};
use windlass_conformance::{Bench, Chain, ChainKind};
use windlass_contracts::test::{HookToken, ReentrantAccount};
use windlass_contracts::{KeyperPayer, TestToken, init_code};
use windlass_payer::protocol::abi::{self, Deployment};

const DEPLOYER: Address = Address::repeat_byte(0xD0);
const PAYER: Address = Address::repeat_byte(0x0B);

fn bench() -> Bench {
    Bench::new(ChainKind::from_environment().unwrap())
}

fn keyper(number: usize) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

async fn deploy(chain: &Chain, token: Address, keypers: Vec<Address>) -> (Address, u64) {
    let deployment = Deployment { token, keypers, requested_rate: U256::from(1), start_timestamp: U256::ZERO };
    let receipt = chain.execute(DEPLOYER, None, &deployment.creation_data()).await.unwrap();
    (receipt.contract_address.unwrap(), receipt.gas_used)
}

async fn succeed(chain: &Chain, from: Address, to: Address, data: impl Into<Bytes>) -> u64 {
    let receipt = chain.execute(from, Some(to), &data.into()).await.unwrap();
    assert!(receipt.succeeded());
    receipt.gas_used
}

async fn read(chain: &Chain, on: Address, data: impl Into<Bytes>) -> U256 {
    let answers = chain.read_all(vec![CallRequest::new(on, data)]).await.unwrap();
    U256::abi_decode_validate(&answers[0]).unwrap()
}

async fn revert_of(chain: &Chain, from: Address, on: Address, data: Bytes) -> RevertReason {
    decode_revert(&chain.simulate(CallRequest::new(on, data).from(from)).await.unwrap().unwrap_err())
}

async fn token(chain: &Chain) -> Address {
    let arguments = TestToken::constructorCall { name_: "Test".into(), symbol_: "T".into(), decimals_: 18 };
    chain.create(DEPLOYER, &init_code(&TestToken::BYTECODE, &arguments)).await.unwrap()
}

/// A contract with the listening account as the only keyper, and that account with `amount` tokens.
async fn reentrant(chain: &Chain, amount: u64) -> (Address, Address, Address) {
    let arguments = HookToken::constructorCall { name_: "Hook".into(), symbol_: "H".into(), decimals_: 18 };
    let token = chain.create(DEPLOYER, &init_code(&HookToken::BYTECODE, &arguments)).await.unwrap();
    // The account must know the contract and the contract its keyper, so one address is computed beforehand.
    let nonce: U256 = chain.ask("eth_getTransactionCount", json!([DEPLOYER, "latest"])).await.unwrap();
    let account = DEPLOYER.create(nonce.to::<u64>() + 1);
    let (contract, _) = deploy(chain, token, vec![account]).await;
    let arguments = ReentrantAccount::constructorCall { payerContract_: contract, token_: token };
    assert_eq!(chain.create(DEPLOYER, &init_code(&ReentrantAccount::BYTECODE, &arguments)).await.unwrap(), account);
    let mint = HookToken::mintCall { to: account, amount: U256::from(amount) };
    succeed(chain, DEPLOYER, token, mint.abi_encode()).await;
    (token, contract, account)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_inside_a_payment_is_counted_like_any_other() {
    let bench = bench();
    let chain = bench.chain().await.unwrap();
    let (token, contract, account) = reentrant(chain, 1000).await;
    let run = ReentrantAccount::runCall { outer: abi::pay(U256::from(100)), inner: abi::pay(U256::from(50)) };
    succeed(chain, DEPLOYER, account, run.abi_encode()).await;
    assert_eq!(read(chain, account, ReentrantAccount::nestedSucceededCall {}.abi_encode()).await, U256::from(1));
    assert_eq!(read(chain, contract, KeyperPayer::totalPaidCall {}.abi_encode()).await, U256::from(150));
    assert_eq!(read(chain, contract, abi::balance_of(account)).await, U256::from(150));
    assert_eq!(read(chain, token, abi::balance_of(contract)).await, U256::from(150));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_inside_a_withdrawal_finds_nothing() {
    let bench = bench();
    let chain = bench.chain().await.unwrap();
    let (token, contract, account) = reentrant(chain, 100).await;
    let pay = ReentrantAccount::runCall { outer: abi::pay(U256::from(100)), inner: Bytes::new() };
    succeed(chain, DEPLOYER, account, pay.abi_encode()).await;
    // Somebody else's stray tokens must not be reachable by a nested withdrawal.
    succeed(chain, DEPLOYER, token, HookToken::mintCall { to: contract, amount: U256::from(100) }.abi_encode()).await;
    let run = ReentrantAccount::runCall { outer: abi::withdraw(), inner: abi::withdraw() };
    succeed(chain, DEPLOYER, account, run.abi_encode()).await;
    assert_eq!(read(chain, account, ReentrantAccount::nestedSucceededCall {}.abi_encode()).await, U256::ZERO);
    let output =
        chain.read_all(vec![CallRequest::new(account, ReentrantAccount::nestedOutputCall {}.abi_encode())]).await.unwrap();
    let output = ReentrantAccount::nestedOutputCall::abi_decode_returns(&output[0]).unwrap();
    assert_eq!(decode_revert(&output), RevertReason::Error("insufficient balance".into()));
    assert_eq!(read(chain, token, abi::balance_of(account)).await, U256::from(100));
    assert_eq!(read(chain, token, abi::balance_of(contract)).await, U256::from(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_answer_nonsense_make_a_payment_fail() {
    let bench = bench();
    let chain = bench.chain().await.unwrap();
    let failed_inner_call = RevertReason::Custom { selector: [0x14, 0x25, 0xea, 0x42], data: Bytes::new() };
    for (about, code, expected) in [
        // allowance() returns 2^256-1, everything else reverts without data.
        ("reverts without data", "60003560e01c63dd62ed3e14601357600080fd5b60001960005260206000f3", failed_inner_call),
        // Everything returns 2, which is an allowance but no boolean.
        ("returns 2", "600260005260206000f3", RevertReason::Empty),
        // Everything returns nothing, which is no allowance.
        ("returns nothing", "60006000f3", RevertReason::Empty),
    ] {
        let token = Address::from_word(keccak256(about));
        chain.ask::<Value>("anvil_setCode", json!([token, Bytes::from(hex::decode(code).unwrap())])).await.unwrap();
        let (contract, _) = deploy(chain, token, vec![keyper(1)]).await;
        assert_eq!(revert_of(chain, PAYER, contract, abi::pay(U256::from(1))).await, expected, "{about}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_of_all_payments_cannot_wrap() {
    let bench = bench();
    let chain = bench.chain().await.unwrap();
    let token = token(chain).await;
    let (contract, _) = deploy(chain, token, vec![keyper(1)]).await;
    succeed(chain, DEPLOYER, token, TestToken::mintCall { to: PAYER, amount: U256::MAX }.abi_encode()).await;
    succeed(chain, PAYER, token, abi::approve(contract, U256::MAX)).await;
    let most = U256::MAX - U256::from(1);
    succeed(chain, PAYER, contract, abi::pay(most)).await;
    succeed(chain, keyper(1), contract, abi::withdraw()).await;
    succeed(chain, keyper(1), token, TestToken::transferCall { to: PAYER, amount: most }.abi_encode()).await;
    assert_eq!(revert_of(chain, PAYER, contract, abi::pay(U256::from(2))).await, RevertReason::Panic(U256::from(0x11)));
    succeed(chain, PAYER, contract, abi::pay(U256::from(1))).await;
    assert_eq!(read(chain, contract, KeyperPayer::totalPaidCall {}.abi_encode()).await, U256::MAX);
}

/// Gas of the contract this one is compatible with: keypers, deployment, first payment, later payment, withdrawal.
const ORIGINAL: [(usize, [u64; 4]); 8] = [
    (1, [1_166_922, 117_340, 66_040, 54_080]),
    (2, [1_189_800, 142_345, 73_945, 58_880]),
    (3, [1_212_678, 167_350, 81_850, 58_880]),
    (5, [1_258_410, 217_360, 97_660, 58_880]),
    (10, [1_372_824, 342_385, 137_185, 58_880]),
    (20, [1_601_604, 592_435, 216_235, 58_880]),
    (50, [2_287_944, 1_342_585, 453_385, 58_880]),
    (100, [3_432_077, 2_592_847, 848_647, 58_880]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_costs_more_than_it_did() {
    let bench = bench();
    let chain = bench.chain().await.unwrap();
    println!("keypers | deploy | first pay | later pay | withdraw");
    for (count, original) in ORIGINAL {
        let token = token(chain).await;
        let keypers: Vec<Address> = (0..count).map(keyper).collect();
        let (contract, deployed) = deploy(chain, token, keypers.clone()).await;
        let amount = U256::from(count) * U256::from(1_000_000);
        succeed(chain, DEPLOYER, token, TestToken::mintCall { to: PAYER, amount: amount * U256::from(10) }.abi_encode()).await;
        succeed(chain, PAYER, token, abi::approve(contract, U256::MAX)).await;
        let first = succeed(chain, PAYER, contract, abi::pay(amount)).await;
        let later = succeed(chain, PAYER, contract, abi::pay(amount)).await;
        let withdrawn = succeed(chain, keypers[0], contract, abi::withdraw()).await;
        let ours = [deployed, first, later, withdrawn];
        println!("{count} | {} | {} | {} | {}", ours[0], ours[1], ours[2], ours[3]);
        assert!(ours.iter().zip(original).all(|(ours, original)| *ours <= original), "{count} keypers: {ours:?} {original:?}");
    }
}
