//! The settings of worker 0.1: environment variables and a `.env` file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use windlass_node::dotenv::{Comments, Dotenv, Environment, Precedence, parse};

use super::reader::{Found, Reader};
use super::settings::{CloudSettings, DatabaseSettings, DeploySettings, Former, FormerSecret, WorkerSettings};
use super::{ImportFailure, Note, Place};

/// Every variable of worker 0.1 and of its deployment script.
const KNOWN: &[&str] = &[
    "ASK_COUNT",
    "AUDIENCE",
    "BAND_DS_FEE_LIMIT",
    "BAND_EXECUTE_GAS",
    "BAND_GAS_LIMIT",
    "BAND_GAS_PRICE",
    "BAND_GRPC_ENDPOINTS",
    "BAND_MNEMONIC",
    "BAND_PREPARE_GAS",
    "BAND_PROOF_URL",
    "BAND_PROOF_URLS",
    "BAND_RPC",
    "BAND_RPC_BLOCK",
    "BAND_RPC_ENDPOINTS",
    "BAND_RPC_PORT",
    "BLOCK_DIFF",
    "BRIDGE_ADDRESS",
    "CHAIN",
    "CLOUD_RUN_URL",
    "DB_CONNECTION_NAME",
    "DB_HOST",
    "DB_NAME",
    "DB_PASSWORD",
    "DB_PORT",
    "DB_USER",
    "DEADLINE",
    "DISCORD_WEBHOOK",
    "EVM_JSON_RPC_ENDPOINTS",
    "HOST",
    "INSTANCE_HOST",
    "IN_SECONDS",
    "JSON_RPC_ENDPOINT",
    "LOCATION",
    "MAX_RELAY_PROOF_GAS",
    "MIN_COUNT",
    "POA_CHAIN",
    "PORT",
    "PROJECT",
    "PROJECT_ID",
    "QUEUE",
    "REGION",
    "RUN_LOCAL",
    "SERVICE_ACCOUNT_DETAIL",
    "SERVICE_NAME",
    "START_NONCE",
    "SUPPORT_EIP1559",
    "VPC_CONNECTOR",
    "VRF_LENS_ADDRESS",
    "VRF_PROVIDER_ADDRESS",
    "WHITELISTED_CALLERS",
    "WORKER_FEE_BAND",
    "WORKER_PK",
];

/// The gRPC endpoint that worker 0.1 asks when it is told none.
const FORMER_GRPC: &str = "laozi-testnet6.bandchain.org:443";

/// Reads the text of a `.env` file called `file`, and nothing else.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read_env(file: &str, text: &str) -> Result<(WorkerSettings, Vec<Note>), ImportFailure> {
    let dotenv = parse(text, Comments::AfterBlank);
    let environment = Environment::of_file([], &dotenv, Precedence::Environment);
    read_with(file, &environment, notes_of_file(file, &dotenv))
}

/// Reads variables, of the process and of a `.env` file called `file`.
///
/// # Errors
/// Everything that is wrong in them.
pub fn read_environment(file: &str, environment: &Environment) -> Result<(WorkerSettings, Vec<Note>), ImportFailure> {
    read_with(file, environment, Vec::new())
}

fn read_with(file: &str, environment: &Environment, notes: Vec<Note>) -> Result<(WorkerSettings, Vec<Note>), ImportFailure> {
    let lookup = |name: &str| -> Option<Found> {
        environment.origin(name)?;
        let place = match environment.line(name) {
            Some(line) => Place::Line { file: file.to_owned(), line },
            None => Place::Variable(name.to_owned()),
        };
        Some(Found { text: environment.get(name).to_owned(), place })
    };
    let mut reader = Reader::new(file, lookup);
    reader.notes = notes;
    let settings = read(&mut reader);
    reader.finish(settings)
}

/// What has no effect in the file itself: lines of another shape, and names that no worker knew.
fn notes_of_file(file: &str, dotenv: &Dotenv) -> Vec<Note> {
    let at = |line: usize| Place::Line { file: file.to_owned(), line };
    let mut notes: Vec<Note> = dotenv
        .skipped
        .iter()
        .map(|line| Note { place: at(*line), key: "the line".to_owned(), text: "is no NAME=value and has no effect".to_owned() })
        .collect();
    for one in &dotenv.assignments {
        let mut told = |text: String| notes.push(Note { place: at(one.line), key: one.name.clone(), text });
        if !KNOWN.contains(&one.name.as_str()) {
            let near = KNOWN.iter().find(|known| is_near(&one.name, known));
            told(match near {
                Some(known) => format!("no worker knew this variable, so it has no effect; did you mean {known}?"),
                None => "no worker knew this variable, so it has no effect".to_owned(),
            });
        }
        if one.value.contains("${") {
            told(
                "the former worker put the value of another variable in place of ${...}; here it is taken as it stands"
                    .to_owned(),
            );
        }
    }
    notes
}

