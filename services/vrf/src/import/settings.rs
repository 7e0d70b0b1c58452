//! What the former workers could be told, whichever way.

use std::net::SocketAddr;

use alloy_primitives::Address;
use windlass_node::config::SecretText;

use super::Place;
use crate::config::GasPrice;

/// Which of the former workers the settings are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// 0.1: environment variables and `.env`.
    Environment,
    /// 0.2: a YAML file.
    Yaml,
}

/// A secret of the former settings.
#[derive(Debug, Clone)]
pub struct FormerSecret {
    /// The value, if the settings hold it.
    pub value: Option<SecretText>,
    /// Where it stands.
    pub place: Place,
    /// The environment variable that it is or may be given in.
    pub variable: &'static str,
}

/// The database of a worker 0.1 in the cloud.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// User.
    pub user: String,
    /// Password.
    pub password: FormerSecret,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the database.
    pub name: String,
}

impl DatabaseSettings {
    /// The URL of the database without its password.
    pub fn place(&self) -> String {
        format!("postgres://{}@{}:{}/{}", percent(&self.user), self.host, self.port, percent(&self.name))
    }

    /// The URL of the database. `None` without the password.
    pub fn url(&self) -> Option<SecretText> {
        let password = percent(self.password.value.as_ref()?.expose());
        let (user, name) = (percent(&self.user), percent(&self.name));
        Some(SecretText::new(format!("postgres://{user}:{password}@{}:{}/{name}", self.host, self.port)))
    }
}

/// Everything but letters, digits and four marks, as the parts of a URL want it.
fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The queue of a worker 0.1 in the cloud.
#[derive(Debug, Clone, Default)]
pub struct CloudSettings {
    /// Project of the queue.
    pub project: Option<String>,
    /// Its location.
    pub location: Option<String>,
    /// Its name.
    pub queue: Option<String>,
    /// What the queue calls.
    pub url: Option<String>,
    /// Audience of the identity tokens.
    pub audience: Option<String>,
    /// Account in whose name the queue calls.
    pub service_account: Option<String>,
    /// Seconds from the end of a cycle to the next.
    pub in_seconds: u64,
    /// Seconds that the queue waits for an answer; 0 for the queue's own limit.
    pub deadline: u64,
}

impl CloudSettings {
    /// Whether everything is there that a queue needs.
    pub fn has_queue(&self) -> bool {
        [&self.project, &self.location, &self.queue, &self.url, &self.audience, &self.service_account]
            .iter()
            .all(|part| part.is_some())
    }

    /// Whether anything is there at all.
    pub fn is_empty(&self) -> bool {
        [&self.project, &self.location, &self.queue, &self.url, &self.audience, &self.service_account]
            .iter()
            .all(|part| part.is_none())
    }
}

/// What the deployment script of a worker 0.1 was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploySettings {
    /// Name of the service.
    pub service_name: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Project.
    pub project_id: Option<String>,
    /// Connection name of the database instance: `project:region:instance`.
    pub database_connection: Option<String>,
    /// VPC connector.
    pub vpc_connector: Option<String>,
}

/// What a former worker was told.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Which worker.
    pub former: Former,
    /// The file they were read from, for people; the environment if there was none.
    pub source: String,
    /// `CHAIN`, `chain_id`: name of the client chain in messages.
    pub chain: Option<String>,
    /// Endpoints of the client chain.
    pub rpc: Vec<String>,
    /// Provider contract.
    pub provider: Address,
    /// Lens contract.
    pub lens: Option<Address>,
    /// Bridge contract.
    pub bridge: Option<Address>,
    /// Key of the relaying account.
    pub key: FormerSecret,
    /// Callers that are served.
    pub callers: Vec<Address>,
    /// First nonce.
    pub start_nonce: u64,
    /// Whether the client chain has EIP-1559; `None` if the settings do not say it.
    pub eip1559: Option<bool>,
    /// gRPC endpoints of BandChain, `host:port`.
    pub grpc: Vec<String>,
    /// CometBFT RPC endpoints.
    pub band_rpc: Vec<String>,
    /// Proof URLs.
    pub proof_urls: Vec<String>,
    /// Recovery phrase of the BandChain account.
    pub mnemonic: FormerSecret,
    /// `min_count`.
    pub min_count: u64,
    /// `ask_count`.
    pub ask_count: u64,
    /// `prepare_gas`.
    pub prepare_gas: u64,
    /// `execute_gas`.
    pub execute_gas: u64,
    /// `ds_fee_limit`, in uband.
    pub ds_fee_limit: u128,
    /// `gas_limit`.
    pub gas_limit: u64,
    /// `gas_price`.
    pub gas_price: GasPrice,
    /// `MAX_RELAY_PROOF_GAS`.
    pub max_relay_gas: Option<u64>,
    /// `BLOCK_DIFF`.
    pub block_diff: Option<u64>,
    /// `DISCORD_WEBHOOK`.
    pub webhook: Option<FormerSecret>,
    /// Whether it is the cloud deployment, which is called over HTTP.
    pub in_cloud: bool,
    /// Where the cloud deployment listens.
    pub listen: Option<SocketAddr>,
    /// The database of the cloud deployment.
    pub database: Option<DatabaseSettings>,
    /// Its queue.
    pub cloud: CloudSettings,
    /// What its deployment script was told.
    pub deploy: DeploySettings,
}

impl WorkerSettings {
    /// The name of the sections that are made: the former name of the chain in the notation of section names.
    pub fn section_name(&self) -> String {
        section_name(self.chain.as_deref().unwrap_or_default())
    }
}

/// A text as the name of a section: lower case, at most 32 of a-z, 0-9, `-` and `_`. A number becomes `chain-<number>`, an empty text
/// `client`.
pub fn section_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(['_', '-']);
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        return section_name(&format!("chain {name}"));
    }
    let name: String = name.chars().take(32).collect();
    match name.trim_end_matches(['-', '_']) {
        "" => "client".to_owned(),
        name => name.to_owned(),
    }
}
