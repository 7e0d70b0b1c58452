//! Who may call the trigger: the holder of an identity token that Google has signed for this service.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;
use windlass_node::http::ApiError;
use windlass_store::{Clock, UnixMillis};

use super::http;
use crate::config::TriggerConfig;

/// How far the clocks of issuer and verifier may lie apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// Keys are fetched anew for an unknown one at most this often: anybody can invent names of keys.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// How long keys are kept when their issuer says nothing, and the bounds of what it says.
const KEEP: Duration = Duration::from_secs(3_600);
const KEEP_AT_LEAST: Duration = Duration::from_secs(60);
const KEEP_AT_MOST: Duration = Duration::from_secs(86_400);
/// The issuer that also signs under its name without the scheme.
const GOOGLE: &str = "https://accounts.google.com";

/// Why a caller is not let in. Never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no token.
    #[error("this needs an identity token")]
    Missing,
    /// It is no token, or of another kind.
    #[error("the identity token cannot be read: {0}")]
    Malformed(&'static str),
    /// The issuer does not know the key.
    #[error("the identity token is signed with a key that its issuer does not have")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the identity token is wrong")]
    Signature,
    /// It was made by somebody else.
    #[error("the identity token is of another issuer")]
    Issuer,
    /// It was made for somebody else.
    #[error("the identity token is made for another audience")]
    Audience,
    /// It is too old.
    #[error("the identity token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the identity token is not valid yet; the clocks differ")]
    TooEarly,
    /// It is of another account.
    #[error("the identity token is of an account that may not call this")]
    Account,
    /// The keys cannot be had, so nothing can be judged.
    #[error("the keys of the issuer cannot be fetched: {0}")]
    Keys(String),
}

impl IdentityError {
    /// One word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "identity_required",
            Self::Malformed(_) => "identity_malformed",
            Self::UnknownKey => "identity_key_unknown",
            Self::Signature => "identity_signature",
            Self::Issuer => "identity_issuer",
            Self::Audience => "identity_audience",
            Self::Expired => "identity_expired",
            Self::TooEarly => "identity_too_early",
            Self::Account => "identity_account",
            Self::Keys(_) => "identity_keys_unavailable",
        }
    }

    /// What the caller can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => {
                "send the header Authorization: Bearer <identity token>; the queue does so when its tasks have an oidcToken"
            }
            Self::Malformed(_) | Self::UnknownKey | Self::Signature | Self::Issuer => "use an identity token of Google",
            Self::Audience => "make the token for the audience that trigger.audience names",
            Self::Expired | Self::TooEarly => "make a new token, and set the clock of this machine",
            Self::Account => "call in the name of the account that trigger.service_account names",
            Self::Keys(_) => "try again; check that this machine can reach trigger.jwks_url",
        }
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let status = match error {
            IdentityError::Keys(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        // Where this machine asks for keys, and what it is told, is nothing for strangers.
        let message = match &error {
            IdentityError::Keys(_) => "the keys of the issuer cannot be fetched".to_owned(),
            other => other.to_string(),
        };
        let api = ApiError::new(status, error.code(), message).hint(error.hint());
        if status == StatusCode::SERVICE_UNAVAILABLE { api.retry_after(5) } else { api }
    }
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    iat: Option<u64>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<bool>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// One key of a set. Keys of other kinds are passed over.
#[derive(Deserialize)]
struct PublicKey {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

#[derive(Default)]
struct Keys {
    known: HashMap<String, DecodingKey>,
    /// When they are fetched again.
    until: Option<UnixMillis>,
    /// When they were last asked for, with or without success.
    asked: Option<UnixMillis>,
}

/// Checks identity tokens. Shared by all requests.
pub struct IdentityCheck {
    audience: String,
    issuers: Vec<String>,
    email: Option<String>,
    jwks_url: Url,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
}

impl fmt::Debug for IdentityCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityCheck").field("audience", &self.audience).field("email", &self.email).finish_non_exhaustive()
    }
}

