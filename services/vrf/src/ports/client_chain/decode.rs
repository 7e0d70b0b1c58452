//! Answers of provider, lens and Bridge.
//!
//! Client seeds are Solidity strings, which need not be text: they are read as bytes.

use alloy_primitives::{Address, Bytes, U256};

use super::abi::{AbiFault, Answer, WORD};
use crate::protocol::task::{ProviderVersion, Task};
use crate::protocol::verify::BlockDetail;

/// What `getTasksBulk` may answer instead of a list of tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskFault {
    /// The bytes are no list of tasks.
    #[error(transparent)]
    Abi(#[from] AbiFault),
    /// More or fewer tasks than were asked for.
    #[error("{asked} tasks were asked for, it answers {answered}")]
    Count {
        /// Nonces in the question.
        asked: usize,
        /// Tasks in the answer.
        answered: usize,
    },
    /// A task that nobody asked for, which is not empty all the same.
    #[error("task {nonce} has no caller but is not empty")]
    NoCaller {
        /// Its nonce.
        nonce: u64,
    },
}

/// A task whose head begins at `base`. `None` if there is no such task.
fn task_at(answer: &mut Answer<'_>, version: ProviderVersion, base: usize, nonce: u64) -> Result<Option<Task>, TaskFault> {
    let field = |index: usize| base.saturating_add(index.saturating_mul(WORD));
    let (client_seed, proof, result) = match version {
        ProviderVersion::V1 => (answer.bytes(base, field(5))?, answer.bytes(base, field(6))?, answer.bytes(base, field(7))?),
        ProviderVersion::V2 => {
            let result = answer.word(field(5))?;
            (answer.bytes(base, field(6))?, Bytes::new(), Bytes::copy_from_slice(result.as_slice()))
        }
    };
    let task = Task {
        nonce,
        is_resolved: answer.flag(field(0))?,
        time: answer.uint64(field(1))?,
        caller: answer.address(field(2))?,
        task_fee: answer.number(field(3))?,
        seed: answer.word(field(4))?,
        client_seed,
        proof,
        result,
    };
    if task.exists() {
        return Ok(Some(task));
    }
    let empty = !task.is_resolved
        && task.time == 0
        && task.task_fee.is_zero()
        && task.seed.is_zero()
        && task.client_seed.is_empty()
        && task.proof.is_empty()
        && task.result.iter().all(|byte| *byte == 0);
    if empty { Ok(None) } else { Err(TaskFault::NoCaller { nonce }) }
}

/// The answer of the provider's `tasks(nonce)`.
pub(super) fn task(version: ProviderVersion, data: &[u8], nonce: u64) -> Result<Option<Task>, TaskFault> {
    task_at(&mut Answer::new(data), version, 0, nonce)
}

/// The answer of the lens' `getTasksBulk(nonces)`, in the order of the nonces.
pub(super) fn tasks(version: ProviderVersion, data: &[u8], nonces: &[u64]) -> Result<Vec<Option<Task>>, TaskFault> {
    let mut answer = Answer::new(data);
    let (answered, items) = answer.list(0, WORD)?;
    if answered != nonces.len() {
        return Err(TaskFault::Count { asked: nonces.len(), answered });
    }
    let mut found = Vec::with_capacity(nonces.len());
    for (index, nonce) in nonces.iter().enumerate() {
        let base = answer.target(items, items.saturating_add(index.saturating_mul(WORD)))?;
        found.push(task_at(&mut answer, version, base, *nonce)?);
    }
    Ok(found)
}

/// The answer of the Bridge's `getAllValidatorPowers()`.
pub(super) fn validators(data: &[u8]) -> Result<Vec<(Address, U256)>, AbiFault> {
    let answer = Answer::new(data);
    let (length, items) = answer.list(0, 2 * WORD)?;
    (0..length)
        .map(|index| {
            let at = items.saturating_add(index.saturating_mul(2 * WORD));
            Ok((answer.address(at)?, answer.number(at.saturating_add(WORD))?))
        })
        .collect()
}

/// The answer of the Bridge's `blockDetails(height)`.
pub(super) fn block_detail(data: &[u8]) -> Result<BlockDetail, AbiFault> {
    let answer = Answer::new(data);
    let time_nano_second = answer.narrow(2 * WORD, "32-bit number")?;
    Ok(BlockDetail { oracle_state: answer.word(0)?, time_second: answer.uint64(WORD)?, time_nano_second })
}

