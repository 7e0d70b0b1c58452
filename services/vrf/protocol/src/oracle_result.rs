//! The result of a request as the oracle store keeps it and as the contracts see it.

use alloy_primitives::{B256, Bytes};

use crate::merkle::sha256;
use crate::messages::oracle;
use crate::varint::{push_bytes_field, push_field};

pub use crate::messages::oracle::ResolveStatus;

/// Key of the number of requests in the oracle store.
pub const COUNT_KEY: &[u8; 13] = b"\x00RequestCount";

/// Key of a request's result in the oracle store: `0xff || uint64be(request_id)`.
pub fn store_key(request_id: u64) -> [u8; 9] {
    let mut key = [0xff; 9];
    if let Some(number) = key.last_chunk_mut::<8>() {
        *number = request_id.to_be_bytes();
    }
    key
}

/// A stored result. Texts are bytes, because the contracts do not ask for UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OracleResult {
    /// Free text of the requester.
    pub client_id: Bytes,
    /// Which oracle script ran.
    pub oracle_script_id: u64,
    /// Its OBI-encoded input; the contracts call it `params`.
    pub calldata: Bytes,
    /// How many validators were asked.
    pub ask_count: u64,
    /// How many had to answer.
    pub min_count: u64,
    /// Number of the request.
    pub request_id: u64,
    /// How many answered.
    pub ans_count: u64,
    /// Unix seconds of the block that made the request.
    pub request_time: u64,
    /// Unix seconds of the block that resolved it.
    pub resolve_time: u64,
    /// How it ended.
    pub resolve_status: ResolveStatus,
    /// OBI-encoded output of the script.
    pub result: Bytes,
}

impl OracleResult {
    /// The value in the store: protobuf `Result`, fields ascending, zero and empty ones omitted.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.client_id.len() + self.calldata.len() + self.result.len());
        push_bytes_field(&mut out, 1, &self.client_id);
        push_field(&mut out, 2, self.oracle_script_id);
        push_bytes_field(&mut out, 3, &self.calldata);
        push_field(&mut out, 4, self.ask_count);
        push_field(&mut out, 5, self.min_count);
        push_field(&mut out, 6, self.request_id);
        push_field(&mut out, 7, self.ans_count);
        push_field(&mut out, 8, self.request_time);
        push_field(&mut out, 9, self.resolve_time);
        push_field(&mut out, 10, self.resolve_status as u64);
        push_bytes_field(&mut out, 11, &self.result);
        out
    }

    /// The value's hash, which stands in the leaf of the store.
    pub fn hash(&self) -> B256 {
        sha256(&[&self.encode()])
    }

    /// Reads a value of the store.
    ///
    /// # Errors
    /// If it is no `Result`, or a time is negative, or the status is unknown.
    pub fn decode(value: &[u8]) -> Result<Self, ResultError> {
        let message = <oracle::Result as prost::Message>::decode(value).map_err(|_| ResultError::Malformed)?;
        Self::try_from(message)
    }
}

/// Why bytes are no stored result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// They are no protobuf message of this kind.
    #[error("the stored result is malformed")]
    Malformed,
    /// A time is before 1970.
    #[error("the stored result has the time {0}")]
    NegativeTime(i64),
    /// The status is none of the four.
    #[error("the stored result has the unknown status {0}")]
    UnknownStatus(i32),
}

impl TryFrom<oracle::Result> for OracleResult {
    type Error = ResultError;

    fn try_from(message: oracle::Result) -> Result<Self, ResultError> {
        let time = |seconds: i64| u64::try_from(seconds).map_err(|_| ResultError::NegativeTime(seconds));
        Ok(Self {
            client_id: message.client_id.into_bytes().into(),
            oracle_script_id: message.oracle_script_id,
            calldata: message.calldata.into(),
            ask_count: message.ask_count,
            min_count: message.min_count,
            request_id: message.request_id,
            ans_count: message.ans_count,
            request_time: time(message.request_time)?,
            resolve_time: time(message.resolve_time)?,
            resolve_status: ResolveStatus::try_from(message.resolve_status)
                .map_err(|_| ResultError::UnknownStatus(message.resolve_status))?,
            result: message.result.into(),
        })
    }
}

impl From<&OracleResult> for oracle::Result {
    /// A client id that is no UTF-8 is shown with replacement characters, and times beyond 63 bits are cut.
    fn from(result: &OracleResult) -> Self {
        Self {
            client_id: String::from_utf8_lossy(&result.client_id).into_owned(),
            oracle_script_id: result.oracle_script_id,
            calldata: result.calldata.to_vec(),
            ask_count: result.ask_count,
            min_count: result.min_count,
            request_id: result.request_id,
            ans_count: result.ans_count,
            request_time: i64::try_from(result.request_time).unwrap_or(i64::MAX),
            resolve_time: i64::try_from(result.resolve_time).unwrap_or(i64::MAX),
            resolve_status: result.resolve_status as i32,
            result: result.result.to_vec(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn any_result() -> impl Strategy<Value = OracleResult> {
        let numbers = prop::array::uniform8(prop_oneof![Just(0u64), 1..200u64, 0..=i64::MAX as u64]);
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        ("[a-z]{0,20}", numbers, bytes(), bytes(), 0i32..4).prop_map(|(client, n, calldata, result, status)| OracleResult {
            client_id: client.into_bytes().into(),
            oracle_script_id: n[0],
            calldata: calldata.into(),
            ask_count: n[1],
            min_count: n[2],
            request_id: n[3],
            ans_count: n[4],
            request_time: n[5],
            resolve_time: n[6],
            resolve_status: ResolveStatus::try_from(status).unwrap(),
            result: result.into(),
        })
    }

    proptest! {
        #[test]
        fn the_encoding_is_protobuf(result in any_result()) {
            prop_assert_eq!(result.encode(), oracle::Result::from(&result).encode_to_vec());
            prop_assert_eq!(OracleResult::decode(&result.encode()), Ok(result));
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = OracleResult::decode(&bytes);
        }
    }

    #[test]
    fn keys_sort_by_number() {
        assert_eq!(store_key(1), [0xff, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(store_key(255) < store_key(256));
    }

    #[test]
    fn times_before_1970_and_unknown_states_are_refused() {
        let message = oracle::Result { request_time: -1, ..Default::default() };
        assert_eq!(OracleResult::try_from(message), Err(ResultError::NegativeTime(-1)));
        let message = oracle::Result { resolve_status: 4, ..Default::default() };
        assert_eq!(OracleResult::try_from(message), Err(ResultError::UnknownStatus(4)));
    }
}
