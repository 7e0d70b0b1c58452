//! The section `[payer.<name>]`: one agreement, what guards it, and the account that pays or withdraws.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use nix::sys::signal::Signal;
use reqwest::Url;
use windlass_account::{AccountKey, Examples, NamedKey};
use windlass_node::config::{Amount, Keys, SecretText, Section, kind};

use crate::actions::Limits;
use crate::keep::KeepPaid;
use crate::machine::Policy;
use crate::ports::docker::DockerHost;
use crate::ports::kubernetes::Workload;
use crate::ports::signal::PidSource;

/// One agreement.
#[derive(Debug, Clone)]
pub struct PayerConfig {
    /// Name of the chain section.
    pub chain: String,
    /// The payer contract.
    pub contract: Address,
    /// Block from which payments are searched; finding it costs requests otherwise.
    pub deployed_at_block: Option<u64>,
    /// Warning times.
    pub warn_before: Vec<Duration>,
    /// Grace time after the last paid second.
    pub grace: Duration,
    /// Different blocks that must say "unpaid".
    pub confirm_blocks: u32,
    /// Time between the first and the last of them.
    pub confirm_time: Duration,
    /// Endpoints that must agree on "unpaid".
    pub quorum: u32,
    /// How far the head may lie behind the clock.
    pub stale_after: Duration,
    /// How long it may be impossible to tell before an alert.
    pub unknown_alert_after: Duration,
    /// Longest time between two observations.
    pub observe_every: Duration,
    /// How often endpoints that cannot push are asked for new blocks.
    pub poll_interval: Duration,
    /// Deepest reorganisation that is followed.
    pub max_reorg_depth: u64,
    /// Start the target again when the agreement is paid again.
    pub resume: bool,
    /// Say what would be done instead of doing it.
    pub dry_run: bool,
    /// How often a stopped target is looked at.
    pub inspect_every: Duration,
    /// First and longest wait between attempts.
    pub retry: (Duration, Duration),
    /// Time limits of one attempt.
    pub limits: Limits,
    /// The guarded program.
    pub target: Option<TargetConfig>,
    /// The account that pays and withdraws.
    pub account: Option<AccountConfig>,
    /// Pay by itself, this far ahead.
    pub keep_paid: Option<KeepPaid>,
}

/// The guarded program.
#[derive(Debug, Clone)]
pub enum TargetConfig {
    /// Shell commands.
    Command {
        /// Stops it.
        stop: String,
        /// Starts it.
        resume: Option<String>,
        /// Exits with 0 while it runs, 1 when it does not.
        check: Option<String>,
    },
    /// A container.
    Docker {
        /// The engine.
        host: DockerHost,
        /// Name or id.
        container: String,
        /// How long the engine waits before it kills.
        patience: Duration,
    },
    /// A program with an HTTP interface.
    Http {
        /// Receives the POST that stops it.
        stop_url: Url,
        /// Answers while it runs.
        ping_url: Option<Url>,
        /// Receives the POST that starts it.
        resume_url: Option<Url>,
        /// Bearer token.
        token: Option<SecretText>,
    },
    /// A systemd unit.
    Systemd {
        /// Its name.
        unit: String,
        /// Of the user's own manager.
        user: bool,
    },
    /// A process.
    Signal {
        /// Which.
        source: PidSource,
        /// The first signal.
        signal: Signal,
        /// When SIGKILL follows.
        kill_after: Duration,
        /// Shell line that starts it.
        resume: Option<String>,
    },
    /// A workload of a Kubernetes cluster.
    Kubernetes {
        /// Address of the API.
        api: Url,
        /// Namespace.
        namespace: String,
        /// Kind.
        workload: Workload,
        /// Name.
        name: String,
        /// Number of replicas to go back to.
        replicas: u32,
        /// File with the service account's token.
        token_file: PathBuf,
        /// File with the cluster's certificate authority.
        authority_file: Option<PathBuf>,
    },
}

/// Where the key of an account is.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// The key.
    pub key: AccountKey,
    /// Highest price of gas that is paid.
    pub max_fee_per_gas: Amount,
    /// Blocks that a transaction must be deep before it counts.
    pub confirmations: u64,
}

