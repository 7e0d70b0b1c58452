//! Protobuf messages of a Band node: the first byte chooses the message.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use windlass_vrf_protocol::events::{find_request_id, request_ids, resolved};
use windlass_vrf_protocol::header::Header;
use windlass_vrf_protocol::messages::{auth, bank, oracle, proof, tendermint, tx};
use windlass_vrf_protocol::oracle_result::OracleResult;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 16 {
        0 => drop(again::<auth::QueryAccountInfoResponse>(bytes)),
        1 => drop(again::<auth::QueryAccountResponse>(bytes)),
        2 => drop(again::<bank::QueryBalanceResponse>(bytes)),
        3 => drop(again::<oracle::QueryRequestResponse>(bytes)),
        4 => drop(again::<oracle::MsgRequestData>(bytes)),
        5 => drop(again::<proof::ProofResponse>(bytes)),
        6 => drop(again::<proof::MultiProofResponse>(bytes)),
        7 => drop(again::<proof::RequestCountProofResponse>(bytes)),
        8 => drop(again::<tendermint::ValidatorSetResponse>(bytes)),
        9 => drop(again::<tendermint::AbciQueryResponse>(bytes)),
        10 => drop(again::<tx::BroadcastTxResponse>(bytes)),
        11 => drop(again::<tx::GetTxsEventResponse>(bytes)),
        12 => drop(again::<tx::SimulateResponse>(bytes)),
        13 => block(bytes),
        14 => transaction(bytes),
        _ => stored(bytes),
    }
});

/// What can be read encodes to something that reads the same.
fn again<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    Some(message)
}

fn block(bytes: &[u8]) {
    let block = again::<tendermint::GetLatestBlockResponse>(bytes).and_then(|answer| answer.block);
    if let Some(Ok(header)) = block.and_then(|block| block.header).map(Header::try_from) {
        let _ = (header.hash(), header.merkle_parts());
    }
}

fn transaction(bytes: &[u8]) {
    if let Some(answer) = again::<tx::GetTxResponse>(bytes).and_then(|answer| answer.tx_response) {
        let _ = (find_request_id(&answer.events), request_ids(&answer.events, &answer.raw_log));
        let _ = answer.events.iter().filter_map(resolved).count();
    }
}

fn stored(bytes: &[u8]) {
    let _ = again::<oracle::Result>(bytes);
    if let Ok(result) = OracleResult::decode(bytes) {
        assert_eq!(OracleResult::decode(&result.encode()), Ok(result));
    }
}