impl IdentityCheck {
    /// The check that the configuration asks for; `None` without an audience.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(config: &TriggerConfig, clock: Arc<dyn Clock>) -> Result<Option<Self>, reqwest::Error> {
        let Some(audience) = config.audience.clone() else { return Ok(None) };
        let mut issuers = vec![config.issuer.clone()];
        if config.issuer == GOOGLE {
            issuers.push("accounts.google.com".to_owned());
        }
        Ok(Some(Self {
            audience,
            issuers,
            email: config.service_account.clone(),
            jwks_url: config.jwks_url.clone(),
            client: http::client()?,
            clock,
            keys: Mutex::default(),
        }))
    }

    /// Whether the caller may call.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, headers: &HeaderMap) -> Result<(), IdentityError> {
        let header = headers.get(header::AUTHORIZATION).ok_or(IdentityError::Missing)?;
        let text = header.to_str().map_err(|_| IdentityError::Malformed("it is not text"))?;
        let token = match text.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(IdentityError::Missing),
        };
        let head = decode_header(token).map_err(|_| IdentityError::Malformed("it is no signed token"))?;
        if head.alg != Algorithm::RS256 {
            return Err(IdentityError::Malformed("its signature is of another kind than RS256"));
        }
        let kid = head.kid.ok_or(IdentityError::Malformed("it names no key"))?;
        let key = self.key(&kid).await?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&self.issuers);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        // The times are compared below, with the clock of the program.
        validation.validate_exp = false;
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| reason(error.kind()))?.claims;
        self.check_times(&claims)?;
        match &self.email {
            Some(email) if claims.email.as_deref() != Some(email) || claims.email_verified != Some(true) => {
                Err(IdentityError::Account)
            }
            _ => Ok(()),
        }
    }

    fn check_times(&self, claims: &Claims) -> Result<(), IdentityError> {
        let now = u64::try_from(self.clock.now().to_seconds().0).unwrap_or(0);
        if claims.exp.saturating_add(LEEWAY.as_secs()) <= now {
            return Err(IdentityError::Expired);
        }
        let latest = now.saturating_add(LEEWAY.as_secs());
        match claims.nbf.into_iter().chain(claims.iat).any(|time| time > latest) {
            true => Err(IdentityError::TooEarly),
            false => Ok(()),
        }
    }

    /// A key of the issuer. Fetches all when they are too old, or when this one is unknown.
    async fn key(&self, kid: &str) -> Result<DecodingKey, IdentityError> {
        let mut keys = self.keys.lock().await;
        let now = self.clock.now();
        let fresh = keys.until.is_some_and(|until| now < until);
        if let Some(key) = keys.known.get(kid).filter(|_| fresh) {
            return Ok(key.clone());
        }
        let may_ask = keys.asked.is_none_or(|asked| now.saturating_since(asked) >= REFRESH_PAUSE || now < asked);
        if may_ask {
            keys.asked = Some(now);
            match self.fetch().await {
                Ok((known, keep)) => {
                    keys.known = known;
                    keys.until = Some(now.saturating_add(keep));
                }
                // Old keys are better than none: a key is withdrawn long after it was last used.
                Err(problem) if keys.known.contains_key(kid) => {
                    tracing::warn!(problem, "the keys of the issuer cannot be refreshed")
                }
                Err(problem) => {
                    tracing::warn!(problem, "the keys of the issuer cannot be fetched");
                    return Err(IdentityError::Keys(problem));
                }
            }
        }
        match keys.known.get(kid) {
            Some(key) => Ok(key.clone()),
            None if keys.until.is_none() => Err(IdentityError::Keys("they were asked for a moment ago".to_owned())),
            None => Err(IdentityError::UnknownKey),
        }
    }

    async fn fetch(&self) -> Result<(HashMap<String, DecodingKey>, Duration), String> {
        let host = http::host(&self.jwks_url);
        let response = self.client.get(self.jwks_url.clone()).send().await;
        let response = response.map_err(|error| format!("{host}: {}", http::chain(&error.without_url())))?;
        if !response.status().is_success() {
            return Err(format!("{host} answered {}", response.status()));
        }
        let keep = keep_of(response.headers());
        let body = http::body(response).await.map_err(|problem| format!("{host}: {problem}"))?;
        let set: KeySet = serde_json::from_slice(&body).map_err(|_| format!("{host}: the answer is no set of keys"))?;
        let known: HashMap<String, DecodingKey> = set
            .keys
            .iter()
            .filter(|key| key.kty == "RSA")
            .filter_map(|key| Some((key.kid.clone(), DecodingKey::from_rsa_components(&key.n, &key.e).ok()?)))
            .collect();
        if known.is_empty() { Err(format!("{host}: the set has no usable key")) } else { Ok((known, keep)) }
    }
}

/// How long an answer may be kept, by its `Cache-Control`.
fn keep_of(headers: &HeaderMap) -> Duration {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let seconds = control.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    seconds.map_or(KEEP, Duration::from_secs).clamp(KEEP_AT_LEAST, KEEP_AT_MOST)
}

fn reason(kind: &ErrorKind) -> IdentityError {
    match kind {
        ErrorKind::InvalidSignature => IdentityError::Signature,
        ErrorKind::InvalidIssuer => IdentityError::Issuer,
        ErrorKind::InvalidAudience => IdentityError::Audience,
        ErrorKind::MissingRequiredClaim(_) => IdentityError::Malformed("a claim is missing"),
        _ => IdentityError::Malformed("its claims cannot be read"),
    }
}
