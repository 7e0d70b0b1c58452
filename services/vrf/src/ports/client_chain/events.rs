//! Events of the provider.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolEvent;
use windlass_chain::{Log, LogFilter};
use windlass_contracts::vrf::{VRFProviderV1, VRFProviderV2};

use super::abi::{AbiFault, Answer, WORD};
use crate::protocol::seed::seed;
use crate::protocol::task::Task;

/// What a provider announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// A new task.
    Requested(Task),
    /// A task has its random value.
    Relayed {
        /// Time of the task, Unix seconds.
        time: u64,
        /// The request on BandChain.
        band_request_id: u64,
        /// The caller of the task.
        to: Address,
        /// The random value; in V1 the hash of the script's bytes.
        result_hash: B256,
        /// Seed of the task.
        seed: B256,
    },
    /// Another Bridge judges proofs.
    SetBridge(Address),
    /// Results of another oracle script are taken.
    SetOracleScriptId(u64),
    /// Requests must bring another fee, in wei.
    SetMinimumFee(U256),
    /// V1: another minimum count is wanted.
    SetMinCount(u8),
    /// V1: another ask count is wanted.
    SetAskCount(u8),
}

/// All of `RandomDataRequested`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The task, not resolved yet.
    pub task: Task,
    /// Hash of the block before the request's.
    pub block_hash: B256,
    /// Chain id, as the provider sees it.
    pub chain_id: U256,
}

impl Requested {
    /// Whether the seed is the one that follows from the other values. A provider that stands still (in tests) has it so as well.
    pub fn seed_is_right(&self) -> bool {
        let Task { time, caller, nonce, client_seed, .. } = &self.task;
        self.task.seed == seed(*time, *caller, self.block_hash, self.chain_id, U256::from(*nonce), client_seed)
    }
}

/// The signature hashes of all events that [`decode_log`] knows.
pub const EVENTS: [B256; 7] = [
    VRFProviderV2::RandomDataRequested::SIGNATURE_HASH,
    VRFProviderV2::RandomDataRelayed::SIGNATURE_HASH,
    VRFProviderV2::SetBridge::SIGNATURE_HASH,
    VRFProviderV2::SetOracleScriptID::SIGNATURE_HASH,
    VRFProviderV2::SetMinimumFee::SIGNATURE_HASH,
    VRFProviderV1::SetMinCount::SIGNATURE_HASH,
    VRFProviderV1::SetAskCount::SIGNATURE_HASH,
];

/// The filter for a provider's events.
pub fn filter(provider: Address) -> LogFilter {
    LogFilter::address(provider).events(EVENTS)
}

/// The event in a log. `None` for other events and for logs that are none, whatever their first topic says.
pub fn decode_log(log: &Log) -> Option<ProviderEvent> {
    let (signature, indexed) = log.topics.split_first()?;
    let answer = Answer::new(&log.data);
    let event = match *signature {
        VRFProviderV2::RandomDataRequested::SIGNATURE_HASH => ProviderEvent::Requested(decode_requested(log)?.task),
        VRFProviderV2::RandomDataRelayed::SIGNATURE_HASH => relayed(&answer, only_address(indexed)?).ok()?,
        VRFProviderV2::SetBridge::SIGNATURE_HASH => return only_address(indexed).map(ProviderEvent::SetBridge),
        _ if !indexed.is_empty() => return None,
        VRFProviderV2::SetOracleScriptID::SIGNATURE_HASH => ProviderEvent::SetOracleScriptId(answer.uint64(0).ok()?),
        VRFProviderV2::SetMinimumFee::SIGNATURE_HASH => ProviderEvent::SetMinimumFee(answer.number(0).ok()?),
        VRFProviderV1::SetMinCount::SIGNATURE_HASH => ProviderEvent::SetMinCount(answer.narrow(0, "8-bit number").ok()?),
        VRFProviderV1::SetAskCount::SIGNATURE_HASH => ProviderEvent::SetAskCount(answer.narrow(0, "8-bit number").ok()?),
        _ => return None,
    };
    Some(event)
}

/// `RandomDataRequested` with everything that is in it.
pub fn decode_requested(log: &Log) -> Option<Requested> {
    let (signature, indexed) = log.topics.split_first()?;
    let caller = only_address(indexed)?;
    if *signature != VRFProviderV2::RandomDataRequested::SIGNATURE_HASH || caller.is_zero() {
        return None;
    }
    requested(&mut Answer::new(&log.data), caller).ok()
}

fn requested(answer: &mut Answer<'_>, caller: Address) -> Result<Requested, AbiFault> {
    let task = Task {
        nonce: answer.uint64(WORD)?,
        is_resolved: false,
        time: answer.uint64(0)?,
        caller,
        task_fee: answer.number(5 * WORD)?,
        seed: answer.word(3 * WORD)?,
        client_seed: answer.bytes(0, 6 * WORD)?,
        proof: Bytes::new(),
        result: Bytes::new(),
    };
    Ok(Requested { task, block_hash: answer.word(2 * WORD)?, chain_id: answer.number(4 * WORD)? })
}

