//! Settings of a former worker as the text of a configuration file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use windlass_node::config::SecretText;

use super::Place;
use super::settings::{CloudSettings, Former, FormerSecret, WorkerSettings};
use super::tasks::Takeover;

/// Name of the variable that holds the URL of the database, where secrets are not written.
pub(super) const DATABASE_VARIABLE: &str = "DATABASE_URL";
/// The last stretch that `look_back` reaches: worker 0.1 knew no limit.
const WITHOUT_LIMIT: u64 = 1_000_000;

/// How secrets are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecretStyle {
    /// As the environment variable that the former worker had them in: `env:WORKER_PK`.
    #[default]
    Reference,
    /// As they are.
    Inline,
    /// As files in this folder; see [`secret_files`].
    Folder(PathBuf),
    /// For a text that only this process reads: those of the environment as variables, the others as they are.
    Process,
}

/// How the text is made.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Name of the sections; made from the former name of the chain if not given.
    pub name: Option<String>,
    /// How secrets are written.
    pub secrets: SecretStyle,
    /// What the former worker had stored.
    pub takeover: Option<Takeover>,
    /// Token of the HTTP interface, where it listens beyond the machine; `env:WINDLASS_TOKEN` if not given.
    pub token: Option<SecretText>,
}

/// The secrets that stand in the settings, with the files that [`SecretStyle::Folder`] refers to.
pub fn secret_files(settings: &WorkerSettings, folder: &Path) -> Vec<(PathBuf, SecretText)> {
    let secrets = [Some(&settings.key), Some(&settings.mnemonic), settings.webhook.as_ref()];
    let mut files: Vec<(PathBuf, SecretText)> = secrets
        .into_iter()
        .flatten()
        .filter_map(|secret| Some((file_of(folder, secret.variable), secret.value.clone()?)))
        .collect();
    if let Some(url) = settings.database.as_ref().and_then(super::DatabaseSettings::url) {
        files.push((file_of(folder, DATABASE_VARIABLE), url));
    }
    files
}

fn file_of(folder: &Path, variable: &str) -> PathBuf {
    folder.join(variable.to_ascii_lowercase())
}

/// The text of a configuration file with the sections `[chain.<name>]` and `[vrf.<name>]`, and those of the node that the settings speak
/// of. It is what the configuration's own schema reads.
pub fn to_toml(settings: &WorkerSettings, options: &RenderOptions) -> String {
    let name = options.name.clone().unwrap_or_else(|| settings.section_name());
    let mut page = Page { text: String::new(), style: &options.secrets };
    page.line(&format!("# Made from {} by `windlass vrf import`. What is not here has its default.", one_line(&settings.source)));
    node(&mut page, settings, options);
    chain(&mut page, settings, &name);
    relay(&mut page, settings, options, &name);
    account(&mut page, settings, &name);
    band(&mut page, settings, &name);
    if settings.in_cloud {
        trigger(&mut page, settings, &name);
    } else if let Some(webhook) = &settings.webhook {
        page.section("alerts.discord");
        page.line("channel = \"discord\"");
        page.secret("url", webhook);
    }
    page.text
}

/// The text while it is written.
struct Page<'a> {
    text: String,
    style: &'a SecretStyle,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        let _ = writeln!(self.text, "\n[{name}]");
    }

    fn number(&mut self, key: &str, number: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{key} = {number}");
    }

    fn string(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{key} = {}", quote(value));
    }

    fn list<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        match values {
            [] => self.line(&format!("{key} = []")),
            [one] => self.line(&format!("{key} = [{}]", quote(one.as_ref()))),
            several => {
                self.line(&format!("{key} = ["));
                for value in several {
                    self.line(&format!("    {},", quote(value.as_ref())));
                }
                self.line("]");
            }
        }
    }

    fn secret(&mut self, key: &str, secret: &FormerSecret) {
        let reference = format!("env:{}", secret.variable);
        let text = match (self.style, &secret.value) {
            (SecretStyle::Inline, Some(value)) => value.expose().to_owned(),
            (SecretStyle::Process, Some(value)) if !matches!(secret.place, Place::Variable(_)) => value.expose().to_owned(),
            (SecretStyle::Folder(folder), Some(_)) => format!("file:{}", file_of(folder, secret.variable).display()),
            _ => reference,
        };
        self.string(key, &text);
    }
}

/// A text as a TOML string. TOML takes the escapes of JSON, and wants one more.
fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()).replace('\u{7f}', "\\u007F")
}

/// A text for a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn node(page: &mut Page<'_>, settings: &WorkerSettings, options: &RenderOptions) {
    if let Some(listen) = settings.listen {
        page.section("http");
        page.string("listen", &listen.to_string());
        page.line("# Everything but /health and the trigger needs this token.");
        match &options.token {
            Some(token) => page.list("tokens", &[token.expose()]),
            None => page.list("tokens", &["env:WINDLASS_TOKEN"]),
        }
    }
    let Some(database) = &settings.database else { return };
    page.section("store");
    match (page.style, database.url()) {
        (SecretStyle::Inline | SecretStyle::Process, Some(url)) => page.string("url", url.expose()),
        (SecretStyle::Folder(folder), Some(_)) => {
            let path = file_of(folder, DATABASE_VARIABLE);
            page.string("url", &format!("file:{}", path.display()));
        }
        _ => {
            page.line(&format!("# {} with the password behind the user, and a colon between them.", database.place()));
            page.string("url", &format!("env:{DATABASE_VARIABLE}"));
        }
    }
}

