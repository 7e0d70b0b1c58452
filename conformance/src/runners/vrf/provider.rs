//! `provider_v1` and `provider_v2`: a provider with Bridge, lens and consumer, step by step, on a chain.
//!
//! Every step is simulated and mined, and both must agree with the record. The recorded gas is an upper bound, not a figure to be equal
//! to: our contracts are other code of the same interface, and they must not cost more.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_chain::{CallRequest, Receipt, decode_revert};
use windlass_contracts::vrf::{VRFConsumer, VRFLensV2, VRFProviderV1, VRFProviderV2};
use windlass_vrf_protocol::task::ProviderVersion;
use windlass_vrf_protocol::vote::EncodedChainId;

use super::super::{bytes, same};
use super::common::{Number, Revert, Validator, address, document, hash, layout};
use super::contract_events::{self as events, RecordedEvent, mapped, mapped_string, string_in_storage};
use super::stage::{self, OWNER, Provider, World};
use super::trim_proof::validators;
use crate::{Bench, Chain, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    setup: Setup,
    steps: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    provider_version: Number,
    provider: String,
    bridge: String,
    lens: String,
    consumer: String,
    oracle_script_id: Number,
    minimum_fee: Number,
    min_count: Option<Number>,
    ask_count: Option<Number>,
    validators: Vec<Validator>,
    encoded_chain_id: String,
    mock_time: Number,
    mock_block_hash: String,
    mock_chain_id: Number,
    multistore_layout: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    client_seed: String,
    sender: String,
    value: Number,
    /// Recorded for requests that an account makes itself.
    calldata: Option<String>,
    ok: bool,
    nonce: Option<Number>,
    events: Option<Vec<RecordedEvent>>,
    gas: Option<Number>,
    revert: Option<Revert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relay {
    #[serde(rename = "note")]
    _note: String,
    nonce: Number,
    sender: String,
    proof: String,
    ok: bool,
    gas: Option<Number>,
    events: Option<Vec<RecordedEvent>>,
    consumer_events: Option<Vec<RecordedEvent>>,
    paid_to_sender: Option<Number>,
    revert: Option<Revert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bulk {
    nonces: Vec<Number>,
    calldata: String,
    returned: String,
    decoded: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    ok: bool,
    value: Option<(Number, Number, Number)>,
    revert: Option<Revert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    args: Vec<Value>,
    sender: String,
    ok: bool,
    events: Option<Vec<RecordedEvent>>,
    revert: Option<Revert>,
}

/// Checks the document. Every case has a chain of its own, because its contracts stand at recorded addresses.
pub(crate) async fn run(bench: &Bench, json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let name = json.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = match name.as_str() {
        "provider_v1" => ProviderVersion::V1,
        "provider_v2" => ProviderVersion::V2,
        other => bail!("the name is {other:?}"),
    };
    let document = document::<Case>(json, &name)?;
    for (number, case) in document.cases.into_iter().enumerate() {
        sheet.case(&format!("scenario {number}"), play(bench, version, case).await);
    }
    Ok(())
}

async fn play(bench: &Bench, version: ProviderVersion, case: Case) -> anyhow::Result<()> {
    let chain = bench.fresh_chain().await?;
    let mut stage = Stage::set(&chain, version, &case.setup).await.context("setup")?;
    for (number, mut step) in case.steps.into_iter().enumerate() {
        let operation = step.as_object_mut().and_then(|step| step.remove("op"));
        let operation = operation.as_ref().and_then(Value::as_str).context("a step without op")?.to_owned();
        stage.play(&operation, step).await.with_context(|| format!("step {number} ({operation})"))?;
    }
    stage.check_storage().await.context("storage")
}

/// Reads a step. Unknown and missing fields are errors.
fn read<T: DeserializeOwned>(step: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_value(step)?)
}

/// Contracts at their recorded addresses.
struct Stage<'a> {
    chain: &'a Chain,
    version: ProviderVersion,
    provider: Address,
    lens: Address,
    consumer: Address,
    /// Callers with their client seeds.
    used: Vec<(Address, String)>,
}