/// Whether two texts differ in at most one letter, or in letters exchanged, or in case only.
fn is_near(text: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (text.to_ascii_uppercase().chars().collect(), known.chars().collect());
    let same_start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(same_start..).unwrap_or_default(), b.get(same_start..).unwrap_or_default());
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (a.len().saturating_sub(same_end), b.len().saturating_sub(same_end));
    let swapped = left == 2 && right == 2 && a.first() == b.get(1) && a.get(1) == b.first();
    left.max(right) <= 1 || swapped
}

fn read(reader: &mut Reader<'_>) -> WorkerSettings {
    let chain = reader.text("CHAIN");
    if chain.is_none() {
        reader.note("CHAIN", "is not set; the sections are called \"client\"");
    }
    let rpc = endpoints(reader);
    let provider = reader.required_address("VRF_PROVIDER_ADDRESS");
    let lens = reader.address("VRF_LENS_ADDRESS");
    let bridge = reader.address("BRIDGE_ADDRESS");
    let texts: Vec<Found> = reader
        .find("WHITELISTED_CALLERS")
        .map(|found| {
            found.text.split(',').map(|text| Found { text: text.trim().to_owned(), place: found.place.clone() }).collect()
        })
        .unwrap_or_default();
    let callers = reader.callers("WHITELISTED_CALLERS", &texts);
    let in_cloud = is_in_cloud(reader);
    without_effect(reader);
    WorkerSettings {
        former: Former::Environment,
        source: reader.source.clone(),
        chain,
        rpc,
        provider,
        lens,
        bridge,
        key: reader.secret("WORKER_PK", "WORKER_PK"),
        callers,
        start_nonce: reader.number("START_NONCE", 0),
        eip1559: read_eip1559(reader),
        grpc: grpc(reader),
        band_rpc: either(reader, "BAND_RPC_ENDPOINTS", "BAND_RPC_BLOCK"),
        proof_urls: either(reader, "BAND_PROOF_URLS", "BAND_PROOF_URL"),
        mnemonic: reader.secret("BAND_MNEMONIC", "BAND_MNEMONIC"),
        min_count: reader.number("MIN_COUNT", 2),
        ask_count: reader.number("ASK_COUNT", 3),
        prepare_gas: reader.number("BAND_PREPARE_GAS", 100_000),
        execute_gas: reader.number("BAND_EXECUTE_GAS", 400_000),
        ds_fee_limit: reader.number("BAND_DS_FEE_LIMIT", 48),
        gas_limit: reader.number("BAND_GAS_LIMIT", 800_000),
        gas_price: reader.price("BAND_GAS_PRICE", "0.0025"),
        max_relay_gas: Some(reader.number("MAX_RELAY_PROOF_GAS", 1_200_000)),
        block_diff: Some(reader.number("BLOCK_DIFF", 10)),
        webhook: webhook(reader),
        in_cloud,
        listen: in_cloud.then(|| listen(reader)),
        database: database(reader, in_cloud),
        cloud: cloud(reader, in_cloud),
        deploy: DeploySettings {
            service_name: reader.text("SERVICE_NAME"),
            region: reader.text("REGION"),
            project_id: reader.text("PROJECT_ID"),
            database_connection: reader.text("DB_CONNECTION_NAME"),
            vpc_connector: reader.text("VPC_CONNECTOR"),
        },
    }
}

/// A list of URLs under its name, or under that of the first versions.
fn either(reader: &mut Reader<'_>, key: &str, old: &str) -> Vec<String> {
    let urls = reader.urls(key);
    if urls.is_empty() { reader.urls(old) } else { urls }
}

fn endpoints(reader: &mut Reader<'_>) -> Vec<String> {
    let rpc = either(reader, "EVM_JSON_RPC_ENDPOINTS", "JSON_RPC_ENDPOINT");
    let named = ["EVM_JSON_RPC_ENDPOINTS", "JSON_RPC_ENDPOINT"].iter().any(|key| reader.find(key).is_some());
    if rpc.is_empty() && !named {
        reader.error(
            "EVM_JSON_RPC_ENDPOINTS",
            "is required: at least one endpoint of the client chain",
            "write the URL of a JSON-RPC endpoint, or several with commas between them",
        );
    }
    rpc
}

fn grpc(reader: &mut Reader<'_>) -> Vec<String> {
    if reader.find("BAND_GRPC_ENDPOINTS").is_none()
        && let Some(host) = reader.text("BAND_RPC")
    {
        let port: u16 = reader.number("BAND_RPC_PORT", 443);
        return vec![format!("{host}:{port}")];
    }
    if reader.find("BAND_GRPC_ENDPOINTS").is_none() {
        reader.note(
            "BAND_GRPC_ENDPOINTS",
            format!("is not set; {FORMER_GRPC}, the endpoint of a test network that the former worker asks then, is written"),
        );
    }
    reader.grpc("BAND_GRPC_ENDPOINTS", Some(FORMER_GRPC))
}

