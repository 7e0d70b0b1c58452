//! The sections that every node has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::kind;
use super::value::{SecretText, SecretUrl};
use super::{Keys, Section};

/// `[node]`.
#[derive(Clone, Debug)]
pub struct NodeSection {
    /// Folder of everything the node keeps.
    pub data_dir: PathBuf,
    /// How long a stop may take before what still runs is ended.
    pub shutdown_timeout: Duration,
    /// Name of this instance, for leases, alerts and the dashboard.
    pub name: Option<String>,
    /// How many events are kept.
    pub events_kept: u64,
    /// How long a service may be not ready before an alert is raised.
    pub not_ready_alert_after: Duration,
    /// Where the book is published, for links in alerts.
    pub runbook_url: Option<Url>,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("windlass-data"),
            shutdown_timeout: Duration::from_secs(20),
            name: None,
            events_kept: 10_000,
            not_ready_alert_after: Duration::from_secs(120),
            runbook_url: None,
        }
    }
}

impl Section for NodeSection {
    const KIND: &'static str = "node";
    const DOC: &'static str = "The program as a whole.";

    fn read(keys: &mut Keys<'_>) -> Self {
        Self {
            data_dir: keys
                .path("data_dir")
                .doc("Folder of everything the node keeps: the database unless [store] says otherwise. Made if it is not there.")
                .default("windlass-data"),
            shutdown_timeout: keys
                .duration("shutdown_timeout")
                .doc(
                    "How long a stop may take. What still runs then is ended; nothing is lost by it, but the next start has more to \
                     catch up with. Keep it below the limit of your service manager.",
                )
                .at_least("1s")
                .at_most("10m")
                .default("20s"),
            name: keys
                .string("name")
                .doc("Name of this instance in alerts, on the dashboard and in leases. Host name and process number if it is not given.")
                .rule("1 to 64 characters", |name| (1..=64).contains(&name.chars().count()))
                .example("node-1")
                .optional(),
            events_kept: keys
                .integer("events_kept")
                .doc("How many events the log of events keeps; older ones are removed.")
                .range(100..=10_000_000)
                .default("10000"),
            not_ready_alert_after: keys
                .duration("not_ready_alert_after")
                .doc("How long a service may be not ready before an alert is raised.")
                .at_least("5s")
                .default("2m"),
            runbook_url: keys
                .url("runbook_url")
                .doc("Where the book of Windlass is published for your people. Alerts then link to the page that says what to do.")
                .rule("a URL that ends with /", |url| url.path().ends_with('/'))
                .example("https://docs.example.org/windlass/")
                .optional(),
        }
    }
}

/// `[store]`.
#[derive(Clone, Debug, Default)]
pub struct StoreSection {
    /// Where the database is; `None` for a SQLite file in the data folder.
    pub url: Option<SecretText>,
}

impl StoreSection {
    /// The URL to open: the one given, or `windlass.db` in the data folder.
    pub fn url_or_default(&self, node: &NodeSection) -> SecretText {
        match &self.url {
            Some(url) => url.clone(),
            None => SecretText::new(format!("sqlite:{}", node.data_dir.join("windlass.db").display())),
        }
    }
}

impl Section for StoreSection {
    const KIND: &'static str = "store";
    const DOC: &'static str = "The database.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let url =
            kind::custom("database URL", "sqlite:<path> or postgres://user:password@host/database", "", String::new(), |text| {
                let known = ["sqlite:", "postgres://", "postgresql://", "env:", "file:", "command:"];
                if known.iter().any(|prefix| text.starts_with(prefix)) { Ok(text.to_owned()) } else { Err(String::new()) }
            })
            .shown_as_url();
        let url = keys
            .key("url", url)
            .doc(
                "sqlite:<path>, or postgres://... to let several instances share one database. Like a secret it may be given as \
                 env:NAME, file:path or command:... . A file windlass.db in node.data_dir if it is not given.",
            )
            .example("sqlite:windlass-data/windlass.db")
            .optional();
        Self { url: url.map(SecretText::new) }
    }
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct HttpSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether to listen at all.
    pub enabled: bool,
    /// Bearer tokens that may use the interface; as configured, not resolved.
    pub tokens: Vec<SecretText>,
    /// Names under which the node may be called, beside its own addresses.
    pub allowed_hosts: Vec<String>,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How many requests may run at the same time.
    pub max_concurrent_requests: usize,
    /// Requests per second of one client, averaged.
    pub requests_per_second: u32,
    /// Requests one client may make at once after a pause.
    pub request_burst: u32,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            enabled: true,
            tokens: Vec::new(),
            allowed_hosts: Vec::new(),
            max_body_bytes: 1_048_576,
            request_timeout: Duration::from_secs(30),
            max_concurrent_requests: 256,
            requests_per_second: 50,
            request_burst: 200,
        }
    }
}