impl<'a> Stage<'a> {
    async fn set(chain: &'a Chain, version: ProviderVersion, setup: &Setup) -> anyhow::Result<Self> {
        let number = if version == ProviderVersion::V1 { 1 } else { 2 };
        same("provider_version", setup.provider_version.u64()?, number)?;
        let has_counts = version == ProviderVersion::V1;
        ensure!(setup.min_count.is_some() == has_counts && setup.ask_count.is_some() == has_counts, "only V1 has counts");
        let count = |count: &Option<Number>| count.as_ref().map_or(Ok(0), Number::u8);
        let (provider, bridge) = (address(&setup.provider)?, address(&setup.bridge)?);
        let (lens, consumer) = (address(&setup.lens)?, address(&setup.consumer)?);
        let chain_id = EncodedChainId(bytes(&setup.encoded_chain_id)?);
        let validators = validators(&setup.validators)?;
        stage::put_bridge(chain, bridge, layout(&setup.multistore_layout)?, &validators, &chain_id).await?;
        let world = World {
            time: setup.mock_time.u64()?,
            block_hash: hash(&setup.mock_block_hash)?,
            chain_id: setup.mock_chain_id.unsigned()?,
        };
        let settings = Provider {
            version,
            bridge,
            oracle_script_id: setup.oracle_script_id.u64()?,
            minimum_fee: setup.minimum_fee.unsigned()?,
            min_count: count(&setup.min_count)?,
            ask_count: count(&setup.ask_count)?,
            world,
        };
        stage::put_provider(chain, provider, settings).await?;
        stage::put_lens(chain, lens, version, provider).await?;
        stage::put_consumer(chain, consumer, provider).await?;
        Ok(Self { chain, version, provider, lens, consumer, used: Vec::new() })
    }

    async fn play(&mut self, operation: &str, step: Value) -> anyhow::Result<()> {
        match operation {
            "requestRandomData" => self.request(read(step)?).await,
            "consumer.requestRandomDataFromProvider" => self.request_by_consumer(read(step)?).await,
            "relayProof" => self.relay(&read(step)?).await,
            "lens.getTasksBulk" => self.bulk(&read(step)?).await,
            "lens.getProviderConfig" => self.config(&read(step)?).await,
            "setBridge" | "setOracleScriptID" | "setMinimumFee" | "setMinCount" | "setAskCount" | "transferOwnership"
            | "renounceOwnership" => self.set_by_owner(operation, &read(step)?).await,
            other => bail!("the operation {other} is not known"),
        }
    }

    /// Simulates a call, sends it, and compares both with the record. Returns the receipt of a success.
    async fn call(
        &self,
        (from, to): (Address, Address),
        value: U256,
        data: &Bytes,
        (ok, revert): (bool, &Option<Revert>),
    ) -> anyhow::Result<Option<Receipt>> {
        self.chain.make_ready(from).await?;
        let simulated = self.chain.simulate(CallRequest::new(to, data.clone()).from(from).value(value)).await?;
        check_outcome(ok, revert, &simulated)?;
        let receipt = self.chain.execute_with_value(from, Some(to), data, value).await?;
        same("the mined transaction succeeded", receipt.succeeded(), ok)?;
        Ok(ok.then_some(receipt))
    }

    async fn request(&mut self, step: Request) -> anyhow::Result<()> {
        let data = Bytes::from(VRFProviderV2::requestRandomDataCall { clientSeed: step.client_seed.clone() }.abi_encode());
        same("calldata", &data, &bytes(step.calldata.as_deref().context("no calldata is recorded")?)?)?;
        let caller = address(&step.sender)?;
        self.ask(caller, (caller, self.provider), &data, step).await
    }

