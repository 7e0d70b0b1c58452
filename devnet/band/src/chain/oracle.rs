//! Oracle requests: what they cost, when they end and how.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, hex};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::{Event, EventAttribute};
use windlass_vrf_protocol::obi::{CALLDATA_SCHEMA, Calldata, ResultV1, ResultV2, Schema};
use windlass_vrf_protocol::oracle_result::{OracleResult, ResolveStatus};
use windlass_vrf_protocol::tx::BandAddress;

use crate::config::{BandConfig, DENOM, ResultVersion};
use crate::faults::{Faults, hit};

/// The only data source there is.
pub(crate) const DATA_SOURCE_ID: u64 = 83;

/// An oracle request that waits or ended lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleRequest {
    /// Its number.
    pub id: u64,
    /// The message that made it.
    pub message: MsgRequestData,
    /// What the data source is asked.
    pub raw_calldata: String,
    /// Validators that were picked, `bandvaloper1...`.
    pub validators: Vec<String>,
    /// Block that made it.
    pub height: u64,
    /// Unix seconds of that block.
    pub time: u64,
    /// How it will end. Nobody outside of the chain knows before `ends_at`.
    pub(crate) status: ResolveStatus,
    /// Block that resolves it.
    pub(crate) ends_at: u64,
    /// Validators that will have answered.
    pub(crate) ans_count: u64,
}

/// A request that a block resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The request.
    pub id: u64,
    /// How it ended.
    pub status: ResolveStatus,
    /// Output of the script.
    pub(crate) result: Bytes,
}

/// All requests that are not forgotten yet.
#[derive(Debug)]
pub(crate) struct Oracle {
    requests: BTreeMap<u64, OracleRequest>,
    /// Requests by the block that resolves them.
    due: BTreeMap<u64, Vec<u64>>,
    next_id: u64,
    last_expired: u64,
}