impl PayerConfig {
    /// The settings that decide, for the machine.
    pub fn policy(&self) -> Policy {
        let target = self.target.as_ref();
        Policy {
            warn_before_seconds: self.warn_before.iter().map(Duration::as_secs).collect(),
            grace_seconds: self.grace.as_secs(),
            confirm_blocks: self.confirm_blocks,
            confirm_seconds: self.confirm_time.as_secs(),
            stale_after_seconds: self.stale_after.as_secs(),
            unknown_alert_after_seconds: self.unknown_alert_after.as_secs(),
            observe_every_seconds: self.observe_every.as_secs().max(1),
            inspect_every_seconds: self.inspect_every.as_secs().max(1),
            can_stop: target.is_some(),
            can_resume: self.resume && target.is_some_and(TargetConfig::can_resume),
            retry_first_seconds: self.retry.0.as_secs().max(1),
            retry_max_seconds: self.retry.1.as_secs().max(1),
        }
    }
}

impl TargetConfig {
    /// Whether there is a way to start it.
    pub fn can_resume(&self) -> bool {
        match self {
            Self::Command { resume, .. } | Self::Signal { resume, .. } => resume.is_some(),
            Self::Http { resume_url, .. } => resume_url.is_some(),
            Self::Docker { .. } | Self::Systemd { .. } | Self::Kubernetes { .. } => true,
        }
    }
}

impl Section for PayerConfig {
    const KIND: &'static str = "payer";
    const NAMED: bool = true;
    const DOC: &'static str = "One payment agreement: watches that it is paid, and stops the guarded program when it is not. At most one \
         of the tables command, docker, http, systemd, signal and kubernetes names that program; with none the agreement is \
         only reported.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let chain = keys.chain("chain").doc("The chain that the payer contract is on.").required();
        let contract = keys
            .address("contract")
            .doc("Address of the payer contract.")
            .rule("the address of a contract, not the zero address", |address| !address.is_zero())
            .required();
        let deployed_at_block = keys
            .integer("deployed_at_block")
            .doc("Block in which the contract was deployed. Payments are searched from there; found by bisection if it is not given.")
            .example("30000000")
            .optional();
        let decision = Decision::read(keys);
        let action = ActionKeys::read(keys);
        let keep_paid = read_keep_paid(keys);
        let targets = read_targets(keys);
        let account = keys.optional_table(
            "account",
            "The account that `pay`, `top-up`, `withdraw` and keep_paid use. Watching needs no key at all.",
            read_account,
        );
        keys.check(
            "keep_paid",
            || keep_paid.is_none() || account.is_some(),
            "needs the account that pays",
            "add the table account with its key, or remove keep_paid",
        );
        let count = targets.iter().flatten().count();
        keys.check(
            "chain",
            || count <= 1,
            "must name at most one guarded program",
            "keep one of the tables command, docker, http, systemd, signal, kubernetes",
        );
        let target = targets.into_iter().flatten().next();
        let can_resume = target.as_ref().is_some_and(TargetConfig::can_resume);
        keys.check(
            "resume",
            || !action.resume || can_resume,
            "must be false when the target cannot be started",
            "give command.resume, signal.resume or http.resume_url, or use docker, systemd or kubernetes",
        );
        let (warn_before, observe_every) = (decision.warn_before.clone(), decision.observe_every);
        keys.check(
            "stale_after",
            || decision.stale_after >= observe_every,
            "must be at least observe_every",
            "raise stale_after or lower observe_every",
        );
        Self {
            chain,
            contract,
            deployed_at_block,
            warn_before,
            grace: decision.grace,
            confirm_blocks: decision.confirm_blocks,
            confirm_time: decision.confirm_time,
            quorum: decision.quorum,
            stale_after: decision.stale_after,
            unknown_alert_after: decision.unknown_alert_after,
            observe_every,
            poll_interval: decision.poll_interval,
            max_reorg_depth: decision.max_reorg_depth,
            resume: action.resume,
            dry_run: action.dry_run,
            inspect_every: action.inspect_every,
            retry: action.retry,
            limits: action.limits,
            target,
            account,
            keep_paid,
        }
    }
}