fn chain(page: &mut Page<'_>, settings: &WorkerSettings, name: &str) {
    page.section(&format!("chain.{name}"));
    page.list("urls", &settings.rpc);
    let number = settings.chain.as_deref().filter(|chain| !chain.is_empty() && chain.bytes().all(|b| b.is_ascii_digit()));
    page.line("# The former worker did not compare the chain id. Give it wherever money moves.");
    page.line(&format!("# chain_id = {}", number.unwrap_or("1")));
}

fn relay(page: &mut Page<'_>, settings: &WorkerSettings, options: &RenderOptions, name: &str) {
    page.section(&format!("vrf.{name}"));
    page.string("chain", name);
    page.string("provider", &settings.provider.to_checksum(None));
    if let Some(lens) = settings.lens {
        page.string("lens", &lens.to_checksum(None));
    }
    if let Some(bridge) = settings.bridge {
        page.string("bridge", &bridge.to_checksum(None));
    }
    let callers: Vec<String> = settings.callers.iter().map(|caller| caller.to_checksum(None)).collect();
    page.list("callers", &callers);
    let taken_over = options.takeover.as_ref().and_then(Takeover::start_nonce);
    if let Some(nonce) = taken_over {
        page.line(&format!("# From the tasks that the former worker had stored; its own setting was {}.", settings.start_nonce));
        page.number("start_nonce", nonce);
    } else {
        page.number("start_nonce", settings.start_nonce);
    }
    if settings.former == Former::Environment || taken_over.is_some() {
        page.line("# As the former worker: everything from start_nonce on is looked at.");
        page.number("look_back", WITHOUT_LIMIT);
    }
    if let Some(depth) = settings.block_diff {
        page.number("final_depth", depth.clamp(1, 10_000));
        if depth > 128 {
            page.number("max_reorg_depth", depth.clamp(1, 10_000));
        }
    }
}

fn account(page: &mut Page<'_>, settings: &WorkerSettings, name: &str) {
    page.section(&format!("vrf.{name}.account"));
    page.secret("private_key", &settings.key);
    // Worker 0.1 sent legacy transactions unless told otherwise, worker 0.2 the other kind.
    let eip1559 = settings.eip1559.unwrap_or(settings.former == Former::Yaml);
    page.string("fee_mode", if eip1559 { "eip1559" } else { "legacy" });
    if let Some(gas) = settings.max_relay_gas {
        page.number("gas_limit", gas.clamp(21_000, 30_000_000));
    }
}

fn band(page: &mut Page<'_>, settings: &WorkerSettings, name: &str) {
    page.section(&format!("vrf.{name}.band"));
    page.list("grpc", &settings.grpc);
    if !settings.proof_urls.is_empty() {
        page.list("rest", &settings.proof_urls);
    }
    if !settings.band_rpc.is_empty() {
        page.list("rpc", &settings.band_rpc);
    }
    page.secret("mnemonic", &settings.mnemonic);
    page.number("min_count", settings.min_count);
    page.number("ask_count", settings.ask_count);
    page.number("prepare_gas", settings.prepare_gas);
    page.number("execute_gas", settings.execute_gas);
    page.number("ds_fee_limit", settings.ds_fee_limit);
    page.number("gas_limit", settings.gas_limit);
    page.string("gas_price", settings.gas_price.as_str());
    if let Ok(standard) = "0.025".parse::<crate::config::GasPrice>()
        && settings.gas_price > standard
    {
        page.string("max_gas_price", settings.gas_price.as_str());
    }
}

fn trigger(page: &mut Page<'_>, settings: &WorkerSettings, name: &str) {
    page.section(&format!("vrf.{name}.trigger"));
    if let Some(chain) = settings.chain.as_ref().filter(|chain| chain.chars().count() <= 64) {
        page.string("name", chain);
    }
    if let Some(webhook) = &settings.webhook {
        page.secret("webhook", webhook);
    }
    let cloud = &settings.cloud;
    if let Some(audience) = &cloud.audience {
        page.string("audience", audience);
        if let Some(account) = &cloud.service_account {
            page.string("service_account", account);
        }
    }
    if cloud.has_queue() {
        queue(page, cloud, name);
    }
}

fn queue(page: &mut Page<'_>, cloud: &CloudSettings, name: &str) {
    page.section(&format!("vrf.{name}.trigger.queue"));
    for (key, value) in [("project", &cloud.project), ("location", &cloud.location), ("queue", &cloud.queue), ("url", &cloud.url)]
    {
        if let Some(value) = value {
            page.string(key, value);
        }
    }
    page.string("delay", &format!("{}s", cloud.in_seconds));
    if cloud.deadline != 0 {
        page.string("deadline", &format!("{}s", cloud.deadline.clamp(15, 1_800)));
    }
}
