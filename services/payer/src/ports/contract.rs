//! Reads of the payer contract and its token, pinned to one block.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256, bytes};
use alloy_sol_types::{SolCall, SolValue, sol};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use windlass_chain::{BlockId, BlockRef, CallRequest, ChainError, Endpoints, LogFilter, RevertReason};
use windlass_contracts::KeyperPayer as Contract;

use crate::checks::TokenFacts;
use crate::machine::{BlockPoint, CannotTell, Finalized, Observation};
use crate::protocol::Terms;

sol! {
    /// What is read of a token.
    interface Token {
        function decimals() external view returns (uint8);
        function symbol() external view returns (string);
        function totalSupply() external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

/// How often the balances of all keypers are read when no payment shows that they changed.
const HOLDINGS_EVERY: Duration = Duration::from_secs(600);

/// What never changes in one contract.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Constants {
    /// The token.
    pub token: Address,
    /// The keypers, in order, with duplicates.
    pub keypers: Vec<Address>,
}

impl Constants {
    /// Each keyper once.
    pub fn distinct(&self) -> BTreeSet<Address> {
        self.keypers.iter().copied().collect()
    }
}

/// What the contract holds and owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holdings {
    total_paid: U256,
    held: U256,
    owed: U256,
    finalized: Option<(u64, U256)>,
    read_at: Instant,
}

/// Reads one payer contract.
pub struct ContractReader {
    endpoints: Endpoints,
    contract: Address,
    quorum: usize,
    constants: Mutex<Option<Constants>>,
    holdings: Mutex<Option<Holdings>>,
}

impl ContractReader {
    /// A reader that asks `quorum` endpoints before it reports "unpaid".
    pub fn new(endpoints: Endpoints, contract: Address, quorum: usize) -> Self {
        Self { endpoints, contract, quorum, constants: Mutex::new(None), holdings: Mutex::new(None) }
    }

    /// The endpoints it asks.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The contract.
    pub fn contract(&self) -> Address {
        self.contract
    }

    /// Reads the contract at the newest block.
    pub async fn observe_head(&self) -> Result<Observation, CannotTell> {
        let head = self.endpoints.head().await.map_err(|error| cannot_tell(&error))?;
        self.observe(&head).await
    }

    /// Reads the contract at `block`.
    pub async fn observe(&self, block: &BlockRef) -> Result<Observation, CannotTell> {
        let constants = self.constants(block).await?;
        let figures = self.figures(block).await?;
        let point = BlockPoint { number: block.number, hash: block.hash, time_s: block.timestamp };
        if figures.terms.is_paid(figures.total_paid, block.timestamp) == Some(false) && self.quorum > 1 {
            self.ask_others(block).await?;
        }
        let holdings = self.holdings(block, &constants, figures.total_paid).await?;
        Ok(Observation {
            block: point,
            terms: figures.terms,
            total_paid: figures.total_paid,
            contract_says_paid: figures.says_paid,
            held: holdings.held,
            owed: holdings.owed,
            finalized: holdings.finalized.map(|(block, total_paid)| Finalized { block, total_paid }),
        })
    }

    /// Token and keypers, read once: the contract cannot change them.
    pub async fn constants(&self, block: &BlockRef) -> Result<Constants, CannotTell> {
        if let Some(known) = self.constants.lock().clone() {
            return Ok(known);
        }
        let calls =
            [self.request(Contract::sptTokenAddressCall {}.abi_encode()), self.request(Contract::getKeypersCall {}.abi_encode())];
        let answers = self.endpoints.call_many(&calls, block.hash).await.map_err(|error| cannot_tell(&error))?;
        let mut answers = answers.into_iter();
        let token = self.read::<Contract::sptTokenAddressCall>("sptTokenAddress()", answers.next(), block).await?;
        let keypers = self.read::<Contract::getKeypersCall>("getKeypers()", answers.next(), block).await?;
        if keypers.is_empty() {
            return Err(CannotTell::ForeignContract { detail: "getKeypers() is empty".into() });
        }
        let constants = Constants { token, keypers };
        *self.constants.lock() = Some(constants.clone());
        Ok(constants)
    }

