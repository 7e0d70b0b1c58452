//! A node that follows a script.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use crate::rpc::{Answer, Rpc, RpcCall, RpcError};

/// One scripted reply.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A result.
    Value(Value),
    /// A failure.
    Error(RpcError),
    /// A reply that takes its time (tokio's time: pause it in the test).
    After(Duration, Box<Reply>),
    /// Silence.
    Never,
}

impl Reply {
    /// A JSON-RPC error.
    pub fn refusal(code: i64, message: &str) -> Self {
        Self::Error(RpcError::response(code, message))
    }

    /// The same reply after some time.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<RpcError> for Reply {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

#[derive(Default)]
struct Script {
    next: HashMap<String, VecDeque<Reply>>,
    always: HashMap<String, Reply>,
    calls: Vec<RpcCall>,
}

/// A node whose replies are written down beforehand. A method without a reply is "not found".
pub struct ScriptedRpc {
    label: String,
    script: Mutex<Script>,
}

impl ScriptedRpc {
    /// A node without replies.
    pub fn new(label: &str) -> Self {
        Self { label: label.to_owned(), script: Mutex::new(Script::default()) }
    }

    /// Adds a reply that is given once; several are given in order.
    #[must_use]
    pub fn once(self, method: &str, reply: impl Into<Reply>) -> Self {
        self.push(method, reply);
        self
    }

    /// Sets the reply that is given when no other is left.
    #[must_use]
    pub fn always(self, method: &str, reply: impl Into<Reply>) -> Self {
        self.set(method, reply);
        self
    }

    /// Like [`ScriptedRpc::once`], while the node is in use.
    pub fn push(&self, method: &str, reply: impl Into<Reply>) {
        self.script.lock().next.entry(method.to_owned()).or_default().push_back(reply.into());
    }

    /// Like [`ScriptedRpc::always`], while the node is in use.
    pub fn set(&self, method: &str, reply: impl Into<Reply>) {
        self.script.lock().always.insert(method.to_owned(), reply.into());
    }

    /// What the node was asked so far.
    pub fn calls(&self) -> Vec<RpcCall> {
        self.script.lock().calls.clone()
    }

    /// How often a method was asked so far.
    pub fn count(&self, method: &str) -> usize {
        self.script.lock().calls.iter().filter(|call| call.method == method).count()
    }
}

#[async_trait]
impl Rpc for ScriptedRpc {
    async fn request(&self, method: &str, params: Value) -> Result<Answer, RpcError> {
        let mut reply = {
            let mut script = self.script.lock();
            script.calls.push(RpcCall::new(method, params));
            let next = script.next.get_mut(method).and_then(VecDeque::pop_front);
            next.or_else(|| script.always.get(method).cloned()).unwrap_or_else(|| Reply::refusal(-32601, "method not found"))
        };
        loop {
            match reply {
                Reply::Value(value) => return Ok(Answer::from(value)),
                Reply::Error(error) => return Err(error),
                Reply::Never => std::future::pending::<()>().await,
                Reply::After(wait, then) => {
                    tokio::time::sleep(wait).await;
                    reply = *then;
                    continue;
                }
            }
            reply = Reply::Never;
        }
    }

    fn label(&self) -> &str {
        &self.label
    }
}
