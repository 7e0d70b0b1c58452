//! A program that is stopped by an HTTP request, as a keyper is by `POST /v1/shutdown`.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use windlass_keys::Secret;

use super::{Target, TargetError};

/// A program with an HTTP interface.
pub struct HttpTarget {
    client: Client,
    stop_url: Url,
    ping_url: Option<Url>,
    resume_url: Option<Url>,
    token: Option<Secret<String>>,
    limit: Duration,
}

/// A client that never follows redirects: a request that stops something goes where the operator said, or nowhere.
pub(crate) fn client(limit: Duration, authority_pem: Option<&[u8]>) -> Result<Client, TargetError> {
    // Another part of the process may have installed it before; either way there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let broken = |error: reqwest::Error| TargetError::Malformed {
        place: "the HTTP client".into(),
        request: "its settings".into(),
        detail: error.to_string(),
    };
    let mut builder = Client::builder().timeout(limit).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if let Some(pem) = authority_pem {
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(pem).map_err(broken)?]);
    }
    builder.build().map_err(broken)
}

/// Scheme, host and port: the path may hold a key, the user part a password.
pub(crate) fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

/// The error of a request that got no answer, without its address.
pub(crate) fn failed(url: &Url, limit: Duration, error: reqwest::Error) -> TargetError {
    if error.is_timeout() {
        return TargetError::TimedOut { place: place(url), seconds: limit.as_secs() };
    }
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        detail = cause.to_string();
        source = cause.source();
    }
    TargetError::Unreachable { place: place(url), detail }
}

impl HttpTarget {
    /// `ping_url` answers while the program runs; it is what the stop is verified by.
    pub fn new(
        stop_url: Url,
        ping_url: Option<Url>,
        resume_url: Option<Url>,
        token: Option<Secret<String>>,
        limit: Duration,
    ) -> Result<Self, TargetError> {
        Ok(Self { client: client(limit, None)?, stop_url, ping_url, resume_url, token, limit })
    }

    async fn post(&self, url: &Url) -> Result<(), TargetError> {
        let mut request = self.client.post(url.clone()).header(reqwest::header::CONTENT_LENGTH, 0);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|error| failed(url, self.limit, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        Err(TargetError::Refused {
            place: place(url),
            request: format!("POST {}", url.path()),
            status: status.to_string(),
            message: text.trim().chars().take(200).collect(),
        })
    }
}

#[async_trait]
impl Target for HttpTarget {
    fn describe(&self) -> String {
        format!("the program at {}", place(&self.stop_url))
    }

    fn plan_stop(&self) -> String {
        format!("POST {} to {}", self.stop_url.path(), place(&self.stop_url))
    }

    fn plan_start(&self) -> Option<String> {
        self.resume_url.as_ref().map(|url| format!("POST {} to {}", url.path(), place(url)))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.post(&self.stop_url).await
    }

    async fn start(&self) -> Result<(), TargetError> {
        match &self.resume_url {
            Some(url) => self.post(url).await,
            None => Err(TargetError::Impossible {
                target: self.describe(),
                action: "started",
                why: "a program that has ended answers no request; set `resume_url` to whatever starts it".into(),
            }),
        }
    }

    /// A refused connection means that nothing listens: the program is gone. A time-out proves nothing.
    async fn running(&self) -> Result<Option<bool>, TargetError> {
        let Some(url) = &self.ping_url else { return Ok(None) };
        match self.client.get(url.clone()).send().await {
            // A proxy in front answers in place of a program that is gone.
            Ok(answer) => Ok(Some(!matches!(
                answer.status(),
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
            ))),
            Err(error) if error.is_connect() && !error.is_timeout() => Ok(Some(false)),
            Err(error) => Err(failed(url, self.limit, error)),
        }
    }
}
