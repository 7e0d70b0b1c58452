//! The questions.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use windlass_chain::{BlockRef, BlockTag, CallRequest, ChainError, Endpoints, RevertReason};
use windlass_contracts::vrf::{Bridge, VRFLensV2, VRFProviderV1};

use super::abi::{AbiFault, single};
use super::decode::{self, TaskFault};
use super::error::{ReadError, RelayRefusal};
use super::relay_call;
use crate::protocol::task::{ProviderSettings, ProviderVersion, Task};
use crate::protocol::validators::ValidatorSet;
use crate::protocol::verify::{BlockDetail, BridgeState};
use crate::protocol::vote::EncodedChainId;

/// Tasks in one question to the lens. Each costs the node some 40,000 gas in V1, and nodes allow tens of millions.
const CHUNK: usize = 100;
/// Questions about tasks at a time.
const AT_A_TIME: usize = 4;

/// What the owner of a provider has set, and how many tasks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether it has counts of its own: V1 has.
    pub version: ProviderVersion,
    /// The oracle script whose results it takes.
    pub oracle_script_id: u64,
    /// V1: the minimum count and the ask count that a request must have had.
    pub counts: Option<(u8, u8)>,
    /// Least fee of a request, wei.
    pub minimum_fee: U256,
    /// The Bridge that judges proofs.
    pub bridge: Address,
    /// Number of tasks: the nonce of the next one.
    pub task_nonce: u64,
}

impl Settings {
    /// What results are compared with.
    pub fn compared(&self) -> ProviderSettings {
        let (min_count, ask_count) = self.counts.unwrap_or_default();
        ProviderSettings { oracle_script_id: self.oracle_script_id, min_count, ask_count }
    }
}

/// A contract and what it should be, for errors.
#[derive(Clone, Copy)]
struct Contract {
    role: &'static str,
    address: Address,
}

impl Contract {
    fn request(self, call: &impl SolCall) -> CallRequest {
        CallRequest::new(self.address, call.abi_encode())
    }
}

/// Reads one provider, its lens and its Bridge.
#[derive(Clone)]
pub struct ProviderReader {
    endpoints: Endpoints,
    provider: Contract,
    lens: Option<Contract>,
    cross_check: bool,
    agreeing: usize,
    expected: Option<ProviderVersion>,
    /// As it was read last. Behind a proxy it may change.
    version: Arc<Mutex<Option<ProviderVersion>>>,
}

impl std::fmt::Debug for ProviderReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lens = self.lens.map(|lens| lens.address);
        f.debug_struct("ProviderReader").field("provider", &self.provider.address).field("lens", &lens).finish_non_exhaustive()
    }
}

impl ProviderReader {
    /// A reader of this provider. Without a lens, tasks are read from the provider itself. With an expected version, a provider of another
    /// one is an error.
    pub fn new(endpoints: Endpoints, provider: Address, lens: Option<Address>, expected: Option<ProviderVersion>) -> Self {
        let lens = lens.map(|address| Contract { role: "lens", address });
        let provider = Contract { role: "provider", address: provider };
        Self { endpoints, provider, lens, cross_check: false, agreeing: 1, expected, version: Arc::default() }
    }

    /// Whether open tasks that the lens tells of are compared with what the provider itself says of them.
    #[must_use]
    pub fn with_cross_check(mut self, cross_check: bool) -> Self {
        self.cross_check = cross_check;
        self
    }

    /// How many endpoints must say the same of the provider's settings and of the Bridge: requests are paid for by what they say.
    #[must_use]
    pub fn with_agreeing(mut self, endpoints: usize) -> Self {
        self.agreeing = endpoints;
        self
    }

    /// The endpoints it asks.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The provider.
    pub fn provider(&self) -> Address {
        self.provider.address
    }

    /// The lens, if there is one.
    pub fn lens(&self) -> Option<Address> {
        self.lens.map(|lens| lens.address)
    }