impl Section for HttpSection {
    const KIND: &'static str = "http";
    const DOC: &'static str = "Health, metrics, API and dashboard.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let section = Self {
            listen: keys
                .socket_address("listen")
                .doc("Where to listen. An address other than that of the machine itself (127.0.0.1, ::1) needs tokens.")
                .default("127.0.0.1:9464"),
            enabled: keys.boolean("enabled").doc("Whether to listen at all.").default("true"),
            tokens: keys
                .list("tokens", kind::secret())
                .doc(
                    "Bearer tokens, each as env:NAME, file:path, command:... or plain (development only). With any given, everything \
                     but /health needs one: `Authorization: Bearer <token>`; the dashboard asks for it.",
                )
                .example("env:WINDLASS_TOKEN")
                .default(""),
            allowed_hosts: keys
                .list("allowed_hosts", kind::string())
                .doc(
                    "Names under which a browser may call the node, beside localhost and the address it listens on. Guards against \
                     web pages that point a name of theirs at this machine.",
                )
                .example("windlass.internal")
                .default(""),
            max_body_bytes: keys
                .integer("max_body_bytes")
                .doc("Largest request body in bytes.")
                .range(1_024..=104_857_600)
                .default("1048576"),
            request_timeout: keys
                .duration("request_timeout")
                .doc("How long one request may take before it is answered with 504.")
                .at_least("1s")
                .at_most("10m")
                .default("30s"),
            max_concurrent_requests: keys
                .integer("max_concurrent_requests")
                .doc("How many requests may run at the same time; more are answered with 503.")
                .range(1..=100_000)
                .default("256"),
            requests_per_second: keys
                .integer("requests_per_second")
                .doc("Requests per second that one client (a token, else an IP address) may make on average; more are answered with 429.")
                .range(1..=100_000)
                .default("50"),
            request_burst: keys
                .integer("request_burst")
                .doc("Requests that one client may make at once after a pause.")
                .range(1..=1_000_000)
                .default("200"),
        };
        let guarded = !section.enabled || section.listen.ip().is_loopback() || !section.tokens.is_empty();
        keys.check_among(
            "listen",
            &["tokens", "enabled"],
            || guarded,
            "listening beyond this machine needs at least one token",
            "write tokens = [\"env:WINDLASS_TOKEN\"] under [http], or listen on 127.0.0.1",
        );
        section
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogSection {
    /// A level, or directives `target=level,...`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Section for LogSection {
    const KIND: &'static str = "log";
    const DOC: &'static str = "The log, on standard error.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let rule = "error, warn, info, debug, trace, off, or directives such as \"info,windlass_chain=debug\"";
        let level = kind::custom("log level", rule, "info", String::new(), |text| {
            crate::logs::parse_filter(text).map(|_| text.to_owned())
        });
        Self {
            level: keys
                .key("level", level)
                .doc("How much is logged. Can be changed while the node runs: PUT /v1/log-level.")
                .default("info"),
            format: keys
                .choice(
                    "format",
                    ("text", LogFormat::Text, "for people"),
                    vec![("json", LogFormat::Json, "one JSON object per line, for machines")],
                )
                .doc("How lines look.")
                .default("text"),
        }
    }
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Needs somebody soon: money runs low, an endpoint fails.
    Warning,
    /// Needs somebody now: the service does not do its work.
    Critical,
}

impl Severity {
    /// The word used in messages and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where alerts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertChannel {
    /// A POST of our own JSON to any URL.
    Webhook,
    /// An incoming webhook of Slack.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A bot of Telegram.
    Telegram,
}

/// `[alerts.<name>]`.
#[derive(Clone, Debug)]
pub struct AlertSection {
    /// Kind of the channel.
    pub channel: AlertChannel,
    /// URL of the webhook, as configured: the URL itself or a pointer to it. `None` for Telegram: its public API.
    pub url: Option<SecretText>,
    /// Token: of the bot for Telegram, sent as a bearer token for a webhook.
    pub token: Option<SecretText>,
    /// Chat, for Telegram.
    pub chat_id: Option<String>,
    /// Least severity that is sent.
    pub min_severity: Severity,
    /// How many messages per minute at most.
    pub per_minute: u32,
    /// When a condition that lasts is told again.
    pub repeat_after: Duration,
}

