//! Telling somebody that cycles fail repeatedly, in the words of the former worker.

use url::Url;
use windlass_keys::SecretSource;
use windlass_node::config::{SecretText, SecretUrl};

use super::http;

/// Why somebody was not told. Never holds the URL.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The webhook is not configured as it must be.
    #[error("the webhook cannot be used: {reason}")]
    Webhook {
        /// Why.
        reason: String,
    },
    /// It did not take the message.
    #[error("{host} did not take the message: {reason}")]
    NotTaken {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
}

/// The message about the relay called `name`: the body of the request, byte for byte.
pub fn notification(name: &str) -> String {
    serde_json::json!({ "content": format!("<{name}> VRF Worker failed to run multiple times!") }).to_string()
}

/// A webhook that takes such messages.
#[derive(Debug)]
pub struct Notifier {
    url: SecretUrl,
    client: reqwest::Client,
}

impl Notifier {
    /// The webhook whose URL is given, or pointed at by `env:NAME`, `file:PATH` or `command:...`.
    ///
    /// # Errors
    /// It cannot be looked up, or is no URL.
    pub fn new(webhook: &SecretText) -> Result<Self, NotifyError> {
        let wrong = |reason: String| NotifyError::Webhook { reason };
        let source: SecretSource = match webhook.expose().parse() {
            Ok(source) => source,
            Err(never) => match never {},
        };
        let text = source.resolve().map_err(|error| wrong(error.to_string()))?;
        let url = Url::parse(text.expose().trim()).map_err(|error| wrong(format!("it is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it must begin with https:// or http://".to_owned()));
        }
        let client = http::client().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { url: SecretUrl::new(url), client })
    }

    /// Tells about the relay called `name`.
    ///
    /// # Errors
    /// The webhook did not take it.
    pub async fn tell(&self, name: &str) -> Result<(), NotifyError> {
        let failed = |reason: String| NotifyError::NotTaken { host: self.url.host(), reason };
        let request =
            self.client.post(self.url.expose().clone()).header("Content-type", "application/json").body(notification(name));
        let response = request.send().await.map_err(|error| failed(http::chain(&error.without_url())))?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(failed(format!("it answered {}", response.status()))),
        }
    }
}
