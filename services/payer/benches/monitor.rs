//! What one check of the one-shot `monitor` costs, as a process of its own: `cargo bench -p windlass-payer --bench monitor`.
//!
//! Starts an embedded chain with a paid and an unpaid contract, then starts this program again for each check. Each child
//! reports its processor time (`/proc/self/task/*/schedstat`, nanoseconds) and its greatest resident size (`VmHWM`). Process
//! start, linking and reading of settings are part of the figures. Fails when a check costs more than the limits below.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use alloy_primitives::{Address, U256};
use serde_json::json;
use windlass_devnet_evm::{Devnet, DevnetConfig};
use windlass_payer::cli::env::Environment;
use windlass_payer::cli::monitor::{MonitorOptions, run_monitor};
use windlass_payer::protocol::abi::Deployment;

/// Says that this process is a check and not the benchmark.
const CHILD: &str = "WINDLASS_BENCH_CHILD";
const RUNS: usize = 21;
const CPU_LIMIT_MS: f64 = 50.0;
const MEMORY_LIMIT_MB: f64 = 25.0;

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let devnet = Devnet::new(DevnetConfig::default());
    let server = runtime.block_on(devnet.serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
    let url = server.http_url();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    println!("machine{processor}, {RUNS} checks each, median (worst)");
    let mut within = true;
    for (name, rate) in [("paid", 0_u64), ("unpaid", 1)] {
        let contract = runtime.block_on(deploy(&devnet, rate));
        let mut checks: Vec<[f64; 3]> = (0..RUNS).map(|_| check(&url, contract, rate > 0)).collect();
        let [cpu, memory, wall] = [0, 1, 2].map(|figure| {
            checks.sort_by(|a, b| a[figure].total_cmp(&b[figure]));
            (checks[RUNS / 2][figure], checks[RUNS - 1][figure])
        });
        println!(
            "{name}: {:.1} ms ({:.1}) of CPU, {:.1} MB ({:.1}) resident, {:.1} ms ({:.1}) wall",
            cpu.0, cpu.1, memory.0, memory.1, wall.0, wall.1
        );
        within &= cpu.0 < CPU_LIMIT_MS && memory.1 < MEMORY_LIMIT_MB;
    }
    println!("limits: {CPU_LIMIT_MS} ms of CPU, {MEMORY_LIMIT_MB} MB: {}", if within { "kept" } else { "EXCEEDED" });
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Milliseconds of CPU, megabytes resident, milliseconds from start to end.
fn check(url: &str, contract: Address, fails: bool) -> [f64; 3] {
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .env("RPC_URL", url)
        .env("CONTRACT_ADDRESS", contract.to_string())
        .env("UNPAID_COMMAND", "true")
        .output()
        .unwrap();
    let wall = started.elapsed().as_secs_f64() * 1e3;
    assert_eq!(output.status.code(), Some(i32::from(fails)), "{}", String::from_utf8_lossy(&output.stderr));
    let figures = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<f64> = figures.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    [figures[0], figures[1], wall]
}

fn child() -> ExitCode {
    let (environment, _) = Environment::of_process(Path::new("."));
    let exit = run_monitor(&environment, MonitorOptions::default(), &mut std::io::stderr());
    println!("{} {}", cpu_ms(), resident_mb());
    exit.into()
}

fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let schedule = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        schedule.split(' ').next().and_then(|on_cpu| on_cpu.parse::<f64>().ok()).unwrap_or_default()
    });
    nanoseconds.sum::<f64>() / 1e6
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn deploy(devnet: &Devnet, rate: u64) -> Address {
    let (token, keypers) = (Address::repeat_byte(7), vec![Address::repeat_byte(1)]);
    let deployment = Deployment { token, keypers, requested_rate: U256::from(rate), start_timestamp: U256::ZERO };
    let accounts = devnet.request("eth_accounts", json!([])).await.unwrap();
    let transaction = json!([{ "from": accounts[0], "data": deployment.creation_data(), "gas": "0x7a1200" }]);
    let hash = devnet.request("eth_sendTransaction", transaction).await.unwrap();
    let receipt = devnet.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    receipt["contractAddress"].as_str().unwrap().parse().unwrap()
}