impl Oracle {
    pub(crate) fn new(first_id: u64) -> Self {
        let last_expired = first_id.saturating_sub(1);
        Self { requests: BTreeMap::new(), due: BTreeMap::new(), next_id: first_id, last_expired }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// All requests up to this one have ended and are forgotten.
    pub(crate) fn last_expired(&self) -> u64 {
        self.last_expired
    }

    pub(crate) fn get(&self, id: u64) -> Option<&OracleRequest> {
        self.requests.get(&id)
    }

    /// How many wait for their result.
    pub(crate) fn open(&self) -> usize {
        self.due.values().map(Vec::len).sum()
    }

    /// Takes a request whose transaction succeeded.
    pub(crate) fn add(&mut self, request: OracleRequest) {
        self.next_id = self.next_id.max(request.id.saturating_add(1));
        self.due.entry(request.ends_at).or_default().push(request.id);
        self.requests.insert(request.id, request);
    }

    /// The results of this block, in the order in which their requests were made.
    pub(crate) fn resolve(
        &mut self,
        height: u64,
        time: u64,
        versions: &BTreeMap<u64, ResultVersion>,
    ) -> Vec<(Resolved, OracleResult)> {
        let later = self.due.split_off(&height.saturating_add(1));
        let mut ids: Vec<u64> = std::mem::replace(&mut self.due, later).into_values().flatten().collect();
        ids.sort_unstable();
        let one = |id: &u64| self.requests.get(id).map(|request| ended(request, time, versions));
        ids.iter().filter_map(one).collect()
    }

    /// Forgets requests whose time is over, as the real chain does also with those that were answered.
    pub(crate) fn forget(&mut self, height: u64, expiration: u64) {
        while let Some(first) = self.requests.first_entry() {
            if first.get().height.saturating_add(expiration) > height {
                break;
            }
            self.last_expired = *first.key();
            first.remove();
        }
    }
}

fn ended(request: &OracleRequest, time: u64, versions: &BTreeMap<u64, ResultVersion>) -> (Resolved, OracleResult) {
    let message = &request.message;
    let result = match (request.status, versions.get(&message.oracle_script_id)) {
        (ResolveStatus::Success, Some(version)) => output(*version, &message.calldata),
        _ => Bytes::new(),
    };
    let stored = OracleResult {
        client_id: message.client_id.clone().into_bytes().into(),
        oracle_script_id: message.oracle_script_id,
        calldata: message.calldata.clone().into(),
        ask_count: message.ask_count,
        min_count: message.min_count,
        request_id: request.id,
        ans_count: request.ans_count,
        request_time: request.time,
        resolve_time: time,
        resolve_status: request.status,
        result: result.clone(),
    };
    (Resolved { id: request.id, status: request.status, result }, stored)
}

/// What the script returns. Nothing on the client chain checks the value, so hashes of the input do.
fn output(version: ResultVersion, calldata: &[u8]) -> Bytes {
    let part = |number: u8| sha256(&[&[number], calldata]).to_vec();
    match version {
        ResultVersion::V1 => {
            let mut proof: Vec<u8> = (0..3).flat_map(part).collect();
            proof.truncate(80);
            let result: Vec<u8> = (3..5).flat_map(part).collect();
            ResultV1 { proof: proof.into(), result: result.into() }.encode().into()
        }
        ResultVersion::V2 => ResultV2 { result: sha256(&[calldata]).to_vec().into() }.encode().into(),
    }
}

/// What the data source is asked: `<seed hex> <time>`. `None` if the script cannot read its input.
pub(crate) fn raw_calldata(calldata: &[u8]) -> Option<String> {
    if let Ok(Calldata { seed, time, .. }) = Calldata::decode(calldata) {
        return Some(format!("{} {time}", hex::encode(seed)));
    }
    // The script does not ask for the sizes that the providers ask for.
    let schema = Schema::parse(CALLDATA_SCHEMA).ok()?;
    schema.decode(calldata).ok().map(|_| hex::encode(calldata))
}

/// When and how a request ends.
pub(crate) struct Fate {
    pub(crate) status: ResolveStatus,
    pub(crate) ends_at: u64,
    pub(crate) ans_count: u64,
}

/// The fate of a request: faults that count first, then chance, which the seed and the id of the request decide.
pub(crate) fn fate(config: &BandConfig, faults: &mut Faults, id: u64, height: u64, message: &MsgRequestData) -> Fate {
    let [delay, chance, answers] = dice(config.seed, id);
    let expires_at = height.saturating_add(config.expiration_blocks);
    let share = (chance >> 11) as f64 / (1u64 << 53) as f64;
    let (fail, expire) = (faults.fail_probability, faults.expire_probability);
    let status = if hit(&mut faults.fail_requests) {
        ResolveStatus::Failure
    } else if hit(&mut faults.expire_requests) {
        ResolveStatus::Expired
    } else if share < fail {
        ResolveStatus::Failure
    } else if share < fail + expire {
        ResolveStatus::Expired
    } else {
        ResolveStatus::Success
    };
    if status == ResolveStatus::Expired {
        let ans_count = answers % message.min_count.max(1);
        return Fate { status, ends_at: expires_at, ans_count };
    }
    let (first, last) = (*config.resolve_after.start(), *config.resolve_after.end());
    let wait = first.saturating_add(delay % last.saturating_sub(first).saturating_add(1));
    let ends_at = height.saturating_add(wait).min(expires_at);
    let spare = message.ask_count.saturating_sub(message.min_count).saturating_add(1);
    Fate { status, ends_at, ans_count: message.min_count.saturating_add(answers % spare) }
}

/// Three numbers that follow from seed and id.
fn dice(seed: u64, id: u64) -> [u64; 3] {
    let digest = sha256(&[b"fate", &seed.to_be_bytes(), &id.to_be_bytes()]);
    let number = |from: usize| digest.get(from..from + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_be_bytes);
    [number(0), number(8), number(16)]
}

/// The picked validators: names only, since nobody votes with them.
pub(crate) fn pick_validators(config: &BandConfig, id: u64, count: u64) -> Vec<String> {
    let all = config.oracle_validators;
    let first = dice(config.seed, id.wrapping_add(1 << 32)).first().copied().unwrap_or_default() % all.max(1);
    (0..count.min(all))
        .map(|index| {
            let number = (first + index) % all.max(1);
            let digest = sha256(&[b"oracle validator", &config.seed.to_be_bytes(), &number.to_be_bytes()]);
            let bytes: [u8; 20] = digest.first_chunk().copied().unwrap_or_default();
            BandAddress(bytes).to_operator()
        })
        .collect()
}

pub(crate) fn event(kind: &str, attributes: &[(&str, &str)]) -> Event {
    let attribute = |(key, value): &(&str, &str)| EventAttribute { key: (*key).into(), value: (*value).into(), index: true };
    Event { r#type: kind.to_owned(), attributes: attributes.iter().map(attribute).collect() }
}

/// Events of a new request: `request`, then one `raw_request`.
pub(crate) fn request_events(request: &OracleRequest, fee: u128, total_fee: u128) -> [Event; 2] {
    let message = &request.message;
    let coins = |amount: u128| if amount == 0 { String::new() } else { format!("{amount}{DENOM}") };
    let mut made = event(
        "request",
        &[
            ("id", &request.id.to_string()),
            ("client_id", &message.client_id),
            ("oracle_script_id", &message.oracle_script_id.to_string()),
            ("calldata", &hex::encode(&message.calldata)),
            ("ask_count", &message.ask_count.to_string()),
            ("min_count", &message.min_count.to_string()),
            ("gas_used", &(message.prepare_gas / 2).to_string()),
            ("total_fees", &coins(total_fee)),
        ],
    );
    let validators = request.validators.iter();
    made.attributes.extend(validators.map(|name| EventAttribute { key: "validator".into(), value: name.clone(), index: true }));
    let raw = event(
        "raw_request",
        &[
            ("data_source_id", &DATA_SOURCE_ID.to_string()),
            ("data_source_hash", &hex::encode(sha256(&[b"data source"]))),
            ("external_id", "1"),
            ("calldata", &request.raw_calldata),
            ("fee", &coins(fee)),
        ],
    );
    [made, raw]
}

/// The event of a block that resolved a request.
pub(crate) fn resolve_event(resolved: &Resolved) -> Event {
    let (id, status) = (resolved.id.to_string(), (resolved.status as i32).to_string());
    let begin = [("id", id.as_str()), ("resolve_status", status.as_str())];
    match resolved.status {
        ResolveStatus::Success => {
            let result = hex::encode(&resolved.result);
            event("resolve", &[begin.as_slice(), &[("result", &result), ("gas_used", "1000")]].concat())
        }
        ResolveStatus::Failure => {
            let reason = "error while executing: runtime error: the script failed";
            event("resolve", &[begin.as_slice(), &[("reason", reason)]].concat())
        }
        ResolveStatus::Expired | ResolveStatus::Open => event("resolve", &begin),
    }
}