    async fn figures(&self, block: &BlockRef) -> Result<Figures, CannotTell> {
        let calls = [
            self.request(Contract::totalPaidCall {}.abi_encode()),
            self.request(Contract::requestedRateCall {}.abi_encode()),
            self.request(Contract::startTimestampCall {}.abi_encode()),
            self.request(Contract::isPaidCall {}.abi_encode()),
        ];
        let answers = self.endpoints.call_many(&calls, block.hash).await.map_err(|error| cannot_tell(&error))?;
        let mut answers = answers.into_iter();
        let total_paid = self.read::<Contract::totalPaidCall>("totalPaid()", answers.next(), block).await?;
        let requested_rate = self.read::<Contract::requestedRateCall>("requestedRate()", answers.next(), block).await?;
        let start_timestamp = self.read::<Contract::startTimestampCall>("startTimestamp()", answers.next(), block).await?;
        let says_paid = match answers.next() {
            Some(Err(ChainError::Reverted { reason: RevertReason::Panic(code), .. })) if code == U256::from(0x11) => None,
            other => Some(self.read::<Contract::isPaidCall>("isPaid()", other, block).await?),
        };
        Ok(Figures { terms: Terms { requested_rate, start_timestamp }, total_paid, says_paid })
    }

    /// Lets several endpoints confirm "unpaid" at the same block.
    async fn ask_others(&self, block: &BlockRef) -> Result<(), CannotTell> {
        let data = Contract::isPaidCall {}.abi_encode();
        let answer = self.endpoints.quorum_call(self.quorum, self.contract, data, block.hash).await;
        match answer.map(|bytes| crate::protocol::abi::decode_is_paid(&bytes)) {
            Ok(Some(false)) => Ok(()),
            Ok(_) => Err(CannotTell::Disagreement {
                detail: format!("one endpoint said unpaid, {} agree that it is paid", self.quorum),
            }),
            Err(error) => Err(cannot_tell(&error)),
        }
    }

    async fn holdings(&self, block: &BlockRef, constants: &Constants, total_paid: U256) -> Result<Holdings, CannotTell> {
        let known = *self.holdings.lock();
        if let Some(known) = known.filter(|h| h.total_paid == total_paid && h.read_at.elapsed() < HOLDINGS_EVERY) {
            return Ok(known);
        }
        let mut calls = vec![CallRequest::new(constants.token, Token::balanceOfCall { account: self.contract }.abi_encode())];
        let keypers = constants.distinct();
        calls.extend(keypers.iter().map(|keyper| self.request(Contract::balanceOfCall { keyperAddress: *keyper }.abi_encode())));
        let mut answers = self.endpoints.call_many(&calls, block.hash).await.map_err(|error| cannot_tell(&error))?.into_iter();
        let held = self.read::<Token::balanceOfCall>("balanceOf() of the token", answers.next(), block).await?;
        let mut owed = U256::ZERO;
        for _ in &keypers {
            let share = self.read::<Contract::balanceOfCall>("balanceOf()", answers.next(), block).await?;
            owed = owed.saturating_add(share);
        }
        let finalized = self.finalized_total().await;
        let holdings = Holdings { total_paid, held, owed, finalized, read_at: Instant::now() };
        *self.holdings.lock() = Some(holdings);
        Ok(holdings)
    }

    /// The sum paid at the newest finalized block; not having it is no obstacle to anything.
    async fn finalized_total(&self) -> Option<(u64, U256)> {
        let block = self.endpoints.finalized().await.ok()?;
        let data = Contract::totalPaidCall {}.abi_encode();
        let answer = self.endpoints.call(self.contract, data, block.hash).await.ok()?;
        let total_paid = Contract::totalPaidCall::abi_decode_returns_validate(&answer).ok()?;
        Some((block.number, total_paid))
    }

