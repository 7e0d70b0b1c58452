//! Runners of `vrf`, one per vector file.

use std::future::ready;

use super::Runner;

mod abi;
mod artifacts;
mod band_tx;
mod block_header;
mod bridge_on_chain;
mod bridge_proofs;
mod bridge_state;
mod build_proof;
mod common;
mod consumer_revert;
mod contract_events;
mod find_request_id;
mod grpc_messages;
mod iavl;
mod libraries_on_chain;
mod multistore;
mod obi;
mod poll_tasks;
mod provider;
mod result_codec;
mod seed;
mod stage;
mod trim_proof;
mod utils;
mod vote_sign_bytes;

/// The runner of `vrf/<name>.json`.
pub(crate) fn runner_for(name: &str) -> Option<Runner> {
    let runner: Runner = match name {
        "abi" => |_, document, sheet| Box::pin(ready(abi::run(document, sheet))),
        "band_tx" => |_, document, sheet| Box::pin(ready(band_tx::run(document, sheet))),
        "block_header" => |_, document, sheet| Box::pin(ready(block_header::run(document, sheet))),
        "bridge_proofs" | "bridge_real_proofs" => |bench, document, sheet| {
            Box::pin(async move {
                bridge_proofs::run(document.clone(), sheet)?;
                bridge_on_chain::run(bench, document, sheet).await
            })
        },
        "bridge_state" => |bench, document, sheet| Box::pin(bridge_state::run(bench, document, sheet)),
        "build_proof" => |_, document, sheet| Box::pin(ready(build_proof::run(document, sheet))),
        "consumer_revert" => |bench, document, sheet| Box::pin(consumer_revert::run(bench, document, sheet)),
        "find_request_id" => |_, document, sheet| Box::pin(ready(find_request_id::run(document, sheet))),
        "grpc_messages" => |_, document, sheet| Box::pin(ready(grpc_messages::run(document, sheet))),
        "iavl" => |_, document, sheet| Box::pin(ready(iavl::run(document, sheet))),
        "multistore" => |_, document, sheet| Box::pin(ready(multistore::run(document, sheet))),
        "obi" => |bench, document, sheet| {
            Box::pin(async move {
                obi::run(document.clone(), sheet)?;
                libraries_on_chain::run(bench, document, sheet).await
            })
        },
        "poll_tasks" => |_, document, sheet| Box::pin(ready(poll_tasks::run(document, sheet))),
        "provider_v1" | "provider_v2" => |bench, document, sheet| Box::pin(provider::run(bench, document, sheet)),
        "result_codec" => |bench, document, sheet| {
            Box::pin(async move {
                result_codec::run(document.clone(), sheet)?;
                libraries_on_chain::run(bench, document, sheet).await
            })
        },
        "seed" => |bench, document, sheet| {
            Box::pin(async move {
                seed::run(document.clone(), sheet)?;
                libraries_on_chain::run(bench, document, sheet).await
            })
        },
        "trim_proof" => |_, document, sheet| Box::pin(ready(trim_proof::run(document, sheet))),
        "utils" => |bench, document, sheet| {
            Box::pin(async move {
                utils::run(document.clone(), sheet)?;
                libraries_on_chain::run(bench, document, sheet).await
            })
        },
        "vote_sign_bytes" => |_, document, sheet| Box::pin(ready(vote_sign_bytes::run(document, sheet))),
        _ => return None,
    };
    Some(runner)
}
