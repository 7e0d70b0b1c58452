//! One place where messages go: how each kind wants them, and what its answers mean.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::{Alert, Notice, Severity};
use crate::config::{AlertChannel, AlertSection, SecretText};

/// Longest text that Discord takes, in characters.
const DISCORD_LIMIT: usize = 2_000;
/// Longest text that Telegram takes, in characters.
const TELEGRAM_LIMIT: usize = 4_096;
/// The public API of Telegram bots.
const TELEGRAM: &str = "https://api.telegram.org";
/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message was not delivered. Never holds the URL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Trying again may help; not before this time if the other side said so.
    Transient { problem: String, retry_after: Option<Duration> },
    /// It cannot help: the URL or token is wrong.
    Permanent { problem: String },
}

/// A message before it has the form of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) notice: Notice,
    /// It was told before and still lasts.
    pub(crate) repeated: bool,
    /// Messages that were not sent before this one, because there were too many.
    pub(crate) dropped: u64,
}

/// A configured place.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) min_severity: Severity,
    pub(crate) per_minute: u32,
    pub(crate) repeat_after: Duration,
    kind: AlertChannel,
    url: Url,
    token: Option<SecretText>,
    chat_id: String,
    node: String,
    runbook_url: Option<Url>,
    client: reqwest::Client,
}

impl Channel {
    /// Builds a channel from its section and the resolved secrets.
    ///
    /// # Errors
    /// The URL is none. The text names the problem, not the URL.
    pub(crate) fn new(
        name: &str,
        section: &AlertSection,
        url: Option<SecretText>,
        token: Option<SecretText>,
        node: &str,
        runbook_url: Option<Url>,
        client: reqwest::Client,
    ) -> Result<Self, String> {
        let text = url.as_ref().map_or(TELEGRAM, SecretText::expose);
        let mut url = Url::parse(text.trim()).map_err(|error| format!("it is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("it must begin with https:// or http:// and have a host".to_owned());
        }
        if section.channel == AlertChannel::Telegram {
            let token = token.as_ref().map(|token| token.expose().trim().to_owned()).unwrap_or_default();
            let base = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{base}/bot{token}/sendMessage"));
        }
        Ok(Self {
            name: name.to_owned(),
            min_severity: section.min_severity,
            per_minute: section.per_minute,
            repeat_after: section.repeat_after,
            kind: section.channel,
            url,
            token,
            chat_id: section.chat_id.clone().unwrap_or_default(),
            node: node.to_owned(),
            runbook_url,
            client,
        })
    }

    /// Delivers one message.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let mut request = self.client.post(self.url.clone()).timeout(TIMEOUT).json(&self.body(message));
        if let (AlertChannel::Webhook, Some(token)) = (self.kind, &self.token) {
            request = request.bearer_auth(token.expose().trim());
        }
        // The text of these errors holds the URL unless it is taken out.
        let response = request
            .send()
            .await
            .map_err(|error| Failure::Transient { problem: crate::error::chain_text(&error.without_url()), retry_after: None })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let problem = format!("{} answered {status}", self.url.host_str().unwrap_or("the server"));
        if status.as_u16() == 429 || status.as_u16() == 408 || status.is_server_error() {
            let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
            let seconds = match header {
                Some(seconds) => Some(seconds),
                None => response.json::<Value>().await.ok().and_then(|body| retry_after(&body)),
            };
            let retry_after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            return Err(Failure::Transient { problem, retry_after });
        }
        Err(Failure::Permanent { problem })
    }

    /// The JSON that this kind of place wants.
    fn body(&self, message: &Message) -> Value {
        match self.kind {
            AlertChannel::Webhook => self.own_body(message),
            AlertChannel::Slack => {
                // Slack reads these three characters as markup, and nothing else that we write.
                let text = self.text(message).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({"text": text})
            }
            AlertChannel::Discord => {
                // No text of ours may call a whole channel together.
                json!({"content": cut(&self.text(message), DISCORD_LIMIT), "allowed_mentions": {"parse": []}})
            }
            AlertChannel::Telegram => json!({
                "chat_id": self.chat_id,
                "text": cut(&self.text(message), TELEGRAM_LIMIT),
                "link_preview_options": {"is_disabled": true},
            }),
        }
    }

    fn own_body(&self, message: &Message) -> Value {
        let active = message.notice.alert();
        let alert = &active.alert;
        json!({
            "event": event_name(message),
            "node": self.node,
            "service": alert.service,
            "key": alert.key,
            "severity": alert.severity.as_str(),
            "title": alert.title,
            "detail": alert.detail,
            "runbook": self.runbook(alert),
            "since": rfc3339(active.since_ms),
            "not_sent": message.dropped,
        })
    }

    /// The message for people, without markup.
    fn text(&self, message: &Message) -> String {
        let active = message.notice.alert();
        let alert = &active.alert;
        let word = match message.notice {
            Notice::Resolved(_) => "RESOLVED".to_owned(),
            Notice::Raised(_) => alert.severity.as_str().to_uppercase(),
        };
        let lasting = if message.repeated { " (still)" } else { "" };
        let mut text = format!("[{word}]{lasting} {}: {}", alert.service, alert.title);
        if !alert.detail.is_empty() && matches!(message.notice, Notice::Raised(_)) {
            text.push('\n');
            text.push_str(&alert.detail);
        }
        text.push_str(&format!("\nsince {}, node {}", rfc3339(active.since_ms), self.node));
        text.push_str(&format!("\nwhat to do: {}", self.runbook(alert)));
        if message.dropped > 0 {
            text.push_str(&format!("\n{} earlier alerts were not sent: there were too many", message.dropped));
        }
        text
    }

    /// The link to the page of the book, or its place in the book where nobody said where that is published.
    fn runbook(&self, alert: &Alert) -> String {
        match &self.runbook_url {
            Some(base) => base.join(&alert.runbook).map_or_else(|_| alert.runbook.clone(), |url| url.to_string()),
            None => alert.runbook.clone(),
        }
    }
}

fn event_name(message: &Message) -> &'static str {
    match (&message.notice, message.repeated) {
        (Notice::Resolved(_), _) => "resolved",
        (Notice::Raised(_), true) => "repeated",
        (Notice::Raised(_), false) => "raised",
    }
}

/// Discord puts the seconds to wait at the top of the body, Telegram under `parameters`.
fn retry_after(body: &Value) -> Option<f64> {
    body.get("retry_after").or_else(|| body.get("parameters")?.get("retry_after"))?.as_f64()
}

fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A time for people and machines, to the second.
pub(crate) fn rfc3339(millis: i64) -> String {
    match jiff::Timestamp::from_second(millis.div_euclid(1_000)) {
        Ok(time) => time.to_string(),
        Err(_) => millis.to_string(),
    }
}
