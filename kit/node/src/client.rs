//! A client of a running node, for commands that ask it or tell it something.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::config::{HttpSection, SecretText};

/// How long the node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one node over its HTTP interface.
#[derive(Clone, Debug)]
pub struct NodeClient {
    client: reqwest::Client,
    base: Url,
    token: Option<SecretText>,
}

/// Why a node did not do what it was asked for. Names only scheme, host and port: the rest of an address may be secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no node answers at {at}: {why}")]
    NoAnswer {
        /// Where.
        at: String,
        /// The innermost cause.
        why: String,
    },
    /// A token is missing, or it is another one.
    #[error("the node at {at} wants another token")]
    Token {
        /// Where.
        at: String,
    },
    /// The node refuses the request, in the words of its error.
    #[error("{message}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// One word with underscores; empty if the answer has not the shape of the node's errors.
        code: String,
        /// What is wrong.
        message: String,
        /// What can be done.
        hint: Option<String>,
    },
    /// Something else answers there.
    #[error("what answers at {at} is not a windlass node")]
    Foreign {
        /// Where.
        at: String,
    },
    /// The client could not be made, or the path is none.
    #[error("the node cannot be asked: {0}")]
    Setup(String),
}

impl ClientError {
    /// Whether the same question may be answered later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Token { .. } | Self::Foreign { .. } | Self::Setup(_) => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAnswer { .. } => {
                Some("start one with `windlass run`, or say where it listens: --url http://HOST:PORT".to_owned())
            }
            Self::Token { .. } => Some("give --token".to_owned()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Foreign { .. } => Some("say where the node listens: --url http://HOST:PORT".to_owned()),
            Self::Setup(_) => None,
        }
    }
}

/// The node's shape of an error, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    code: String,
    message: String,
    hint: Option<String>,
}

impl NodeClient {
    /// A client of the node at this address, with the token that it wants. Contacts nobody.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(base: Url, token: Option<SecretText>) -> Result<Self, ClientError> {
        // The HTTP client is built for the ring provider, which it finds as the default of the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(Self { client, base, token })
    }

    /// The same node with another token.
    #[must_use]
    pub fn with_token(mut self, token: SecretText) -> Self {
        self.token = Some(token);
        self
    }

    /// Where a node with this section can be called on its own machine.
    ///
    /// # Errors
    /// None that is known: a socket address is always the host of an address.
    pub fn address_of(http: &HttpSection) -> Result<Url, ClientError> {
        let mut listen = http.listen;
        if listen.ip().is_unspecified() {
            // "Every address" is none that can be called.
            listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        Url::parse(&format!("http://{listen}")).map_err(|error| ClientError::Setup(error.to_string()))
    }

    /// Scheme, host and port of the node.
    pub fn at(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Asks for `path`, which is relative: `v1/status`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(self.client.get(self.url(path)?)).await
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(self.client.post(self.url(path)?).json(body)).await
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.base.join(path).map_err(|error| ClientError::Setup(error.to_string()))
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = answer.status();
        if status == reqwest::StatusCode::UNAUTHORIZED {
            return Err(ClientError::Token { at: self.at() });
        }
        let body = answer.bytes().await.map_err(|error| self.no_answer(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| ClientError::Foreign { at: self.at() });
        }
        let status = status.as_u16();
        Err(match serde_json::from_slice::<Told>(&body) {
            Ok(Told { code, message, hint }) => ClientError::Refused { status, code, message, hint },
            Err(_) => {
                let message = format!("the node at {} answered HTTP {status}", self.at());
                ClientError::Refused { status, code: String::new(), message, hint: None }
            }
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let why = if error.is_timeout() { format!("nothing within {} s", TIMEOUT.as_secs()) } else { cause.to_string() };
        ClientError::NoAnswer { at: self.at(), why }
    }
}