    async fn request_by_consumer(&mut self, step: Request) -> anyhow::Result<()> {
        let call = VRFConsumer::requestRandomDataFromProviderCall { clientSeed: step.client_seed.clone() };
        ensure!(step.calldata.is_none(), "calldata of a request by the consumer is recorded");
        self.ask(self.consumer, (address(&step.sender)?, self.consumer), &call.abi_encode().into(), step).await
    }

    async fn ask(&mut self, caller: Address, ends: (Address, Address), data: &Bytes, step: Request) -> anyhow::Result<()> {
        let nonce: u64 = self.getter(self.provider, VRFProviderV2::taskNonceCall {}).await?;
        let receipt = self.call(ends, step.value.unsigned()?, data, (step.ok, &step.revert)).await?;
        let after: u64 = self.getter(self.provider, VRFProviderV2::taskNonceCall {}).await?;
        same("number of tasks", after, nonce + u64::from(step.ok))?;
        let Some(receipt) = receipt else {
            ensure!(step.nonce.is_none() && step.events.is_none() && step.gas.is_none(), "a refusal has no nonce, events or gas");
            return Ok(());
        };
        if let Some(recorded) = &step.nonce {
            same("nonce", nonce, recorded.u64()?)?;
        }
        events::check(&receipt.logs, step.events.as_deref().context("no events are recorded")?)?;
        check_gas(&receipt, step.gas.as_ref())?;
        self.used.push((caller, step.client_seed));
        Ok(())
    }

    async fn relay(&self, step: &Relay) -> anyhow::Result<()> {
        let (sender, nonce) = (address(&step.sender)?, step.nonce.u64()?);
        self.chain.make_ready(sender).await?;
        let data = VRFProviderV2::relayProofCall { proof: bytes(&step.proof)?, nonce }.abi_encode().into();
        let before = (self.balance(sender).await?, self.balance(self.provider).await?);
        let receipt = self.call((sender, self.provider), U256::ZERO, &data, (step.ok, &step.revert)).await?;
        let after = (self.balance(sender).await?, self.balance(self.provider).await?);
        let Some(receipt) = receipt else {
            same("balance of the provider", after.1, before.1)?;
            let without = step.events.is_none() && step.consumer_events.is_none() && step.paid_to_sender.is_none();
            ensure!(without && step.gas.is_none(), "a refusal has no events, payment or gas");
            return Ok(());
        };
        let price = U256::from(receipt.effective_gas_price.context("the receipt has no price")?);
        let earned = after.0 + price * U256::from(receipt.gas_used) - before.0;
        same("payment to the sender", earned, step.paid_to_sender.as_ref().context("no payment is recorded")?.unsigned()?)?;
        same("payment by the provider", before.1 - after.1, earned)?;
        events::check(&events::of(&receipt.logs, self.provider), step.events.as_deref().context("no events are recorded")?)?;
        let by_consumer = events::of(&receipt.logs, self.consumer);
        events::check(&by_consumer, step.consumer_events.as_deref().context("no events of the consumer are recorded")?)?;
        same("number of all events", receipt.logs.len(), 1 + by_consumer.len())?;
        check_gas(&receipt, step.gas.as_ref())?;
        if by_consumer.is_empty() { Ok(()) } else { self.check_consumer(nonce).await }
    }

    /// The consumer keeps what it was given.
    async fn check_consumer(&self, nonce: u64) -> anyhow::Result<()> {
        let task = self.task(nonce).await?;
        let seed: String = self.getter(self.consumer, VRFConsumer::latestSeedCall {}).await?;
        let time: u64 = self.getter(self.consumer, VRFConsumer::latestTimeCall {}).await?;
        let result: B256 = self.getter(self.consumer, VRFConsumer::latestResultCall {}).await?;
        same(
            "what the consumer keeps",
            (Bytes::from(seed.into_bytes()), time, result),
            (task.client_seed.clone(), task.time, task.value()),
        )
    }

