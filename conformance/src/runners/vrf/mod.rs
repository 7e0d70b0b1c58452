//! Runners of `vrf`, one per vector file.

use std::future::ready;

use super::Runner;

mod abi;
mod band_tx;
mod block_header;
mod bridge_proofs;
mod build_proof;
mod common;
mod find_request_id;
mod grpc_messages;
mod iavl;
mod multistore;
mod obi;
mod result_codec;
mod seed;
mod trim_proof;
mod utils;
mod vote_sign_bytes;

/// The runner of `vrf/<name>.json`.
pub(crate) fn runner_for(name: &str) -> Option<Runner> {
    let runner: Runner = match name {
        "abi" => |_, document, sheet| Box::pin(ready(abi::run(document, sheet))),
        "band_tx" => |_, document, sheet| Box::pin(ready(band_tx::run(document, sheet))),
        "block_header" => |_, document, sheet| Box::pin(ready(block_header::run(document, sheet))),
        "bridge_proofs" => |_, document, sheet| Box::pin(ready(bridge_proofs::run(document, sheet))),
        "bridge_real_proofs" => |_, document, sheet| Box::pin(ready(bridge_proofs::run(document, sheet))),
        "build_proof" => |_, document, sheet| Box::pin(ready(build_proof::run(document, sheet))),
        "find_request_id" => |_, document, sheet| Box::pin(ready(find_request_id::run(document, sheet))),
        "grpc_messages" => |_, document, sheet| Box::pin(ready(grpc_messages::run(document, sheet))),
        "iavl" => |_, document, sheet| Box::pin(ready(iavl::run(document, sheet))),
        "multistore" => |_, document, sheet| Box::pin(ready(multistore::run(document, sheet))),
        "obi" => |_, document, sheet| Box::pin(ready(obi::run(document, sheet))),
        "result_codec" => |_, document, sheet| Box::pin(ready(result_codec::run(document, sheet))),
        "seed" => |_, document, sheet| Box::pin(ready(seed::run(document, sheet))),
        "trim_proof" => |_, document, sheet| Box::pin(ready(trim_proof::run(document, sheet))),
        "utils" => |_, document, sheet| Box::pin(ready(utils::run(document, sheet))),
        "vote_sign_bytes" => |_, document, sheet| Box::pin(ready(vote_sign_bytes::run(document, sheet))),
        _ => return None,
    };
    Some(runner)
}