/// Only the word "true" was true.
fn read_eip1559(reader: &mut Reader<'_>) -> Option<bool> {
    let text = reader.text("SUPPORT_EIP1559")?.to_ascii_lowercase();
    if !matches!(text.as_str(), "true" | "false") {
        reader.note("SUPPORT_EIP1559", "is neither True nor False; it counts as False, as with the former worker");
    }
    Some(text == "true")
}

fn webhook(reader: &Reader<'_>) -> Option<FormerSecret> {
    reader.find("DISCORD_WEBHOOK").map(|_| reader.secret("DISCORD_WEBHOOK", "DISCORD_WEBHOOK"))
}

/// `RUN_LOCAL` chose between the two deployments; the platform names itself by a variable of its own.
fn is_in_cloud(reader: &Reader<'_>) -> bool {
    match reader.text("RUN_LOCAL") {
        Some(local) => !local.eq_ignore_ascii_case("true"),
        None => reader.find("K_SERVICE").is_some(),
    }
}

fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let port: u16 = reader.number("PORT", 8080);
    let host = match reader.text("HOST") {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(host) if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(host) => host.parse().unwrap_or_else(|_| {
            reader.error("HOST", "must be an IP address", "write 0.0.0.0 to listen on every address");
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }),
    };
    SocketAddr::new(host, port)
}

fn database(reader: &mut Reader<'_>, in_cloud: bool) -> Option<DatabaseSettings> {
    let host = reader.text("DB_HOST").or_else(|| reader.text("INSTANCE_HOST"));
    let parts = (host, reader.text("DB_USER"), reader.text("DB_NAME"));
    match parts {
        (Some(host), Some(user), Some(name)) if in_cloud => Some(DatabaseSettings {
            user,
            password: reader.secret("DB_PASSWORD", "DB_PASSWORD"),
            host,
            port: reader.number("DB_PORT", 5432),
            name,
        }),
        (None, None, None) if in_cloud => {
            reader
                .note("DB_HOST", "no PostgreSQL is named; a file in node.data_dir is used, which a container loses when it ends");
            None
        }
        (None, None, None) => None,
        _ if in_cloud => {
            reader.error(
                "DB_HOST",
                "DB_HOST, DB_USER and DB_NAME name a database together",
                "set all three and DB_PASSWORD, or none",
            );
            None
        }
        _ => {
            reader.note("DB_HOST", "the local deployment did not use PostgreSQL; set store.url to use it");
            None
        }
    }
}

fn cloud(reader: &mut Reader<'_>, in_cloud: bool) -> CloudSettings {
    let cloud = CloudSettings {
        project: reader.text("PROJECT"),
        location: reader.text("LOCATION"),
        queue: reader.text("QUEUE"),
        url: reader.text("CLOUD_RUN_URL"),
        audience: reader.text("AUDIENCE"),
        service_account: reader.text("SERVICE_ACCOUNT_DETAIL"),
        in_seconds: reader.number("IN_SECONDS", 0),
        deadline: reader.number("DEADLINE", 0),
    };
    if in_cloud && !cloud.is_empty() && !cloud.has_queue() {
        let names = ["PROJECT", "LOCATION", "QUEUE", "CLOUD_RUN_URL", "AUDIENCE", "SERVICE_ACCOUNT_DETAIL"];
        let missing: Vec<&str> = names.into_iter().filter(|name| reader.find(name).is_none()).collect();
        reader.note(
            "QUEUE",
            format!(
                "no queue is configured: {} missing; the service works all the same and needs no trigger",
                missing.join(", ")
            ),
        );
    }
    if in_cloud && cloud.has_queue() && cloud.deadline != 0 && !(15..=1_800).contains(&cloud.deadline) {
        reader.note("DEADLINE", "the queue takes 15 to 1800 seconds; the nearest of these is written");
    }
    cloud
}

/// Variables that nothing follows from.
fn without_effect(reader: &mut Reader<'_>) {
    let texts = [
        ("POA_CHAIN", "needs no setting: blocks with long extraData are taken on every chain"),
        ("WORKER_FEE_BAND", "the former worker did not use it; see the table profit for what a relay must earn"),
    ];
    for (key, text) in texts {
        if reader.find(key).is_some() {
            reader.note(key, text);
        }
    }
    let script: Vec<&str> = ["SERVICE_NAME", "REGION", "DB_CONNECTION_NAME", "PROJECT_ID", "VPC_CONNECTOR"]
        .into_iter()
        .filter(|name| reader.find(name).is_some())
        .collect();
    if let Some(first) = script.first() {
        reader.note(first, format!("{} belong to the deployment script: see `windlass vrf cloud recipe`", script.join(", ")));
    }
}
