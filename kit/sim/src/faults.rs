//! Endpoints that misbehave by seed.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use windlass_chain::{Answer, Rpc, RpcError};

use crate::chain::{SimChain, View};
use crate::crash::{CrashPlan, Pulse};
use crate::gate::Gate;
use crate::trace::Trace;

/// How often an endpoint does what, as probabilities per request between 0 and 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultProfile {
    /// No answer, and the request had no effect.
    pub timeout_before: f64,
    /// No answer, but the request had its effect.
    pub timeout_after: f64,
    /// Connection refused.
    pub refused: f64,
    /// HTTP 429.
    pub rate_limited: f64,
    /// HTTP 502 with a page instead of JSON.
    pub server_error: f64,
    /// An answer that is JSON but not what the method returns.
    pub garbage: f64,
    /// The node's own error, code -32603.
    pub internal_error: f64,
    /// The endpoint falls behind, or catches up, at this request.
    pub lag_changes: f64,
    /// How many changes of the head it may be behind.
    pub lag_heads: usize,
    /// A broadcast is answered with its hash and thrown away.
    pub broadcast_lost: f64,
    /// A broadcast enters the pool and is answered with an error.
    pub broadcast_errored: f64,
    /// A broadcast is handed on twice, so that the answer is "already known".
    pub broadcast_doubled: f64,
    /// The endpoint knows nothing of waiting transactions at this request.
    pub pool_blind: f64,
    /// Untrue answers.
    pub lies: Lies,
}

/// Untrue answers that no faultless node gives, as probabilities per request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lies {
    /// A block with another hash and parent.
    pub wrong_block: f64,
    /// Logs are left out.
    pub missing_logs: f64,
    /// A receipt or a transaction that is on the chain is denied.
    pub missing_receipt: f64,
    /// `eth_getTransactionCount` is off by up to three.
    pub wrong_nonce: f64,
    /// The data that a call returns have a wrong byte, or are cut.
    pub wrong_call: f64,
}

impl Lies {
    /// Every kind of lie with probability `p`.
    pub fn all(p: f64) -> Self {
        Self { wrong_block: p, missing_logs: p, missing_receipt: p, wrong_nonce: p, wrong_call: p }
    }
}

impl FaultProfile {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every fault but lag and lies, each with probability `p`.
    pub fn flaky(p: f64) -> Self {
        Self {
            timeout_before: p,
            timeout_after: p,
            refused: p,
            rate_limited: p,
            server_error: p,
            garbage: p,
            internal_error: p,
            broadcast_lost: p,
            broadcast_errored: p,
            broadcast_doubled: p,
            pool_blind: p,
            ..Self::default()
        }
    }

    /// Up to `heads` behind, changing often.
    pub fn lagging(heads: usize) -> Self {
        Self { lag_changes: 0.05, lag_heads: heads, ..Self::default() }
    }

    /// Lies with probability `p`.
    pub fn lying(p: f64) -> Self {
        Self { lies: Lies::all(p), ..Self::default() }
    }

    /// A random mixture without lies: some faults off, some rare, some frequent. Runs in which a single fault dominates find
    /// what an even mixture hides.
    pub fn mixture(rng: &mut impl Rng) -> Self {
        let mut draw = || match rng.random_range(0..4) {
            0 | 1 => 0.0,
            2 => 0.02,
            _ => 0.15,
        };
        Self {
            timeout_before: draw(),
            timeout_after: draw(),
            refused: draw(),
            rate_limited: draw(),
            server_error: draw(),
            garbage: draw(),
            internal_error: draw(),
            lag_changes: draw(),
            lag_heads: 3,
            broadcast_lost: draw(),
            broadcast_errored: draw(),
            broadcast_doubled: draw(),
            pool_blind: draw(),
            lies: Lies::default(),
        }
    }
}

#[derive(Debug)]
struct Node {
    rng: ChaCha8Rng,
    profile: FaultProfile,
    down: bool,
    behind: usize,
    requests: u64,
}

/// What the dice say about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    TimeoutBefore,
    TimeoutAfter,
    Refused,
    RateLimited,
    ServerError,
    Garbage,
    Internal,
}

/// One endpoint of a [`SimChain`], faulty by seed. Clones share dice, lag and profile: they are connections to one endpoint,
/// each of which may belong to another process.
#[derive(Clone, Debug)]
pub struct FaultyRpc {
    chain: SimChain,
    label: String,
    node: Arc<Mutex<Node>>,
    process: Option<Arc<CrashPlan>>,
    gate: Option<Gate>,
    trace: Trace,
}

