//! The relay in a simulated world: the real machine, agent, outbox, follower and store between a scripted client chain and the core of the
//! BandChain simulator, on a clock and with dice that follow from one seed.
//!
//! | File | What |
//! | --- | --- |
//! | `contracts` | provider, lens, Bridge and consumers as pure functions of call and slots; proofs are verified on their real bytes |
//! | `band` | BandChain that all nodes share, nodes that misbehave by seed, and the pool that asks them |
//! | `users` | who asks, who owns, who else relays, who else has the key, weather, clocks and money |
//! | `program` | the process, built from its database alone; memory is compared with the rows |
//! | `rules` | what must hold at every moment, judged by bytes and blocks and never by what the relay says of itself |
//! | `world` | how all of it is put together |
//! | `crashes` | 1,000 deaths in the life of more than 100 tasks |
//! | `hazards` | the failure cases below, and everything at once |
//!
//! `WINDLASS_SEEDS=<count>` runs more seeds, `WINDLASS_SEED=<seed>` runs one; a failure prints the seed and the last steps. With
//! `WINDLASS_TEST_POSTGRES=<url>` everything runs on PostgreSQL as well.
//!
//! Failure cases of section 6 of the protocol document, and the tests that show them:
//!
//! | # | Case | Test |
//! | --- | --- | --- |
//! | 1 | restart between request and relay | `case_01_*`, `a_thousand_crashes` |
//! | 2 | restart with a backlog | `case_02_*` |
//! | 3 | reorganisation removes or changes a task | `case_03_*` (seeds change; deeper than the confirmations), `a_thousand_crashes` |
//! | 4 | reorganisation removes the relay | `case_04_*` |
//! | 5 | somebody else resolved the task | `case_05_*` |
//! | 6 | endpoints down | `case_06_*` (of both chains) |
//! | 7 | endpoint lies or lags | `case_07_*` (one of three, two must agree) |
//! | 8 | transaction stuck | `case_08_*` |
//! | 9 | gas estimate too tight | `case_09_*` |
//! | 10 | fee below cost | `case_10_*` |
//! | 11 | consumer reverts | `case_11_*` |
//! | 12 | Band sequence mismatch | `case_12_*` (wrong answers; somebody else with the key) |
//! | 13 | Band transaction lost | `case_13_*` (lost, found late, used by nobody knows what) |
//! | 14 | no coins, fee too low | `case_14_*` (no account, dry on both chains, higher fee, fee above the limit) |
//! | 15 | request fails or expires | `case_15_*` (again, up to the limit, several in one transaction) |
//! | 16 | proof pruned or unknown | `case_16_*` (gone or damaged; nodes without CometBFT RPC) |
//! | 17 | Bridge's validators stale | `case_17_*` |
//! | 18 | multistore layout changed | `case_18_*` |
//! | 19 | owner changes settings | `case_19_*` |
//! | 20 | whitelist | every run: one consumer of four is not listed, and nothing is paid for it |
//! | 21 | duplicate instance | `case_21_*` |
//! | 22 | bad lens answer | `case_07_*`; `tests/client_chain/hostile.rs` |
//! | 23 | malformed proof | `case_16_*`; the fuzz targets |
//! | 24 | database lost | `case_24_*` (at rest; with requests under way) |
//! | 25 | clock skew | `case_25_*` |
//! | 26 | one bad task blocks others | `case_26_*` |
//! | 27 | queue of the cloud fails | `tests/cloud/trigger.rs` |
//! | 30 | later rounds, long chain ids | `case_30_*`; the vectors of `vote_sign_bytes` |
//! | 32 | Band chain id mismatch | `case_32_*` |
//!
//! 28, 29 and 31 are those of the kit: alerts, secrets, and the chain id of every endpoint.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod band;
mod contracts;
mod crashes;
mod hazards;
mod program;
mod rules;
mod users;
mod world;