    async fn bulk(&self, step: &Bulk) -> anyhow::Result<()> {
        let nonces = step.nonces.iter().map(Number::u64).collect::<anyhow::Result<Vec<_>>>()?;
        let data = Bytes::from(VRFLensV2::getTasksBulkCall { nonces }.abi_encode());
        same("calldata", &data, &bytes(&step.calldata)?)?;
        let returned = self.chain.simulate(CallRequest::new(self.lens, data)).await?;
        let returned = returned.map_err(|data| anyhow::anyhow!("reverts: {}", decode_revert(&data)))?;
        same("returned bytes", &returned, &bytes(&step.returned)?)?;
        let tasks: Vec<StoredTask> = match self.version {
            ProviderVersion::V1 => Vec::<FieldsV1>::abi_decode_validate(&returned)?.into_iter().map(Into::into).collect(),
            ProviderVersion::V2 => Vec::<FieldsV2>::abi_decode_validate(&returned)?.into_iter().map(Into::into).collect(),
        };
        same("number of tasks", tasks.len(), step.decoded.len())?;
        for (ours, recorded) in tasks.iter().zip(&step.decoded) {
            ours.check(self.version, recorded)?;
        }
        Ok(())
    }

    async fn config(&self, step: &Config) -> anyhow::Result<()> {
        let data = VRFLensV2::getProviderConfigCall {}.abi_encode();
        let simulated = self.chain.simulate(CallRequest::new(self.lens, data)).await?;
        check_outcome(step.ok, &step.revert, &simulated)?;
        match (simulated, &step.value) {
            (Ok(returned), Some((script, min, ask))) => {
                let ours = <(U256, U256, U256)>::abi_decode_params_validate(&returned)?;
                same("settings", ours, (script.unsigned()?, min.unsigned()?, ask.unsigned()?))
            }
            (Err(_), None) => Ok(()),
            _ => bail!("a value is recorded for a refusal, or none for a success"),
        }
    }

    async fn set_by_owner(&self, operation: &str, step: &Set) -> anyhow::Result<()> {
        let argument = || match step.args.as_slice() {
            [one] => Ok(one),
            other => bail!("{} arguments", other.len()),
        };
        let number = || Number::deserialize(argument()?).map_err(anyhow::Error::from);
        let account = || address(argument()?.as_str().context("the argument is no address")?);
        let data = match operation {
            "setBridge" => VRFProviderV1::setBridgeCall { _bridge: account()? }.abi_encode(),
            "setOracleScriptID" => VRFProviderV1::setOracleScriptIDCall { _oracleScriptID: number()?.u64()? }.abi_encode(),
            "setMinimumFee" => VRFProviderV1::setMinimumFeeCall { _minimumFee: number()?.unsigned()? }.abi_encode(),
            "setMinCount" => VRFProviderV1::setMinCountCall { _minCount: number()?.u8()? }.abi_encode(),
            "setAskCount" => VRFProviderV1::setAskCountCall { _askCount: number()?.u8()? }.abi_encode(),
            "transferOwnership" => VRFProviderV1::transferOwnershipCall { newOwner: account()? }.abi_encode(),
            "renounceOwnership" => VRFProviderV1::renounceOwnershipCall {}.abi_encode(),
            other => bail!("the operation {other} is not known"),
        };
        let ends = (address(&step.sender)?, self.provider);
        match self.call(ends, U256::ZERO, &data.into(), (step.ok, &step.revert)).await? {
            Some(receipt) => events::check(&receipt.logs, step.events.as_deref().context("no events are recorded")?),
            None => {
                ensure!(step.events.is_none(), "a refusal has no events");
                Ok(())
            }
        }
    }

    async fn getter<C: SolCall>(&self, contract: Address, call: C) -> anyhow::Result<C::Return> {
        let answers = self.chain.read_all(vec![CallRequest::new(contract, call.abi_encode())]).await?;
        Ok(C::abi_decode_returns_validate(answers.first().context("no answer")?)?)
    }

    async fn balance(&self, account: Address) -> anyhow::Result<U256> {
        self.chain.ask("eth_getBalance", json!([account, "latest"])).await
    }