struct Decision {
    warn_before: Vec<Duration>,
    grace: Duration,
    confirm_blocks: u32,
    confirm_time: Duration,
    quorum: u32,
    stale_after: Duration,
    unknown_alert_after: Duration,
    observe_every: Duration,
    poll_interval: Duration,
    max_reorg_depth: u64,
}

impl Decision {
    fn read(keys: &mut Keys<'_>) -> Self {
        Self {
            warn_before: keys
                .list("warn_before", kind::duration())
                .doc("Warn when the agreement is paid for less than each of these times.")
                .default("7d,1d,1h"),
            grace: keys
                .duration("grace")
                .doc("How long after the last paid second the agreement is still served, in block time. 0s stops at once.")
                .at_most("365d")
                .default("0s"),
            confirm_blocks: keys
                .integer("confirm_blocks")
                .doc("How many different blocks must say \"unpaid\" before the program is stopped. Guards against single wrong answers and reorganisations.")
                .range(1..=1_000)
                .default("2"),
            confirm_time: keys
                .duration("confirm_time")
                .doc("How long ago the first of them must have been seen.")
                .at_most("1d")
                .default("30s"),
            quorum: keys
                .integer("quorum")
                .doc("How many endpoints of the chain must agree on \"unpaid\". 1 trusts the endpoint that answered.")
                .range(1..=16)
                .default("1"),
            stale_after: keys
                .duration("stale_after")
                .doc("A newest block further behind the clock than this proves nothing: the answer is then \"cannot tell\".")
                .at_least("10s")
                .at_most("1d")
                .default("3m"),
            unknown_alert_after: keys
                .duration("unknown_alert_after")
                .doc("Alert when it cannot be told for this long.")
                .at_most("7d")
                .default("5m"),
            observe_every: keys
                .duration("observe_every")
                .doc("Longest time between two looks. Each new block and each moment at which the answer changes is looked at anyway.")
                .at_least("1s")
                .at_most("1h")
                .default("1m"),
            poll_interval: keys
                .duration("poll_interval")
                .doc("How often endpoints are asked for a new block when none of them announces blocks (ws:// and wss:// do).")
                .at_least("100ms")
                .at_most("10m")
                .default("6s"),
            max_reorg_depth: keys
                .integer("max_reorg_depth")
                .doc("Deepest reorganisation that is followed, in blocks.")
                .range(1..=10_000)
                .default("128"),
        }
    }
}

struct ActionKeys {
    resume: bool,
    dry_run: bool,
    inspect_every: Duration,
    retry: (Duration, Duration),
    limits: Limits,
}

impl ActionKeys {
    fn read(keys: &mut Keys<'_>) -> Self {
        let standard = Limits::default();
        Self {
            resume: keys
                .boolean("resume")
                .doc("Start the program again when the agreement is paid again.")
                .default("false"),
            dry_run: keys
                .boolean("dry_run")
                .doc("Say in the history what would be done to the program, and what keep_paid would pay, instead of doing it.")
                .default("false"),
            inspect_every: keys
                .duration("inspect_every")
                .doc("How often a stopped program is looked at. One that came back, for example by a restart policy, is stopped again.")
                .at_least("1s")
                .at_most("1d")
                .default("1m"),
            retry: (
                keys.duration("retry_first")
                    .doc("Wait after the first failed attempt of an action; doubles with each further one.")
                    .at_least("1s")
                    .at_most("1h")
                    .default("5s"),
                keys.duration("retry_max")
                    .doc("Longest wait between two attempts.")
                    .at_least("1s")
                    .at_most("1d")
                    .default("5m"),
            ),
            limits: Limits {
                act: keys
                    .duration("act_limit")
                    .doc("Time limit of telling the program to stop or start; a command is then killed with all its descendants.")
                    .at_least("1s")
                    .at_most("1h")
                    .default("1m"),
                verify: keys
                    .duration("verify_limit")
                    .doc("How long the program may take to reach the wanted state after that.")
                    .at_least("1s")
                    .at_most("1h")
                    .default("1m"),
                look_every: standard.look_every,
                settle: keys
                    .duration("settle")
                    .doc("How long the program must stay in the wanted state before it counts.")
                    .at_most("10m")
                    .default("2s"),
            },
        }
    }
}

