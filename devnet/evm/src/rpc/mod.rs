//! JSON-RPC methods. Each takes parameters and gives the result as finished JSON text.

pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod fees;
pub(crate) mod format;
pub(crate) mod params;
pub(crate) mod read;
pub(crate) mod send;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chain::Chain;
use crate::error::JsonRpcError;
use crate::lock::Locked;
use params::Params;

/// A result, or the error that the client gets.
pub(crate) type Outcome = Result<Box<RawValue>, JsonRpcError>;

/// Writes a result as JSON.
pub(crate) fn reply<T: Serialize + ?Sized>(result: &T) -> Outcome {
    serde_json::value::to_raw_value(result).map_err(|error| JsonRpcError::internal(error.to_string()))
}

/// Answers a method that needs no waiting.
pub(crate) fn answer(chain: &Locked, method: &str, params: &mut Params) -> Outcome {
    if let Some(outcome) = answer_reading(&chain.read(), method, params) {
        return outcome;
    }
    if let Some(outcome) = send::answer(chain, method, params) {
        return outcome;
    }
    let controlled = control::answer(&mut chain.write(), method, params);
    controlled.unwrap_or_else(|| Err(JsonRpcError::method_not_found()))
}

fn answer_reading(chain: &Chain, method: &str, params: &mut Params) -> Option<Outcome> {
    match read::answer(chain, method, params) {
        None => call::answer(chain, method, params),
        answered => answered,
    }
}