fn relayed(answer: &Answer<'_>, to: Address) -> Result<ProviderEvent, AbiFault> {
    Ok(ProviderEvent::Relayed {
        time: answer.uint64(0)?,
        band_request_id: answer.uint64(WORD)?,
        to,
        result_hash: answer.word(2 * WORD)?,
        seed: answer.word(3 * WORD)?,
    })
}

/// The one indexed value of an event, an address.
fn only_address(indexed: &[B256]) -> Option<Address> {
    match indexed {
        [word] => Some(Address::from_word(*word)).filter(|address| address.into_word() == *word),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use alloy_primitives::LogData;
    use alloy_sol_types::{SolEvent, SolValue};

    use super::*;

    fn log(data: LogData) -> Log {
        Log {
            address: Address::repeat_byte(1),
            topics: data.topics().to_vec(),
            data: data.data,
            block_number: 1,
            block_hash: B256::ZERO,
            transaction_hash: B256::ZERO,
            transaction_index: 0,
            log_index: 0,
        }
    }

    fn request(client_seed: &[u8]) -> Log {
        let (caller, hash, chain_id) = (Address::repeat_byte(2), B256::repeat_byte(3), U256::from(5));
        let right = seed(1, caller, hash, chain_id, U256::from(2), client_seed);
        let data = (1_u64, 2_u64, hash, right, chain_id, U256::from(6), Bytes::copy_from_slice(client_seed));
        let topics = vec![VRFProviderV2::RandomDataRequested::SIGNATURE_HASH, caller.into_word()];
        log(LogData::new_unchecked(topics, data.abi_encode_params().into()))
    }

    #[test]
    fn requests_are_read_whatever_their_client_seed_is() {
        for client_seed in [&b""[..], b"mumu1", b"\xff\xfe\x00", &[0xc3; 100]] {
            let requested = decode_requested(&request(client_seed)).unwrap();
            assert!(requested.seed_is_right());
            let Some(ProviderEvent::Requested(task)) = decode_log(&request(client_seed)) else { unreachable!() };
            assert_eq!((task.client_seed.as_ref(), task.nonce, task.time), (client_seed, 2, 1));
            assert_eq!(task, requested.task);
        }
        let mut other = decode_requested(&request(b"x")).unwrap();
        other.task.client_seed = Bytes::from_static(b"y");
        assert!(!other.seed_is_right());
    }

    #[test]
    fn every_event_is_read() {
        let relayed = VRFProviderV1::RandomDataRelayed {
            time: 1,
            bandRequestID: 2,
            to: Address::repeat_byte(3),
            resultHash: B256::repeat_byte(4),
            seed: B256::repeat_byte(5),
            clientSeed: "x".into(),
        };
        let expected = ProviderEvent::Relayed {
            time: 1,
            band_request_id: 2,
            to: Address::repeat_byte(3),
            result_hash: B256::repeat_byte(4),
            seed: B256::repeat_byte(5),
        };
        let bridge = VRFProviderV2::SetBridge { newBridge: Address::repeat_byte(8) };
        let script = VRFProviderV2::SetOracleScriptID { newOID: 7 };
        let fee = VRFProviderV2::SetMinimumFee { newMinimumFee: U256::from(8) };
        for (data, expected) in [
            (relayed.encode_log_data(), expected),
            (bridge.encode_log_data(), ProviderEvent::SetBridge(Address::repeat_byte(8))),
            (script.encode_log_data(), ProviderEvent::SetOracleScriptId(7)),
            (fee.encode_log_data(), ProviderEvent::SetMinimumFee(U256::from(8))),
            (VRFProviderV1::SetMinCount { newMinCount: 9 }.encode_log_data(), ProviderEvent::SetMinCount(9)),
            (VRFProviderV1::SetAskCount { newAskCount: 10 }.encode_log_data(), ProviderEvent::SetAskCount(10)),
        ] {
            assert!(filter(Address::repeat_byte(1)).matches(&log(data.clone())));
            assert_eq!(decode_log(&log(data)), Some(expected));
        }
    }

    #[test]
    fn what_only_looks_like_an_event_is_none() {
        let good = request(b"seed");
        for length in 0..good.data.len() - 32 {
            let short = Log { data: good.data.slice(..length), ..good.clone() };
            assert_eq!(decode_log(&short), None, "{length}");
        }
        let mut topics = good.topics.clone();
        topics.push(B256::ZERO);
        assert_eq!(decode_log(&Log { topics, ..good.clone() }), None, "a topic too many");
        assert_eq!(decode_log(&Log { topics: good.topics[..1].to_vec(), ..good.clone() }), None, "no caller");
        assert_eq!(decode_log(&Log { topics: vec![good.topics[0], B256::ZERO], ..good.clone() }), None, "caller zero");
        assert_eq!(decode_log(&Log { topics: vec![good.topics[0], B256::repeat_byte(1)], ..good.clone() }), None, "no address");
        assert_eq!(decode_log(&Log { topics: Vec::new(), ..good.clone() }), None);
        let transfer = vec![VRFProviderV1::OwnershipTransferred::SIGNATURE_HASH];
        assert_eq!(decode_log(&Log { topics: transfer, ..good }), None);
    }
}