fn read_keep_paid(keys: &mut Keys<'_>) -> Option<KeepPaid> {
    let keep = keys
        .duration("keep_paid")
        .doc(
            "Pay by itself from the account, so that the agreement is paid this far ahead. Without it nothing is paid by itself.",
        )
        .at_least("1m")
        .at_most("3650d")
        .example("30d")
        .optional();
    let below = keys
        .duration("keep_paid_below")
        .doc("Pay when less than this is left; half of keep_paid if it is not given.")
        .at_least("1s")
        .at_most("3650d")
        .example("15d")
        .optional();
    let max_amount = keys
        .u256("keep_paid_max_amount")
        .doc("Never pay more than this at once by itself, in token base units.")
        .example("1000000000000000000000")
        .optional();
    keys.check(
        "keep_paid_below",
        || keep.is_some() || (below.is_none() && max_amount.is_none()),
        "is of use only beside keep_paid, as is keep_paid_max_amount",
        "add keep_paid, or remove keep_paid_below and keep_paid_max_amount",
    );
    keys.check(
        "keep_paid_below",
        || keep.zip(below).is_none_or(|(keep, below)| below < keep),
        "must be less than keep_paid",
        "lower keep_paid_below or raise keep_paid",
    );
    keep.map(|keep| KeepPaid { keep, below: below.unwrap_or(keep / 2), max_amount })
}

fn read_targets(keys: &mut Keys<'_>) -> [Option<TargetConfig>; 6] {
    [
        keys.optional_table("command", "The guarded program is stopped by a shell command.", read_command),
        keys.optional_table("docker", "The guarded program is a container.", read_docker),
        keys.optional_table("http", "The guarded program is stopped by an HTTP request, as a keyper is.", read_http),
        keys.optional_table("systemd", "The guarded program is a systemd unit.", read_systemd),
        keys.optional_table("signal", "The guarded program is a process that takes a signal.", read_signal),
        keys.optional_table("kubernetes", "The guarded program is a workload that is scaled to zero.", read_kubernetes),
    ]
}

fn read_command(keys: &mut Keys<'_>) -> TargetConfig {
    TargetConfig::Command {
        stop: keys
            .string("stop")
            .doc("Given to /bin/sh -c. Must do no harm when it is run again.")
            .rule("a command", |line| !line.trim().is_empty())
            .example("docker stop keyper")
            .required(),
        resume: keys.string("resume").doc("Starts the program again.").example("docker start keyper").optional(),
        check: keys
            .string("check")
            .doc("Exits with 0 while the program runs and with 1 when it does not. Without it the exit code of `stop` is believed.")
            .example("pgrep -x keyper")
            .optional(),
    }
}

fn read_docker(keys: &mut Keys<'_>) -> TargetConfig {
    TargetConfig::Docker {
        host: keys
            .key(
                "host",
                kind::custom(
                    "engine",
                    "unix:///path/to/docker.sock or tcp://host:port",
                    "unix:///var/run/docker.sock",
                    DockerHost::default(),
                    |text| text.parse(),
                ),
            )
            .doc("The engine. A mounted socket equals root on the host; a socket proxy that allows only inspect, stop and start is safer.")
            .default("unix:///var/run/docker.sock"),
        container: keys
            .string("container")
            .doc("Name or id of the container. Compose names it <project>-<service>-<n> unless container_name is set.")
            .rule("a name", |name| !name.trim().is_empty())
            .example("keyper")
            .required(),
        patience: keys
            .duration("patience")
            .doc("How long the engine waits for the container before it kills it.")
            .at_most("10m")
            .default("10s"),
    }
}