    async fn task(&self, nonce: u64) -> anyhow::Result<StoredTask> {
        let call = CallRequest::new(self.provider, VRFProviderV2::tasksCall { nonce }.abi_encode());
        let answers = self.chain.read_all(vec![call]).await?;
        let answer = answers.first().context("no answer")?;
        Ok(match self.version {
            ProviderVersion::V1 => FieldsV1::abi_decode_params_validate(answer)?.into(),
            ProviderVersion::V2 => FieldsV2::abi_decode_params_validate(answer)?.into(),
        })
    }

    /// The storage is laid out as readers of proofs expect (section 4.1 and 4.2).
    async fn check_storage(&self) -> anyhow::Result<()> {
        let tasks: u64 = self.getter(self.provider, VRFProviderV2::taskNonceCall {}).await?;
        let script: u64 = self.getter(self.provider, VRFProviderV2::oracleScriptIDCall {}).await?;
        let bridge: Address = self.getter(self.provider, VRFProviderV2::bridgeCall {}).await?;
        let fee: U256 = self.getter(self.provider, VRFProviderV2::minimumFeeCall {}).await?;
        let owner: Address = self.getter(self.provider, VRFProviderV2::ownerCall {}).await?;
        let mut settings = word(bridge) | (U256::from(script) << 160);
        if self.version == ProviderVersion::V1 {
            let min: u8 = self.getter(self.provider, VRFProviderV1::minCountCall {}).await?;
            let ask: u8 = self.getter(self.provider, VRFProviderV1::askCountCall {}).await?;
            settings |= (U256::from(min) << 224) | (U256::from(ask) << 232);
        }
        let slots = [word(owner), U256::from(1), settings, U256::from(tasks), fee];
        let mut expected: Vec<_> = slots.into_iter().enumerate().map(|(slot, word)| (U256::from(slot), word)).collect();
        for nonce in 0..tasks {
            expected.extend(self.task(nonce).await?.in_storage(self.version, nonce)?);
        }
        for (caller, client_seed) in &self.used {
            let of_caller = mapped(caller.into_word(), U256::from(5));
            expected.push((mapped_string(client_seed.as_bytes(), of_caller), U256::from(1)));
        }
        for (slot, word) in expected {
            let stored: U256 = self.chain.ask("eth_getStorageAt", json!([self.provider, slot, "latest"])).await?;
            same(&format!("slot {slot:#x}"), stored, word)?;
        }
        ensure!(owner == OWNER || owner.is_zero() || !self.used.is_empty(), "nobody owns the provider");
        Ok(())
    }
}

fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

fn check_outcome(ok: bool, revert: &Option<Revert>, simulated: &Result<Bytes, Bytes>) -> anyhow::Result<()> {
    match (ok, revert, simulated) {
        (true, None, Ok(_)) => Ok(()),
        (true, None, Err(data)) => bail!("reverts with {data} ({}), recorded is success", decode_revert(data)),
        (false, Some(recorded), Err(data)) => recorded.check_data(data),
        (false, Some(recorded), Ok(_)) => bail!("succeeds, recorded is the refusal {recorded:?}"),
        _ => bail!("the record is neither a success nor a refusal"),
    }
}

fn check_gas(receipt: &Receipt, recorded: Option<&Number>) -> anyhow::Result<()> {
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let recorded = recorded.u64()?;
    ensure!(receipt.gas_used <= recorded, "{} gas, which is more than the recorded {recorded}", receipt.gas_used);
    // A figure far from ours is not that of this transaction.
    ensure!(recorded / 2 < receipt.gas_used, "{} gas, recorded is more than twice of it: {recorded}", receipt.gas_used);
    Ok(())
}

/// A task as a contract returns it.
#[derive(Debug, PartialEq)]
struct StoredTask {
    is_resolved: bool,
    time: u64,
    caller: Address,
    task_fee: U256,
    seed: B256,
    client_seed: Bytes,
    proof: Bytes,
    result: Bytes,
}