impl FaultyRpc {
    /// An endpoint called `label` over `chain`.
    pub fn new(chain: SimChain, label: &str, seed: u64, profile: FaultProfile) -> Self {
        Self {
            chain,
            label: label.to_owned(),
            node: Arc::new(Mutex::new(Node {
                rng: ChaCha8Rng::seed_from_u64(seed),
                profile,
                down: false,
                behind: 0,
                requests: 0,
            })),
            process: None,
            gate: None,
            trace: Trace::default(),
        }
    }

    /// A connection of a process: it ends when the process dies, and its requests are written to the trace.
    #[must_use]
    pub fn connect(&self, process: Arc<CrashPlan>, trace: Trace) -> Self {
        Self { process: Some(process), trace, ..self.clone() }
    }

    /// A connection whose requests pass a gate.
    #[must_use]
    pub fn behind(&self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self.clone() }
    }

    /// Changes the faults from now on. A profile without lag catches up at once.
    pub fn set_profile(&self, profile: FaultProfile) {
        let mut node = self.node.lock();
        if profile.lag_heads == 0 {
            node.behind = 0;
        }
        node.profile = profile;
    }

    /// Switches the endpoint off or on: connections are refused while it is off.
    pub fn set_down(&self, down: bool) {
        self.node.lock().down = down;
    }

    /// Faultless from now on.
    pub fn heal(&self) {
        self.set_down(false);
        self.set_profile(FaultProfile::none());
    }

    /// Puts the endpoint this many changes of the head behind.
    pub fn set_behind(&self, heads: usize) {
        self.node.lock().behind = heads;
    }

    /// Requests that reached the endpoint so far.
    pub fn requests(&self) -> u64 {
        self.node.lock().requests
    }

    /// One request, as [`Rpc::request`] but as a JSON value.
    pub fn ask(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let answer = self.attempt(method, params);
        self.trace.push(match &answer {
            Ok(value) => format!("{} {method} {params} -> {}", self.label, brief(value)),
            Err(error) => format!("{} {method} {params} -> error {error}", self.label),
        });
        answer
    }

    fn attempt(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let broadcast = method == "eth_sendRawTransaction";
        let process = self.process.as_deref();
        let alive =
            process.map_or(Pulse::Alive, |process| if broadcast { process.before_broadcast() } else { process.before_request() });
        if alive == Pulse::Dead {
            return Err(refused());
        }
        let answer = if broadcast { self.broadcast(params) } else { self.read(method, params) };
        if broadcast && process.is_some_and(|process| process.after_broadcast() == Pulse::Dead) {
            return Err(RpcError::Closed { reason: "the process died".to_owned() });
        }
        answer
    }

    fn broadcast(&self, params: &Value) -> Result<Value, RpcError> {
        // Whatever the endpoint does with them: the bytes are in foreign hands now.
        let raw: Option<Bytes> = params.get(0).and_then(|raw| serde_json::from_value(raw.clone()).ok());
        let (fault, lost, errored, doubled) = {
            let mut node = self.node.lock();
            let fault = node.roll();
            let profile = node.profile.clone();
            (
                fault,
                node.chance(profile.broadcast_lost),
                node.chance(profile.broadcast_errored),
                node.chance(profile.broadcast_doubled),
            )
        };
        match (&raw, fault) {
            (_, Fault::Refused) => return Err(refused()),
            (Some(raw), _) => self.chain.witness(raw),
            (None, _) => {}
        }
        if let (true, Some(raw), Fault::None) = (lost, &raw, fault) {
            return Ok(json!(alloy_primitives::keccak256(raw)));
        }
        let method = "eth_sendRawTransaction";
        with_fault(method, fault, || {
            if doubled {
                // The first hand-over is the one that counts; its answer is the one that got lost.
                let _ = self.chain.request(View::default(), method, params);
            }
            let answer = self.chain.request(View::default(), method, params);
            if errored && answer.is_ok() {
                return Err(RpcError::response(-32603, "internal error"));
            }
            answer.map_err(node_error)
        })
    }

    fn read(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let (fault, view, lies) = {
            let mut node = self.node.lock();
            let fault = node.roll();
            let profile = node.profile.clone();
            if node.chance(profile.lag_changes) {
                node.behind = node.rng.random_range(0..=profile.lag_heads);
            }
            let view = View { behind: node.behind, sees_pool: !node.chance(profile.pool_blind) };
            (fault, view, profile.lies)
        };
        with_fault(method, fault, || {
            let answer = self.chain.request(view, method, params).map_err(node_error)?;
            Ok(self.lie(method, answer, &lies))
        })
    }

    /// Bends a true answer.
    fn lie(&self, method: &str, answer: Value, lies: &Lies) -> Value {
        let mut node = self.node.lock();
        let probability = match method {
            "eth_getBlockByNumber" | "eth_getBlockByHash" => lies.wrong_block,
            "eth_getLogs" => lies.missing_logs,
            "eth_getTransactionReceipt" | "eth_getTransactionByHash" | "eth_getBlockReceipts" => lies.missing_receipt,
            "eth_getTransactionCount" => lies.wrong_nonce,
            "eth_call" => lies.wrong_call,
            _ => 0.0,
        };
        if !node.chance(probability) {
            return answer;
        }
        match (method, answer) {
            ("eth_getBlockByNumber" | "eth_getBlockByHash", Value::Object(mut block)) => {
                block.insert("hash".into(), json!(B256::from(node.rng.random::<[u8; 32]>())));
                if node.rng.random_bool(0.5) {
                    let parent = B256::from(node.rng.random::<[u8; 32]>());
                    block.insert("parentHash".into(), json!(parent));
                }
                Value::Object(block)
            }
            ("eth_getLogs", Value::Array(mut logs)) => {
                logs.retain(|_| node.rng.random_bool(0.5));
                Value::Array(logs)
            }
            ("eth_call", Value::String(text)) => {
                let mut data = text.parse::<Bytes>().unwrap_or_default().to_vec();
                let at = node.rng.random_range(0..data.len().max(1));
                if node.rng.random_bool(0.2) {
                    data.truncate(at);
                } else if let Some(byte) = data.get_mut(at) {
                    *byte ^= node.rng.random_range(1..=255u8);
                }
                json!(Bytes::from(data))
            }
            ("eth_getTransactionCount", Value::String(text)) => {
                let truth = text.parse::<U256>().unwrap_or_default();
                let off = U256::from(node.rng.random_range(1..=3u64));
                json!(if node.rng.random_bool(0.5) { truth.saturating_add(off) } else { truth.saturating_sub(off) })
            }
            _ => Value::Null,
        }
    }
}