    /// The provider's settings and number of tasks at a block. Makes sure that the lens reads this provider.
    ///
    /// # Errors
    /// [`ReadError`], naming contract and function.
    pub async fn settings(&self, block: &BlockRef) -> Result<Settings, ReadError> {
        let provider = self.provider;
        let mut calls = vec![
            provider.request(&VRFProviderV1::oracleScriptIDCall {}),
            provider.request(&VRFProviderV1::minimumFeeCall {}),
            provider.request(&VRFProviderV1::bridgeCall {}),
            provider.request(&VRFProviderV1::taskNonceCall {}),
            provider.request(&VRFProviderV1::minCountCall {}),
            provider.request(&VRFProviderV1::askCountCall {}),
        ];
        calls.extend(self.lens.map(|lens| lens.request(&VRFLensV2::providerCall {})));
        let mut answers = self.ask_all(&calls, block).await?.into_iter();
        let oracle_script_id =
            self.decoded(provider, "oracleScriptID()", answers.next(), block, |data| single(data)?.uint64(0)).await?;
        let minimum_fee = self.decoded(provider, "minimumFee()", answers.next(), block, |data| single(data)?.number(0)).await?;
        let bridge = self.decoded(provider, "bridge()", answers.next(), block, |data| single(data)?.address(0)).await?;
        let task_nonce = self.decoded(provider, "taskNonce()", answers.next(), block, |data| single(data)?.uint64(0)).await?;
        let counts = self.counts(answers.next(), answers.next(), block).await?;
        if let Some(lens) = self.lens {
            let found = self.decoded(lens, "provider()", answers.next(), block, |data| single(data)?.address(0)).await?;
            if found != provider.address {
                return Err(ReadError::ForeignLens { lens: lens.address, found, provider: provider.address });
            }
        }
        let version = if counts.is_some() { ProviderVersion::V1 } else { ProviderVersion::V2 };
        if let Some(expected) = self.expected.filter(|expected| *expected != version) {
            return Err(ReadError::OtherVersion { provider: provider.address, found: version, expected });
        }
        *self.version.lock() = Some(version);
        Ok(Settings { version, oracle_script_id, counts, minimum_fee, bridge, task_nonce })
    }

    /// Calls on the state after one block, each answered alike by as many endpoints as must agree. A revert is the outcome of its call; any
    /// other failure is that of all.
    async fn ask_all(&self, calls: &[CallRequest], block: &BlockRef) -> Result<Vec<Result<Bytes, ChainError>>, ChainError> {
        let agreeing = self.agreeing;
        if agreeing <= 1 {
            return self.endpoints.call_many(calls, block.hash).await;
        }
        let each: Vec<_> = calls
            .iter()
            .map(|call| self.endpoints.quorum_call(agreeing, call.to.unwrap_or_default(), call.data.clone(), block.hash))
            .collect();
        let answers: Vec<Result<Bytes, ChainError>> = stream::iter(each).buffered(AT_A_TIME).collect().await;
        let one = |answer: Result<Bytes, ChainError>| match answer {
            Err(error) if !matches!(error, ChainError::Reverted { .. }) => Err(error),
            outcome => Ok(outcome),
        };
        answers.into_iter().map(one).collect()
    }

    /// The counts of a V1 provider. One that has no `minCount()`, whether it reverts or answers nothing, is V2.
    async fn counts(&self, min: Answered, ask: Answered, block: &BlockRef) -> Result<Option<(u8, u8)>, ReadError> {
        match &min {
            Some(Err(ChainError::Reverted { .. })) => return Ok(None),
            Some(Ok(data)) if data.is_empty() => return Ok(None),
            _ => {}
        }
        let count = |data: &[u8]| single(data)?.narrow::<u8>(0, "8-bit number");
        let min = self.decoded(self.provider, "minCount()", min, block, count).await?;
        let ask = self.decoded(self.provider, "askCount()", ask, block, count).await?;
        Ok(Some((min, ask)))
    }