/// Fields of a task in the order of V1. A text is encoded as bytes are.
type FieldsV1 = (bool, u64, Address, U256, B256, Bytes, Bytes, Bytes);
/// Fields of a task in the order of V2.
type FieldsV2 = (bool, u64, Address, U256, B256, B256, Bytes);

impl From<FieldsV1> for StoredTask {
    fn from((is_resolved, time, caller, task_fee, seed, client_seed, proof, result): FieldsV1) -> Self {
        Self { is_resolved, time, caller, task_fee, seed, client_seed, proof, result }
    }
}

impl From<FieldsV2> for StoredTask {
    fn from((is_resolved, time, caller, task_fee, seed, result, client_seed): FieldsV2) -> Self {
        let (proof, result) = (Bytes::new(), Bytes::copy_from_slice(result.as_slice()));
        Self { is_resolved, time, caller, task_fee, seed, client_seed, proof, result }
    }
}

impl StoredTask {
    /// What consumer and event get: the value of V2, the hash of the bytes of V1.
    fn value(&self) -> B256 {
        B256::try_from(self.result.as_ref()).unwrap_or_else(|_| alloy_primitives::keccak256(&self.result))
    }

    /// Compares with the recorded list of fields, which are in the order of the version.
    fn check(&self, version: ProviderVersion, recorded: &[Value]) -> anyhow::Result<()> {
        let text =
            |value: &Value| Ok::<_, anyhow::Error>(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned());
        let (common, client_seed, proof, result) = match (version, recorded) {
            (ProviderVersion::V1, [common @ .., client_seed, proof, result]) => {
                (common, client_seed, bytes(&text(proof)?)?, bytes(&text(result)?)?)
            }
            (ProviderVersion::V2, [common @ .., result, client_seed]) => {
                (common, client_seed, Bytes::new(), Bytes::copy_from_slice(hash(&text(result)?)?.as_slice()))
            }
            _ => bail!("too few fields"),
        };
        let [is_resolved, time, caller, task_fee, seed] = common else { bail!("{} fields", recorded.len()) };
        let recorded = Self {
            is_resolved: is_resolved.as_bool().context("is_resolved is no truth value")?,
            time: Number::deserialize(time)?.u64()?,
            caller: address(&text(caller)?)?,
            task_fee: Number::deserialize(task_fee)?.unsigned()?,
            seed: hash(&text(seed)?)?,
            client_seed: text(client_seed)?.into_bytes().into(),
            proof,
            result,
        };
        same("task", self, &recorded)
    }

    /// The words that hold it.
    fn in_storage(&self, version: ProviderVersion, nonce: u64) -> anyhow::Result<Vec<(U256, U256)>> {
        let base = mapped(B256::from(U256::from(nonce)), U256::from(6));
        let slot = |offset: u64| base.wrapping_add(U256::from(offset));
        let first = U256::from(self.is_resolved) | (U256::from(self.time) << 8) | (word(self.caller) << 72);
        let mut words = vec![(slot(0), first), (slot(1), self.task_fee), (slot(2), self.seed.into())];
        match version {
            ProviderVersion::V1 => {
                words.extend(string_in_storage(slot(3), &self.client_seed)?);
                words.extend(string_in_storage(slot(4), &self.proof)?);
                words.extend(string_in_storage(slot(5), &self.result)?);
            }
            ProviderVersion::V2 => {
                words.push((slot(3), U256::from_be_slice(&self.result)));
                words.extend(string_in_storage(slot(4), &self.client_seed)?);
            }
        }
        Ok(words)
    }
}

/// Used by `consumer_revert`, whose tasks are recorded in the same form.
pub(super) async fn check_task(
    chain: &Chain,
    provider: Address,
    version: ProviderVersion,
    nonce: u64,
    recorded: &[Value],
) -> anyhow::Result<()> {
    let (lens, consumer, used) = (Address::ZERO, Address::ZERO, Vec::new());
    Stage { chain, version, provider, lens, consumer, used }.task(nonce).await?.check(version, recorded)
}
