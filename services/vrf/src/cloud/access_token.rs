//! Access tokens for the APIs of the Google cloud: from the metadata server of the machine, or for the key file of a service account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;
use windlass_node::config::SecretText;
use windlass_store::{Clock, UnixMillis};

use super::http;
use crate::config::QueueConfig;

/// What the token may be used for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The way a signed claim is exchanged for a token.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Where the metadata server keeps the token of the machine's own account.
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// A token is not used any more when it is valid for less than this.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a signed claim is valid.
const CLAIM: Duration = Duration::from_secs(3_600);

/// Why there is no token. Holds neither token nor key.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key file cannot be used.
    #[error("the key file {path} cannot be used: {reason}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The other side gave none.
    #[error("{host} gave no access token: {reason}")]
    NotGiven {
        /// Who was asked.
        host: String,
        /// Why.
        reason: String,
        /// Whether trying again may help.
        transient: bool,
    },
}

impl TokenError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NotGiven { transient: true, .. })
    }

    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KeyFile { .. } => "queue.key_file must be the JSON key of a service account, readable by its owner only",
            Self::NotGiven { .. } => "outside of the Google cloud there is no metadata server: set queue.key_file",
        }
    }
}

/// The part of a key file that is used.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: Url,
}

#[derive(Serialize)]
struct Claim<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

struct Kept {
    token: SecretText,
    until: UnixMillis,
}

/// Gives the access token, and a new one when it is needed.
pub struct AccessTokens {
    client: reqwest::Client,
    key_file: Option<PathBuf>,
    metadata_url: Url,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

impl AccessTokens {
    /// Of the key file that the configuration names, or else of the machine.
    pub fn new(config: &QueueConfig, client: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            key_file: config.key_file.clone(),
            metadata_url: config.metadata_url.clone(),
            clock,
            kept: Mutex::default(),
        }
    }

    /// A token that is valid for a minute at least.
    ///
    /// # Errors
    /// The key file cannot be used, or nobody gives a token.
    pub async fn get(&self) -> Result<SecretText, TokenError> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.now();
        if let Some(one) = kept.as_ref().filter(|one| now.saturating_add(MARGIN) < one.until) {
            return Ok(one.token.clone());
        }
        let answer = match &self.key_file {
            Some(path) => self.by_key_file(path, now).await?,
            None => self.of_machine().await?,
        };
        let token = SecretText::new(answer.access_token);
        *kept = Some(Kept { token: token.clone(), until: now.saturating_add(Duration::from_secs(answer.expires_in)) });
        Ok(token)
    }

    /// Forgets the token: it was refused.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn of_machine(&self) -> Result<Answer, TokenError> {
        let mut url = self.metadata_url.clone();
        url.set_path(METADATA_PATH);
        let host = http::host(&url);
        let request = self.client.get(url).header("Metadata-Flavor", "Google");
        answer(request, host).await
    }

    async fn by_key_file(&self, path: &Path, now: UnixMillis) -> Result<Answer, TokenError> {
        let wrong = |reason: String| TokenError::KeyFile { path: path.to_owned(), reason };
        let text = windlass_keys::secret::read_secret_file(path).map_err(|error| wrong(error.to_string()))?;
        // The reader's own text could repeat what stands in the file.
        let mut file: KeyFile =
            serde_json::from_str(text.expose()).map_err(|_| wrong("it is not the JSON key of a service account".to_owned()))?;
        let key = SecretText::new(std::mem::take(&mut file.private_key));
        let key =
            EncodingKey::from_rsa_pem(key.expose().as_bytes()).map_err(|_| wrong("its private key cannot be read".to_owned()))?;
        let iat = u64::try_from(now.to_seconds().0).unwrap_or(0);
        let claim = Claim {
            iss: &file.client_email,
            scope: SCOPE,
            aud: file.token_uri.as_str(),
            iat,
            exp: iat.saturating_add(CLAIM.as_secs()),
        };
        let header = Header { kid: file.private_key_id.clone(), ..Header::new(Algorithm::RS256) };
        let assertion = encode(&header, &claim, &key).map_err(|_| wrong("its private key cannot sign".to_owned()))?;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("assertion", &assertion)
            .finish();
        let host = http::host(&file.token_uri);
        let request =
            self.client.post(file.token_uri.clone()).header("content-type", "application/x-www-form-urlencoded").body(body);
        answer(request, host).await
    }
}

async fn answer(request: reqwest::RequestBuilder, host: String) -> Result<Answer, TokenError> {
    let failed = |reason: String, transient: bool| TokenError::NotGiven { host: host.clone(), reason, transient };
    let response = request.send().await.map_err(|error| failed(http::chain(&error.without_url()), true))?;
    let status = response.status();
    if !status.is_success() {
        return Err(failed(format!("it answered {status}"), status.is_server_error() || status.as_u16() == 429));
    }
    let body = http::body(response).await.map_err(|problem| failed(problem, true))?;
    serde_json::from_slice(&body).map_err(|_| failed("the answer is no access token".to_owned(), false))
}