impl Section for AlertSection {
    const KIND: &'static str = "alerts";
    const NAMED: bool = true;
    const DOC: &'static str = "A place where alerts are sent. There may be several.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let section = Self {
            channel: keys
                .choice(
                    "channel",
                    ("webhook", AlertChannel::Webhook, "a POST of JSON to any URL"),
                    vec![
                        ("slack", AlertChannel::Slack, "an incoming webhook of Slack"),
                        ("discord", AlertChannel::Discord, "a webhook of Discord"),
                        ("telegram", AlertChannel::Telegram, "a bot of Telegram; needs token and chat_id"),
                    ],
                )
                .doc("What kind of place it is.")
                .required(),
            url: keys
                .secret("url")
                .doc("URL of the webhook. Treated as a secret, because it lets anybody post. For Telegram only if not its public API.")
                .example("env:ALERT_URL")
                .optional(),
            token: keys
                .secret("token")
                .doc("For Telegram the token of the bot. For a webhook it is sent as a bearer token.")
                .example("env:ALERT_TOKEN")
                .optional(),
            chat_id: keys
                .string("chat_id")
                .doc("For Telegram: the chat, as a number or @name.")
                .example("-1001234567890")
                .optional(),
            min_severity: keys
                .choice(
                    "min_severity",
                    ("info", Severity::Info, "everything"),
                    vec![
                        ("warning", Severity::Warning, "what needs somebody soon, and more"),
                        ("critical", Severity::Critical, "only what needs somebody now"),
                    ],
                )
                .doc("The least severity that is sent.")
                .default("warning"),
            per_minute: keys
                .integer("per_minute")
                .doc("How many messages are sent per minute at most. What is over is counted and told in the next message.")
                .range(1..=600)
                .default("20"),
            repeat_after: keys
                .duration("repeat_after")
                .doc("A condition that lasts is told again after this time.")
                .at_least("1m")
                .default("4h"),
        };
        let (channel, url, token, chat) =
            (section.channel, section.url.is_some(), section.token.is_some(), section.chat_id.is_some());
        let name = keys.instance().to_owned();
        keys.check_among(
            "url",
            &["channel"],
            || url || channel == AlertChannel::Telegram,
            "is required for this channel",
            format!("write url = \"env:ALERT_URL\" under [alerts.{name}]"),
        );
        keys.check_among(
            "token",
            &["channel"],
            || token || channel != AlertChannel::Telegram,
            "is required for Telegram",
            format!("write token = \"env:ALERT_TOKEN\" under [alerts.{name}]"),
        );
        keys.check_among(
            "chat_id",
            &["channel"],
            || chat || channel != AlertChannel::Telegram,
            "is required for Telegram",
            format!("write chat_id = \"-1001234567890\" under [alerts.{name}]"),
        );
        section
    }
}

/// `[chain.<name>]`.
#[derive(Clone, Debug)]
pub struct ChainSection {
    /// Endpoints, HTTP or WebSocket.
    pub urls: Vec<SecretUrl>,
    /// What `eth_chainId` must answer.
    pub chain_id: Option<u64>,
    /// How many endpoints must agree on a read that decides about money.
    pub quorum: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// When a second endpoint is asked the same.
    pub hedge_after: Duration,
    /// Endpoints that transactions are sent to instead of `urls`.
    pub broadcast_urls: Vec<SecretUrl>,
}

impl Section for ChainSection {
    const KIND: &'static str = "chain";
    const NAMED: bool = true;
    const DOC: &'static str = "A chain and its endpoints. Services refer to it by name.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let section = Self {
            urls: keys
                .list("urls", kind::secret_url())
                .doc("Endpoints, http, https, ws or wss. The best one is used, the others stand by. Only the host is ever printed.")
                .rule("at least one URL", |urls| !urls.is_empty())
                .example("https://rpc.example.org,wss://rpc.example.net")
                .required(),
            chain_id: keys
                .integer("chain_id")
                .doc("What the endpoints must say they are. One that says otherwise is not used. Give it wherever money moves.")
                .rule("at least 1", |id: &u64| *id >= 1)
                .example("100")
                .optional(),
            quorum: keys
                .integer("quorum")
                .doc("How many endpoints must agree on a read that decides about money. At most as many as there are URLs.")
                .range(1..=16)
                .default("1"),
            timeout: keys
                .duration("timeout")
                .doc("How long one request may take.")
                .at_least("100ms")
                .at_most("5m")
                .default("10s"),
            hedge_after: keys
                .duration("hedge_after")
                .doc("When an answer takes longer than this, a second endpoint is asked too.")
                .at_least("10ms")
                .default("1s"),
            broadcast_urls: keys
                .list("broadcast_urls", kind::secret_url())
                .doc("Endpoints that transactions are sent to instead of urls, for example private ones.")
                .example("https://private.example.org")
                .default(""),
        };
        let enough = section.quorum <= section.urls.len();
        keys.check_among(
            "quorum",
            &["urls"],
            || enough,
            "must be at most the number of urls",
            "lower quorum or add endpoints to urls",
        );
        section
    }
}
