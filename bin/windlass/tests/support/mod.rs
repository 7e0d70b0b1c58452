//! A chain, a folder and the program itself, as an operator has them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The key of the first development account: public knowledge.
pub(crate) const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// How long anything may take. Generous, because test machines are shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when the test ends.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the program did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An HTTP client; the library wants its TLS provider named first.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The program.
pub(crate) fn windlass(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_") || name == "RPC_URL") {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    windlass(folder).args(arguments).output().unwrap()
}

/// Runs the program to its end, which must be a success, and returns what it printed.
pub(crate) fn run_ok(folder: &Path, arguments: &[&str]) -> String {
    succeeded(arguments, &run(folder, arguments))
}

pub(crate) fn succeeded(arguments: &[&str], output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "windlass {arguments:?} ended with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// A development chain in a process of its own: ours, or `anvil` with `WINDLASS_E2E_CHAIN=anvil`.
pub(crate) struct Chain {
    _process: Process,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Chain {
    pub(crate) async fn start(folder: &Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = format!("http://127.0.0.1:{port}");
        let mut command = if std::env::var("WINDLASS_E2E_CHAIN").is_ok_and(|chain| chain == "anvil") {
            let mut command = Command::new(std::env::var("WINDLASS_ANVIL").unwrap_or_else(|_| "anvil".to_owned()));
            command.args(["--silent", "--port", &port.to_string()]);
            command
        } else {
            let mut command = windlass(folder);
            command.args(["devnet", "--listen", &format!("127.0.0.1:{port}")]);
            command
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let chain = Self { _process: Process(child), url, client: client() };
        eventually("the chain to answer", || async { chain.try_request("eth_chainId", json!([])).await.is_some() }).await;
        chain
    }

    async fn try_request(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.client.post(&self.url).json(&body).send().await.ok()?.json().await.ok()?;
        answer.get("result").cloned()
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Value {
        self.try_request(method, params).await.unwrap_or_else(|| panic!("{method} failed"))
    }

    /// Lets time pass and mines the block that shows it.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.request("evm_increaseTime", json!([seconds])).await;
        self.request("evm_mine", json!([])).await;
    }
}

/// A process that is guarded: `sleep`, started by a shell line that also writes its process id.
pub(crate) struct Guarded {
    pub(crate) pid_file: PathBuf,
    pub(crate) starts: PathBuf,
}

impl Guarded {
    pub(crate) fn start(folder: &Path) -> Self {
        let guarded = Self { pid_file: folder.join("guarded.pid"), starts: folder.join("starts") };
        assert!(Command::new("/bin/sh").args(["-c", &guarded.shell_line()]).status().unwrap().success());
        guarded
    }

    /// Starts it, and notes that it was started.
    pub(crate) fn shell_line(&self) -> String {
        let (pid, starts) = (self.pid_file.display(), self.starts.display());
        format!(
            "echo start >> '{starts}'; sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > '{pid}.new' && mv '{pid}.new' '{pid}'"
        )
    }

    pub(crate) fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(&self.pid_file)
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())))
            .unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    }

    /// How often it was started.
    pub(crate) fn started(&self) -> usize {
        std::fs::read_to_string(&self.starts).unwrap_or_default().lines().count()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = Command::new("/bin/sh").args(["-c", &format!("kill $(cat '{}')", self.pid_file.display())]).status();
    }
}

/// A running node with its HTTP interface.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) base: String,
    client: reqwest::Client,
}

impl Node {
    pub(crate) async fn start(folder: &Path, config: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("http.listen=127.0.0.1:{port}");
        let child = windlass(folder)
            .args(["--config", config, "--set", &listen, "run"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join(format!("node-{port}.log"))).unwrap())
            .spawn()
            .unwrap();
        let node = Self { process: Process(child), base: format!("http://127.0.0.1:{port}"), client: client() };
        eventually("the node to live", || async { node.status("/health/live").await == Some(200) }).await;
        node
    }

    /// Status code of a GET.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        Some(self.client.get(format!("{}{path}", self.base)).send().await.ok()?.status().as_u16())
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap().text().await.unwrap()
    }
}

/// Waits until something holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deploys token and agreement with the program's own commands; returns the address of the agreement.
pub(crate) fn deploy_agreement(folder: &Path, chain: &Chain, start: u64) -> String {
    std::fs::write(folder.join("key"), DEV_KEY).unwrap();
    std::fs::set_permissions(folder.join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let arguments =
        ["--json", "contracts", "deploy", "token", "--rpc-url", &chain.url, "--key", "file:key", "--mint", "1000000000000"];
    let token: Value = serde_json::from_str(&run_ok(folder, &arguments)).unwrap();
    let output = windlass(folder)
        .args(["payer", "deploy"])
        .env("RPC_URL", &chain.url)
        .env("PRIV_KEY", DEV_KEY)
        .env("TOKEN_ADDRESS", token["address"].as_str().unwrap())
        .env("KEYPER_ADDRESSES", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC,0x90F79bf6EB2c4f870365E785982E1f101E93b906")
        .env("REQUESTED_RATE", "2")
        .env("START_TIMESTAMP", start.to_string())
        .output()
        .unwrap();
    let printed = succeeded(&["payer", "deploy"], &output);
    let line = printed.lines().next().unwrap();
    line.strip_prefix("KeyperPayer deployed to ").and_then(|rest| rest.strip_suffix('.')).unwrap().to_owned()
}