fn read_http(keys: &mut Keys<'_>) -> TargetConfig {
    TargetConfig::Http {
        stop_url: keys
            .url("stop_url")
            .doc("Receives a POST that ends the program. A keyper needs HTTPEnabled = true and HTTPReadOnly = false.")
            .example("http://keyper:3000/v1/shutdown")
            .required(),
        ping_url: keys
            .url("ping_url")
            .doc("Answers while the program runs; the stop is verified by it.")
            .example("http://keyper:3000/v1/ping")
            .optional(),
        resume_url: keys
            .url("resume_url")
            .doc("Receives a POST that starts the program again.")
            .example("http://supervisor:9000/start")
            .optional(),
        token: keys.secret("token").doc("Bearer token.").optional(),
    }
}

fn read_systemd(keys: &mut Keys<'_>) -> TargetConfig {
    TargetConfig::Systemd {
        unit: keys
            .string("unit")
            .doc("Name of the unit with its suffix.")
            .rule("a unit name", |name| !name.trim().is_empty() && !name.contains(char::is_whitespace))
            .example("keyper.service")
            .required(),
        user: keys.boolean("user").doc("A unit of the user's own manager.").default("false"),
    }
}

fn read_signal(keys: &mut Keys<'_>) -> TargetConfig {
    let pid_file = keys.path("pid_file").doc("File with the process id.").example("/run/keyper.pid").required();
    TargetConfig::Signal {
        source: PidSource::File(pid_file),
        signal: keys
            .choice(
                "signal",
                ("TERM", Signal::SIGTERM, "asks the program to end"),
                vec![
                    ("INT", Signal::SIGINT, "as Ctrl-C does"),
                    ("QUIT", Signal::SIGQUIT, "ends it with a core file"),
                    ("HUP", Signal::SIGHUP, "as a closed terminal does"),
                ],
            )
            .doc("The signal that is sent first.")
            .default("TERM"),
        kill_after: keys
            .duration("kill_after")
            .doc("When SIGKILL follows. Must be below act_limit to be of use.")
            .at_most("10m")
            .default("20s"),
        resume: keys.string("resume").doc("Shell command that starts the program again.").example("keyper --detach").optional(),
    }
}

fn read_kubernetes(keys: &mut Keys<'_>) -> TargetConfig {
    TargetConfig::Kubernetes {
        api: keys.url("api").doc("Address of the cluster's API.").default("https://kubernetes.default.svc"),
        namespace: keys.string("namespace").doc("Namespace of the workload.").default("default"),
        workload: keys
            .choice(
                "kind",
                ("deployment", Workload::Deployment, "a Deployment"),
                vec![("statefulset", Workload::StatefulSet, "a StatefulSet")],
            )
            .doc("Kind of the workload.")
            .default("deployment"),
        name: keys.string("name").doc("Name of the workload.").example("keyper").required(),
        replicas: keys.integer("replicas").doc("Number of replicas it is scaled back to.").range(1..=1_000).default("1"),
        token_file: keys
            .path("token_file")
            .doc("File with the token of a service account that may patch the scale of this workload.")
            .default("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        authority_file: keys
            .path("authority_file")
            .doc("File with the certificate authority of the cluster.")
            .example("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
            .optional(),
    }
}

/// What the example file shows. The payer's secrets have no example: most readers watch and name none.
const KEY_EXAMPLES: Examples =
    Examples { private_key: None, keystore: "/etc/windlass/payer.json", password: None, mnemonic: None };

fn read_account(keys: &mut Keys<'_>) -> AccountConfig {
    let named = NamedKey::read(keys, &KEY_EXAMPLES);
    let max_fee_per_gas = keys
        .amount("max_fee_per_gas")
        .doc("Highest price of gas that is paid; transactions wait until it is lower.")
        .default("200 gwei");
    let confirmations = keys
        .integer("confirmations")
        .doc("How many blocks deep a transaction must be before it counts.")
        .range(1..=10_000)
        .default("3");
    let complete = named.complete;
    keys.check("confirmations", || complete == 1, "must stand beside exactly one key", NamedKey::HINT);
    AccountConfig { key: named.key, max_fee_per_gas, confirmations }
}