/// A single byte string.
pub(super) fn byte_string(data: &[u8]) -> Result<Bytes, AbiFault> {
    Answer::new(data).bytes(0, 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use alloy_primitives::B256;
    use alloy_sol_types::SolValue;
    use proptest::prelude::*;

    use super::*;

    type V1 = (bool, u64, Address, U256, B256, Bytes, Bytes, Bytes);
    type V2 = (bool, u64, Address, U256, B256, B256, Bytes);

    fn v1(nonce: u64) -> (V1, Task) {
        let [client_seed, proof, result] = [b"\xff\xfe", &b"pr"[..], b""].map(Bytes::from_static);
        let (caller, fee, seed) = (Address::repeat_byte(7), U256::from(5), B256::repeat_byte(9));
        let row = (true, 3, caller, fee, seed, client_seed.clone(), proof.clone(), result.clone());
        (row, Task { nonce, is_resolved: true, time: 3, caller, task_fee: fee, seed, client_seed, proof, result })
    }

    #[test]
    fn both_versions_are_read() {
        let (row, expected) = v1(4);
        assert_eq!(task(ProviderVersion::V1, &row.abi_encode_params(), 4), Ok(Some(expected.clone())));
        let encoded = vec![row.clone(), row].abi_encode();
        let both = tasks(ProviderVersion::V1, &encoded, &[4, 8]).unwrap();
        assert_eq!(both, [Some(expected.clone()), Some(Task { nonce: 8, ..expected.clone() })]);
        let row: V2 = (false, 3, expected.caller, U256::from(5), expected.seed, B256::ZERO, expected.client_seed.clone());
        let unresolved = Task { is_resolved: false, proof: Bytes::new(), result: Bytes::from(vec![0; 32]), ..expected };
        assert_eq!(task(ProviderVersion::V2, &row.abi_encode_params(), 4), Ok(Some(unresolved.clone())));
        assert_eq!(tasks(ProviderVersion::V2, &vec![row].abi_encode(), &[4]), Ok(vec![Some(unresolved)]));
    }

    #[test]
    fn a_task_that_does_not_exist_is_none_and_half_a_task_is_a_fault() {
        let empty: V2 = Default::default();
        assert_eq!(task(ProviderVersion::V2, &empty.abi_encode_params(), 1), Ok(None));
        let half: V2 = (false, 0, Address::ZERO, U256::ZERO, B256::repeat_byte(1), B256::ZERO, Bytes::new());
        assert_eq!(task(ProviderVersion::V2, &half.abi_encode_params(), 1), Err(TaskFault::NoCaller { nonce: 1 }));
    }

    #[test]
    fn another_number_of_tasks_is_a_fault() {
        let encoded = vec![v1(0).0; 2].abi_encode();
        for nonces in [&[1][..], &[1, 2, 3]] {
            let fault = tasks(ProviderVersion::V1, &encoded, nonces);
            assert_eq!(fault, Err(TaskFault::Count { asked: nonces.len(), answered: 2 }));
        }
    }

    #[test]
    fn a_list_of_one_task_told_many_times_is_a_fault() {
        // Two offsets, both to the first task.
        let mut encoded = vec![v1(0).0; 2].abi_encode();
        let first: Vec<u8> = encoded[64..96].to_vec();
        encoded[96..128].copy_from_slice(&first);
        assert!(tasks(ProviderVersion::V1, &encoded, &[1, 2]).is_ok(), "within the budget");
        let mut many = (U256::from(32), U256::from(1000)).abi_encode_params();
        many.extend((0..1000).flat_map(|_| U256::from(32_000).to_be_bytes::<32>()));
        let mut row = v1(0).0;
        row.5 = Bytes::from(vec![1; 4_000]);
        many.extend(row.abi_encode_params());
        let nonces: Vec<u64> = (0..1000).collect();
        assert_eq!(tasks(ProviderVersion::V1, &many, &nonces), Err(TaskFault::Abi(AbiFault::Overlap)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut data: Vec<u8>, length in 0_u8..40) {
            data.splice(0..0, [[0; 31].as_slice(), &[32], &[0; 31], &[length]].concat());
            let nonces: Vec<u64> = (0..u64::from(length)).collect();
            let _ = tasks(ProviderVersion::V1, &data, &nonces);
            let _ = tasks(ProviderVersion::V2, &data, &nonces);
            let _ = validators(&data);
            let _ = byte_string(&data);
        }

        #[test]
        fn a_changed_byte_is_read_or_refused(at in 0_usize..700, byte: u8) {
            let mut encoded = vec![v1(0).0; 2].abi_encode();
            if let Some(place) = encoded.get_mut(at) {
                *place = byte;
            }
            let _ = tasks(ProviderVersion::V1, &encoded, &[0, 1]);
        }
    }
}