    /// Which version the provider is, as the settings said when they were read last; reads them if they never were.
    async fn version(&self, block: &BlockRef) -> Result<ProviderVersion, ReadError> {
        let known = *self.version.lock();
        match known {
            Some(version) => Ok(version),
            None => Ok(self.settings(block).await?.version),
        }
    }

    /// One task, asked of the provider itself; `None` if there is none with this nonce. `agreeing` endpoints must say the same.
    ///
    /// # Errors
    /// [`ReadError`], naming contract and function.
    pub async fn task(&self, nonce: u64, block: &BlockRef, agreeing: usize) -> Result<Option<Task>, ReadError> {
        let version = self.version(block).await?;
        self.one(version, nonce, block, agreeing).await
    }

    async fn one(
        &self,
        version: ProviderVersion,
        nonce: u64,
        block: &BlockRef,
        agreeing: usize,
    ) -> Result<Option<Task>, ReadError> {
        let data = VRFProviderV1::tasksCall { nonce }.abi_encode();
        let answer = self.endpoints.quorum_call(agreeing, self.provider.address, data, block.hash).await;
        self.decoded(self.provider, "tasks()", Some(answer), block, |data| decode::task(version, data, nonce)).await
    }

    /// The tasks with these nonces, in the same order; `None` for those that do not exist. `agreeing` endpoints must say the same.
    ///
    /// The lens is asked for up to 100 at once. Should that be too much for the node, because some caller chose an enormous client seed, it
    /// is asked for fewer, and for one that is too much even alone, the provider is.
    ///
    /// # Errors
    /// [`ReadError`], naming contract and function.
    pub async fn tasks(&self, nonces: &[u64], block: &BlockRef, agreeing: usize) -> Result<Vec<Option<Task>>, ReadError> {
        let version = self.version(block).await?;
        let chunks: Vec<_> = nonces.chunks(CHUNK).map(|chunk| self.chunk(version, chunk, block, agreeing)).collect();
        let found: Vec<Vec<Option<Task>>> = stream::iter(chunks).buffered(AT_A_TIME).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn chunk(
        &self,
        version: ProviderVersion,
        nonces: &[u64],
        block: &BlockRef,
        agreeing: usize,
    ) -> Result<Vec<Option<Task>>, ReadError> {
        let Some(lens) = self.lens else {
            return self.ask_provider(version, nonces, block, agreeing).await;
        };
        let mut found = Vec::with_capacity(nonces.len());
        // What is still to be asked; the last is the next.
        let mut waiting = vec![nonces];
        while let Some(part) = waiting.pop() {
            let answer = self.ask_lens(lens, part, block, agreeing).await;
            if answer.as_ref().is_err_and(is_too_much) {
                match part.split_at(part.len() / 2) {
                    ([], one) => found.extend(self.ask_provider(version, one, block, agreeing).await?),
                    (first, second) => waiting.extend([second, first]),
                }
                continue;
            }
            let read = |data: &[u8]| decode::tasks(version, data, part);
            let tasks = self.decoded(lens, "getTasksBulk()", Some(answer), block, read).await?;
            if self.cross_check {
                self.compare(lens, version, &tasks, block, agreeing).await?;
            }
            found.extend(tasks);
        }
        Ok(found)
    }

    async fn ask_lens(&self, lens: Contract, nonces: &[u64], block: &BlockRef, agreeing: usize) -> Result<Bytes, ChainError> {
        let data = VRFLensV2::getTasksBulkCall { nonces: nonces.to_vec() }.abi_encode();
        self.endpoints.quorum_call(agreeing, lens.address, data, block.hash).await
    }

    async fn ask_provider(
        &self,
        version: ProviderVersion,
        nonces: &[u64],
        block: &BlockRef,
        agreeing: usize,
    ) -> Result<Vec<Option<Task>>, ReadError> {
        if agreeing > 1 {
            let each: Vec<_> = nonces.iter().map(|nonce| self.one(version, *nonce, block, agreeing)).collect();
            return stream::iter(each).buffered(AT_A_TIME).try_collect().await;
        }
        let calls: Vec<CallRequest> =
            nonces.iter().map(|nonce| self.provider.request(&VRFProviderV1::tasksCall { nonce: *nonce })).collect();
        let mut answers = self.endpoints.call_many(&calls, block.hash).await?.into_iter();
        let mut found = Vec::with_capacity(nonces.len());
        for nonce in nonces {
            let read = |data: &[u8]| decode::task(version, data, *nonce);
            found.push(self.decoded(self.provider, "tasks()", answers.next(), block, read).await?);
        }
        Ok(found)
    }

    /// Lets the provider itself confirm the open tasks among these. Those that are resolved cost nothing any more.
    async fn compare(
        &self,
        lens: Contract,
        version: ProviderVersion,
        tasks: &[Option<Task>],
        block: &BlockRef,
        agreeing: usize,
    ) -> Result<(), ReadError> {
        let open: Vec<&Task> = tasks.iter().flatten().filter(|task| !task.is_resolved).collect();
        let nonces: Vec<u64> = open.iter().map(|task| task.nonce).collect();
        let by_provider = self.ask_provider(version, &nonces, block, agreeing).await?;
        for (by_lens, by_provider) in open.into_iter().zip(by_provider) {
            if let Some((field, by_lens_text, by_provider)) = difference(by_lens, by_provider.as_ref()) {
                let (lens, nonce) = (lens.address, by_lens.nonce);
                return Err(ReadError::Contradiction { lens, nonce, field, by_lens: by_lens_text, by_provider });
            }
        }
        Ok(())
    }

    /// What a Bridge believes at a block: validators and powers in its order, none twice, and the chain id that votes end in. Relayed blocks
    /// are not among it, see [`relayed_block`](Self::relayed_block).
    ///
    /// # Errors
    /// [`ReadError`]; also if a validator is listed twice, or the total is not the sum.
    pub async fn bridge_state(&self, bridge: Address, block: &BlockRef) -> Result<BridgeState, ReadError> {
        let contract = Contract { role: "bridge", address: bridge };
        let calls = [
            contract.request(&Bridge::getAllValidatorPowersCall {}),
            contract.request(&Bridge::totalValidatorPowerCall {}),
            contract.request(&Bridge::encodedChainIDCall {}),
        ];
        let mut answers = self.ask_all(&calls, block).await?.into_iter();
        let powers = self.decoded(contract, "getAllValidatorPowers()", answers.next(), block, decode::validators).await?;
        let total =
            self.decoded(contract, "totalValidatorPower()", answers.next(), block, |data| single(data)?.number(0)).await?;
        let encoded_chain_id = self.decoded(contract, "encodedChainID()", answers.next(), block, decode::byte_string).await?;
        let validators = ValidatorSet::new(powers).map_err(|fault| ReadError::Validators { bridge, fault })?;
        if validators.total() != total {
            return Err(ReadError::TotalPower { bridge, total, sum: validators.total() });
        }
        Ok(BridgeState::new(validators, EncodedChainId(encoded_chain_id)))
    }

    /// What a Bridge keeps of the block of BandChain with this height; all zero if it was not relayed.
    ///
    /// # Errors
    /// [`ReadError`], naming contract and function.
    pub async fn relayed_block(&self, bridge: Address, height: u64, block: &BlockRef) -> Result<BlockDetail, ReadError> {
        let contract = Contract { role: "bridge", address: bridge };
        let data = Bridge::blockDetailsCall { height: U256::from(height) }.abi_encode();
        let answer = self.endpoints.call(bridge, data, block.hash).await;
        self.decoded(contract, "blockDetails()", Some(answer), block, decode::block_detail).await
    }

    /// Gas that relaying this proof would take now.
    ///
    /// # Errors
    /// [`RelayRefusal`] with the reason of the contract that refuses. Some nodes do not tell the reason when they estimate; then the call
    /// is made once more without a transaction.
    pub async fn simulate_relay(&self, from: Address, proof: &[u8], nonce: u64) -> Result<u64, RelayRefusal> {
        let request = CallRequest::new(self.provider.address, relay_call(proof, nonce)).from(from);
        let error = match self.endpoints.estimate_gas(&request).await {
            Ok(gas) => return Ok(gas),
            Err(error) => error,
        };
        match error {
            ChainError::Reverted { reason: RevertReason::Empty, .. } => {}
            ChainError::Reverted { reason, .. } => return Err(RelayRefusal::from_reason(reason)),
            error => return Err(RelayRefusal::Unavailable(error)),
        }
        match self.endpoints.call_request(&request, BlockTag::Latest).await {
            Err(ChainError::Reverted { reason, .. }) => Err(RelayRefusal::from_reason(reason)),
            // The chain has moved in between, or no limit is high enough for the estimate.
            Ok(_) => Err(RelayRefusal::Unavailable(error)),
            Err(error) => Err(RelayRefusal::Unavailable(error)),
        }
    }

    /// Reads an answer, and says what is wrong if it cannot be read.
    async fn decoded<T, F: Into<TaskFault>>(
        &self,
        contract: Contract,
        method: &'static str,
        answer: Answered,
        block: &BlockRef,
        read: impl FnOnce(&[u8]) -> Result<T, F>,
    ) -> Result<T, ReadError> {
        let Contract { role, address } = contract;
        let failed = match answer {
            Some(Ok(data)) => match read(&data) {
                Ok(value) => return Ok(value),
                Err(fault) => ReadError::Malformed { contract: address, role, method, length: data.len(), fault: fault.into() },
            },
            Some(Err(ChainError::Reverted { reason, .. })) => ReadError::Reverts { contract: address, role, method, reason },
            Some(Err(error)) => return Err(error.into()),
            None => {
                let fault = TaskFault::Abi(AbiFault::TooShort { wanted: 1, found: 0 });
                return Err(ReadError::Malformed { contract: address, role, method, length: 0, fault });
            }
        };
        // An address without code answers every call with nothing.
        match self.endpoints.code(address, block.hash).await {
            Ok(code) if code.is_empty() => Err(ReadError::NoCode { contract: address, role }),
            Ok(_) => Err(failed),
            Err(error) => Err(error.into()),
        }
    }
}

/// One answer of a batch. `None` if the endpoint left it out.
type Answered = Option<Result<Bytes, ChainError>>;

/// Whether a node gave up on a question that it may answer in parts: out of gas, an answer that is too large, a limit of its own.
fn is_too_much(error: &ChainError) -> bool {
    match error {
        ChainError::Reverted { reason, .. } => *reason == RevertReason::Empty,
        ChainError::Rpc { source, .. } => !source.is_transient(),
        _ => false,
    }
}

/// The first field in which two reads of a task differ, and both values.
fn difference(by_lens: &Task, by_provider: Option<&Task>) -> Option<(&'static str, String, String)> {
    let Some(other) = by_provider else {
        return Some(("caller", by_lens.caller.to_string(), "nobody".to_owned()));
    };
    let fields: [(&'static str, String, String); 6] = [
        ("seed", by_lens.seed.to_string(), other.seed.to_string()),
        ("time", by_lens.time.to_string(), other.time.to_string()),
        ("caller", by_lens.caller.to_string(), other.caller.to_string()),
        ("fee", by_lens.task_fee.to_string(), other.task_fee.to_string()),
        ("state", by_lens.is_resolved.to_string(), other.is_resolved.to_string()),
        ("client seed", by_lens.client_seed.to_string(), other.client_seed.to_string()),
    ];
    fields.into_iter().find(|(_, ours, theirs)| ours != theirs)
}
