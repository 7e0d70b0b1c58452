//! The table `trigger`: the HTTP trigger of a cloud, its queue and its notification.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;
use windlass_node::config::{Keys, SecretText};

/// The HTTP trigger.
#[derive(Debug, Clone)]
pub struct TriggerConfig {
    /// Name of the relay in the answer of a failed cycle and in notifications. The name of the chain section if not given.
    pub name: Option<String>,
    /// Path of the trigger.
    pub path: String,
    /// What the identity tokens of callers must be made for. Without it the tokens of `[http]` apply.
    pub audience: Option<String>,
    /// E-mail address of the only account that may call; the one that queued calls are made by.
    pub service_account: Option<String>,
    /// Who must have issued the identity tokens.
    pub issuer: String,
    /// Where the issuer's public keys are.
    pub jwks_url: Url,
    /// How long one cycle may take.
    pub cycle_limit: Duration,
    /// Webhook that is told when cycles fail repeatedly.
    pub webhook: Option<SecretText>,
    /// At how many failed cycles in a row it is told.
    pub notify_at: u32,
    /// The queue that calls the trigger.
    pub queue: Option<QueueConfig>,
}

/// The queue of Cloud Tasks that calls the trigger again after each cycle.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Project.
    pub project: String,
    /// Location.
    pub location: String,
    /// Name of the queue.
    pub queue: String,
    /// The trigger's own address, as the queue reaches it.
    pub url: Url,
    /// Time between the end of a cycle and the next one.
    pub delay: Duration,
    /// How long the queue waits for an answer; the queue's own default if not given.
    pub deadline: Option<Duration>,
    /// A new task is made when the one that is due has not arrived for this long.
    pub heal_after: Duration,
    /// Key file of a service account; the identity of the machine if not given.
    pub key_file: Option<PathBuf>,
    /// Base address of the queue's API.
    pub api_url: Url,
    /// Base address of the machine's metadata server.
    pub metadata_url: Url,
}

impl QueueConfig {
    /// The queue's full name, as the API wants it.
    pub fn parent(&self) -> String {
        format!("projects/{}/locations/{}/queues/{}", self.project, self.location, self.queue)
    }
}

pub(super) fn read(keys: &mut Keys<'_>) -> TriggerConfig {
    let name = keys
        .string("name")
        .doc("Name in the answer of a failed cycle and in notifications. The name of the chain section if it is not given.")
        .rule("1 to 64 characters", |name| (1..=64).contains(&name.chars().count()))
        .example("ASTAR")
        .optional();
    let path = keys
        .string("path")
        .doc("Path of the trigger. Of several relays in one program each needs a path of its own.")
        .rule("a path such as / or /astar, outside /v1, /health, /assets and /login", |path| is_path(path))
        .default("/");
    let audience = keys
        .string("audience")
        .doc("Callers need an identity token made for this audience, usually the service's own URL. Without it the tokens of [http] apply.")
        .rule("not empty", |audience| !audience.trim().is_empty())
        .example("https://vrf-worker-abcdef-uc.a.run.app")
        .optional();
    let service_account = keys
        .string("service_account")
        .doc("E-mail address of the only account whose identity tokens are taken. Queued calls are made in its name.")
        .rule("an e-mail address", |email| {
            email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
        })
        .example("vrf-worker@my-project.iam.gserviceaccount.com")
        .optional();
    let issuer = keys.string("issuer").doc("Who must have issued the identity tokens.").default("https://accounts.google.com");
    let jwks_url =
        keys.url("jwks_url").doc("Where the issuer's public keys are.").default("https://www.googleapis.com/oauth2/v3/certs");
    let cycle_limit = keys
        .duration("cycle_limit")
        .doc("How long one cycle may take before it is answered as failed. What it began goes on.")
        .at_least("1s")
        .at_most("30m")
        .default("5m");
    let webhook = keys
        .secret("webhook")
        .doc("A webhook of Discord, or one that takes the same message, that is told when cycles fail repeatedly.")
        .example("env:DISCORD_WEBHOOK")
        .optional();
    let notify_at = keys
        .integer("notify_at")
        .doc("At how many failed cycles in a row it is told: once, at exactly this number.")
        .range(1..=1_000)
        .default("3");
    let queue = keys.optional_table(
        "queue",
        "The queue of Cloud Tasks that calls the trigger again after each cycle, whether it went well or not.",
        read_queue,
    );
    let (needs_account, needs_audience) =
        (queue.is_some() && service_account.is_none(), service_account.is_some() && audience.is_none());
    keys.check_among(
        "service_account",
        &["queue"],
        || !needs_account,
        "is required beside queue",
        "name the account whose identity the queued calls carry",
    );
    keys.check_among(
        "audience",
        &["service_account"],
        || !needs_audience,
        "is required beside service_account",
        "write the URL of the service as audience, or remove service_account",
    );
    TriggerConfig { name, path, audience, service_account, issuer, jwks_url, cycle_limit, webhook, notify_at, queue }
}

/// Whether a path can be had by a service: literal segments, none of which the node has for itself.
fn is_path(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let literal =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let reserved = ["v1", "health", "assets", "login", "live", "metrics", "openapi.json"];
    path == "/" || (path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(literal)) && !reserved.contains(&first))
}

fn read_queue(keys: &mut Keys<'_>) -> QueueConfig {
    const PART: &str = "letters, digits and -";
    let is_part = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    QueueConfig {
        project: keys
            .string("project")
            .doc("Project of the queue.")
            .rule("letters, digits, - : and .", |text| {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:.".contains(&b))
            })
            .example("my-project")
            .required(),
        location: keys.string("location").doc("Its location.").rule(PART, is_part).example("us-central1").required(),
        queue: keys.string("queue").doc("Its name.").rule(PART, is_part).example("vrf-worker").required(),
        url: keys
            .url("url")
            .doc("Address that the queue calls: this service's own.")
            .example("https://vrf-worker-abcdef-uc.a.run.app")
            .required(),
        delay: keys.duration("delay").doc("Time from the end of a cycle to the next one.").at_most("30d").default("0s"),
        deadline: keys
            .duration("deadline")
            .doc("How long the queue waits for the answer of a cycle. Ten minutes if it is not given.")
            .at_least("15s")
            .at_most("30m")
            .example("5m")
            .optional(),
        heal_after: keys
            .duration("heal_after")
            .doc("A new task is made when the one that is due has not arrived for this long. Longer each time it does not help.")
            .at_least("10s")
            .at_most("1d")
            .default("5m"),
        key_file: keys
            .path("key_file")
            .doc("Key file of a service account that may make tasks. Without it the identity of the machine is used.")
            .example("/etc/windlass/google-key.json")
            .optional(),
        api_url: keys.url("api_url").doc("Address of the queue's API.").default("https://cloudtasks.googleapis.com"),
        metadata_url: keys
            .url("metadata_url")
            .doc("Address of the machine's metadata server, which knows its identity.")
            .default("http://metadata.google.internal"),
    }
}