    /// Balances of the keypers at a block: (keyper, entries in the list, balance).
    pub async fn shares(&self, block: &BlockRef) -> Result<Vec<(Address, usize, U256)>, CannotTell> {
        let constants = self.constants(block).await?;
        let keypers: Vec<Address> = constants.distinct().into_iter().collect();
        let calls: Vec<CallRequest> =
            keypers.iter().map(|keyper| self.request(Contract::balanceOfCall { keyperAddress: *keyper }.abi_encode())).collect();
        let answers = self.endpoints.call_many(&calls, block.hash).await.map_err(|error| cannot_tell(&error))?;
        let mut shares = Vec::with_capacity(keypers.len());
        for (keyper, answer) in keypers.into_iter().zip(answers) {
            let balance = self.read::<Contract::balanceOfCall>("balanceOf()", Some(answer), block).await?;
            let entries = constants.keypers.iter().filter(|other| **other == keyper).count();
            shares.push((keyper, entries, balance));
        }
        Ok(shares)
    }

    /// The sum paid at one block; `Ok(None)` when the endpoints do not have the state of that block any more.
    pub async fn total_paid_at(&self, block: impl Into<BlockId>) -> Result<Option<U256>, ChainError> {
        let data = Contract::totalPaidCall {}.abi_encode();
        match self.endpoints.call(self.contract, data, block).await {
            Ok(answer) => Ok(Contract::totalPaidCall::abi_decode_returns_validate(&answer).ok()),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn request(&self, data: Vec<u8>) -> CallRequest {
        CallRequest::new(self.contract, data)
    }

    async fn read<C: SolCall>(
        &self,
        getter: &str,
        answer: Option<Result<Bytes, ChainError>>,
        block: &BlockRef,
    ) -> Result<C::Return, CannotTell> {
        let failed = match answer {
            Some(Ok(bytes)) => match C::abi_decode_returns_validate(&bytes) {
                Ok(value) => return Ok(value),
                Err(_) if bytes.is_empty() => format!("{getter} answers nothing"),
                Err(_) => format!("{getter} answers {} bytes of another shape", bytes.len()),
            },
            Some(Err(ChainError::Reverted { reason, .. })) => format!("{getter} reverts: {reason}"),
            Some(Err(error)) => return Err(cannot_tell(&error)),
            None => return Err(CannotTell::Malformed { detail: format!("no answer to {getter}") }),
        };
        // An address without code answers every call with nothing.
        match self.endpoints.code(self.contract, block.hash).await {
            Ok(code) if code.is_empty() => Err(CannotTell::NoCode),
            Ok(_) => Err(CannotTell::ForeignContract { detail: failed }),
            Err(error) => Err(cannot_tell(&error)),
        }
    }
}

struct Figures {
    terms: Terms,
    total_paid: U256,
    says_paid: Option<bool>,
}

/// What a failed read means for the decision.
pub fn cannot_tell(error: &ChainError) -> CannotTell {
    match error {
        ChainError::WrongChain { expected, found, .. } => {
            CannotTell::WrongChain { expected: *expected, found: found.first().map_or(0, |(_, id)| *id) }
        }
        ChainError::Disagreement { .. } => CannotTell::Disagreement { detail: error.to_string() },
        ChainError::Reverted { .. } => CannotTell::ForeignContract { detail: error.to_string() },
        ChainError::Rpc { source, .. } if !source.is_transient() => CannotTell::Malformed { detail: error.to_string() },
        _ => CannotTell::Unreachable { detail: error.to_string() },
    }
}

/// Code that is put in place of a token holder's for one simulated call: it sends tokens and measures what arrives.
///
/// Calldata: token, receiver, amount, one word each. Result: balance of the receiver before, after, and whether
/// `transfer` succeeded.
///
/// ```text
/// balanceOf(receiver) -> memory 0x80;  transfer(receiver, amount) -> success at 0xc0;
/// balanceOf(receiver) -> memory 0xa0;  return memory 0x80..0xe0
/// ```
const PROBE: Bytes = bytes!(
    "6370a0823160e01b60005260203560045260206080602460006000355afa50"
    "63a9059cbb60e01b600052602035600452604035602452600060006044600060006000355af160c052"
    "6370a0823160e01b600052602035600452602060a0602460006000355afa50"
    "60606080f3"
);

/// The receiver of the simulated transfer: an address nobody has.
const NOBODY: Address = Address::repeat_byte(0xd1);

/// Asks a token about itself. `holders` are accounts that may hold some of it, for the simulated transfer.
pub async fn token_facts(endpoints: &Endpoints, token: Address, holders: &[Address]) -> Result<TokenFacts, ChainError> {
    let head = endpoints.head().await?;
    let has_code = !endpoints.code(token, head.hash).await?.is_empty();
    let unknown = || "the address has no code".to_owned();
    if !has_code {
        let facts = TokenFacts {
            token,
            has_code,
            decimals: Err(unknown()),
            symbol: Err(unknown()),
            total_supply: Err(unknown()),
            transfer: Err(unknown()),
        };
        return Ok(facts);
    }
    let calls = [
        CallRequest::new(token, Token::decimalsCall {}.abi_encode()),
        CallRequest::new(token, Token::symbolCall {}.abi_encode()),
        CallRequest::new(token, Token::totalSupplyCall {}.abi_encode()),
    ];
    let mut answers = endpoints.call_many(&calls, head.hash).await?.into_iter();
    let decimals = decoded::<Token::decimalsCall>(answers.next());
    let symbol = decoded::<Token::symbolCall>(answers.next());
    let total_supply = decoded::<Token::totalSupplyCall>(answers.next());
    let transfer = simulate_transfer(endpoints, token, holders, &head).await;
    Ok(TokenFacts { token, has_code, decimals, symbol, total_supply, transfer })
}

fn decoded<C: SolCall>(answer: Option<Result<Bytes, ChainError>>) -> Result<C::Return, String> {
    match answer {
        Some(Ok(bytes)) => {
            C::abi_decode_returns_validate(&bytes).map_err(|_| format!("it answers {} bytes of another shape", bytes.len()))
        }
        Some(Err(error)) => {
            Err(error.revert_reason().map_or_else(|| error.to_string(), |reason| format!("it reverts: {reason}")))
        }
        None => Err("no answer".into()),
    }
}

/// Sends tokens of some holder in a simulated call; needs an endpoint that can override code in `eth_call`.
async fn simulate_transfer(
    endpoints: &Endpoints,
    token: Address,
    holders: &[Address],
    head: &BlockRef,
) -> Result<(U256, U256), String> {
    let (holder, balance) =
        find_holder(endpoints, token, holders, head).await.ok_or("no account that holds some of it is known".to_owned())?;
    let amount = balance.min(U256::from(1_000_000_000_u64));
    let mut request = CallRequest::new(holder, (token, NOBODY, amount).abi_encode());
    request.state_override = Some(json!({ holder.to_string(): { "code": PROBE } }));
    let answer = endpoints.call_request(&request, head.hash).await.map_err(|error| error.to_string())?;
    let (before, after, success) = <(U256, U256, U256)>::abi_decode_validate(&answer)
        .map_err(|_| "the endpoint does not support code overrides in eth_call".to_owned())?;
    if success.is_zero() {
        return Err(format!("a transfer from {holder} fails"));
    }
    Ok((amount, after.saturating_sub(before)))
}

/// An account with a balance: one of those given, or one that received some lately.
async fn find_holder(endpoints: &Endpoints, token: Address, holders: &[Address], head: &BlockRef) -> Option<(Address, U256)> {
    use alloy_sol_types::SolEvent;
    let recent =
        LogFilter::address(token).events([Token::Transfer::SIGNATURE_HASH]).range(head.number.saturating_sub(1_000), head.number);
    let logs = endpoints.logs(&recent).await.unwrap_or_default();
    let receivers = logs.iter().rev().filter_map(|log| log.topics.get(2)).map(|topic| Address::from_word(*topic));
    let candidates: Vec<Address> =
        holders.iter().copied().chain(receivers).filter(|account| !account.is_zero()).take(20).collect();
    let calls: Vec<CallRequest> = candidates
        .iter()
        .map(|account| CallRequest::new(token, Token::balanceOfCall { account: *account }.abi_encode()))
        .collect();
    let answers = endpoints.call_many(&calls, head.hash).await.ok()?;
    candidates
        .into_iter()
        .zip(answers)
        .filter_map(|(account, answer)| {
            let balance = Token::balanceOfCall::abi_decode_returns_validate(&answer.ok()?).ok()?;
            (!balance.is_zero()).then_some((account, balance))
        })
        .max_by_key(|(_, balance)| *balance)
}