impl Node {
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    fn roll(&mut self) -> Fault {
        self.requests += 1;
        if self.down {
            return Fault::Refused;
        }
        let profile = &self.profile;
        let table = [
            (profile.timeout_before, Fault::TimeoutBefore),
            (profile.timeout_after, Fault::TimeoutAfter),
            (profile.refused, Fault::Refused),
            (profile.rate_limited, Fault::RateLimited),
            (profile.server_error, Fault::ServerError),
            (profile.garbage, Fault::Garbage),
            (profile.internal_error, Fault::Internal),
        ];
        let mut dice: f64 = self.rng.random();
        for (probability, fault) in table {
            if dice < probability {
                return fault;
            }
            dice -= probability;
        }
        Fault::None
    }
}

/// Runs the request, or does not, and answers as the fault wants.
fn with_fault(method: &str, fault: Fault, request: impl FnOnce() -> Result<Value, RpcError>) -> Result<Value, RpcError> {
    match fault {
        Fault::None => request(),
        Fault::TimeoutBefore => Err(RpcError::Timeout { after_ms: 10_000 }),
        Fault::TimeoutAfter => {
            let _ = request();
            Err(RpcError::Timeout { after_ms: 10_000 })
        }
        Fault::Refused => Err(refused()),
        Fault::RateLimited => Err(RpcError::TooManyRequests { retry_after_ms: Some(1_000) }),
        Fault::ServerError => {
            Err(RpcError::Http { status: 502, retry_after_ms: None, body: "<html>Bad Gateway</html>".to_owned() })
        }
        Fault::Garbage => {
            let _ = request();
            // What a JSON-RPC client passes on when a proxy answers with some other JSON.
            match method.len() % 3 {
                0 => Ok(json!({"message": "welcome"})),
                1 => Ok(json!(true)),
                _ => Err(RpcError::malformed(method, "expected value at line 1")),
            }
        }
        Fault::Internal => Err(RpcError::response(-32603, "internal error")),
    }
}

fn refused() -> RpcError {
    RpcError::connect("connection refused")
}

fn node_error(error: crate::chain::NodeError) -> RpcError {
    RpcError::Response { code: error.code, message: error.message, data: error.data }
}

/// Start of an answer for the trace.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            format!("{{number {} hash {}}}", field("number"), field("hash"))
        }
        Value::Array(list) => format!("[{} items]", list.len()),
        other => {
            let text = other.to_string();
            text.chars().take(80).collect()
        }
    }
}

#[async_trait]
impl Rpc for FaultyRpc {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        self.ask(method, &params).map(Answer::from)
    }

    fn label(&self) -> &str {
        &self.label
    }
}
