//! A container, through the HTTP API of a Docker engine: inspect, stop, start, and a list of names for error texts.
//!
//! The paths carry no version: the engine then uses its current one, so that neither an old engine nor one that dropped
//! old versions refuses. Podman and filtering socket proxies accept the same paths.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Target, TargetError};

/// Largest answer that is read; an inspection is a few kilobytes, a list of a thousand containers about one megabyte.
const ANSWER_LIMIT_BYTES: usize = 8 << 20;

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain TCP, `host:port`: a socket proxy on a trusted network.
    Tcp(String),
}

impl Default for DockerHost {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/var/run/docker.sock"))
    }
}

impl FromStr for DockerHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err("a Unix socket needs an absolute path: unix:///var/run/docker.sock".into())
            };
        }
        let Some(rest) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return Err("expected unix:///path/to/docker.sock or tcp://host:port".into());
        };
        let rest = rest.trim_end_matches('/');
        match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(rest.to_owned())),
            _ => Err("a TCP address needs host and port: tcp://docker-proxy:2375".into()),
        }
    }
}

impl std::fmt::Display for DockerHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "docker engine at {}", path.display()),
            Self::Tcp(address) => write!(f, "docker engine at {address}"),
        }
    }
}

/// A client of one engine. Each call opens a connection of its own; calls are rare.
#[derive(Debug, Clone)]
pub struct Docker {
    host: DockerHost,
    limit: Duration,
}

/// What an inspection says about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The process runs, or the engine is about to start it again.
    pub running: bool,
    /// Status as the engine words it.
    pub status: String,
    /// Restart policy, `no` when there is none.
    pub restart_policy: String,
}

#[derive(Deserialize)]
struct RawInspection {
    #[serde(rename = "State")]
    state: RawState,
    #[serde(rename = "HostConfig", default)]
    host_config: RawHostConfig,
}

#[derive(Deserialize)]
struct RawState {
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "Restarting", default)]
    restarting: bool,
    #[serde(rename = "Status", default)]
    status: String,
}

#[derive(Deserialize, Default)]
struct RawHostConfig {
    #[serde(rename = "RestartPolicy", default)]
    restart_policy: RawRestartPolicy,
}

#[derive(Deserialize, Default)]
struct RawRestartPolicy {
    #[serde(rename = "Name", default)]
    name: String,
}

#[derive(Deserialize)]
struct RawListed {
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "Labels", default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawError {
    message: String,
}

impl Docker {
    /// A client with a time limit for each call.
    pub fn new(host: DockerHost, limit: Duration) -> Self {
        Self { host, limit }
    }

    /// Looks at a container by name or id.
    pub async fn inspect(&self, container: &str) -> Result<Inspection, TargetError> {
        let path = format!("/containers/{}/json", escape(container));
        let (status, body) = self.call(Method::GET, &path, self.limit).await?;
        if status != StatusCode::OK {
            return Err(self.refusal(container, "inspect", status, &body).await);
        }
        let raw: RawInspection = serde_json::from_slice(&body).map_err(|error| self.malformed("inspect", &error))?;
        let policy = raw.host_config.restart_policy.name;
        Ok(Inspection {
            running: raw.state.running || raw.state.restarting,
            status: raw.state.status,
            restart_policy: if policy.is_empty() { "no".into() } else { policy },
        })
    }

    /// Stops a container; one that stands still already is fine. The engine kills it after `patience`.
    pub async fn stop(&self, container: &str, patience: Duration) -> Result<(), TargetError> {
        let path = format!("/containers/{}/stop?t={}", escape(container), patience.as_secs());
        // The engine answers only when the container has stopped.
        self.change(container, "stop", &path, self.limit.saturating_add(patience)).await
    }

    /// Starts a container; one that runs already is fine.
    pub async fn start(&self, container: &str) -> Result<(), TargetError> {
        let path = format!("/containers/{}/start", escape(container));
        self.change(container, "start", &path, self.limit).await
    }

    async fn change(&self, container: &str, verb: &str, path: &str, limit: Duration) -> Result<(), TargetError> {
        let (status, body) = self.call(Method::POST, path, limit).await?;
        match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::OK => Ok(()),
            other => Err(self.refusal(container, verb, other, &body).await),
        }
    }

    /// Names of containers that could have been meant: same Compose service, or one name within the other.
    async fn near(&self, container: &str) -> Vec<String> {
        let Ok((StatusCode::OK, body)) = self.call(Method::GET, "/containers/json?all=1", self.limit).await else {
            return Vec::new();
        };
        let Ok(listed) = serde_json::from_slice::<Vec<RawListed>>(&body) else { return Vec::new() };
        let wanted = container.to_lowercase();
        let mut near: Vec<String> = listed
            .into_iter()
            .filter_map(|entry| {
                let name = entry.names.first()?.trim_start_matches('/').to_owned();
                let service = entry.labels.get("com.docker.compose.service").is_some_and(|s| s.to_lowercase() == wanted);
                let lower = name.to_lowercase();
                (service || lower.contains(&wanted) || wanted.contains(&lower)).then_some(name)
            })
            .collect();
        near.sort();
        near.truncate(5);
        near
    }

    async fn refusal(&self, container: &str, verb: &str, status: StatusCode, body: &[u8]) -> TargetError {
        if status == StatusCode::NOT_FOUND {
            let near = self.near(container).await;
            return TargetError::NotFound { kind: "container", name: container.to_owned(), near };
        }
        let message = serde_json::from_slice::<RawError>(body).map_or_else(
            |_| String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap_or_default()).trim().to_owned(),
            |error| error.message,
        );
        TargetError::Refused {
            place: self.host.to_string(),
            request: format!("{verb} container \"{container}\""),
            status: status.to_string(),
            message,
        }
    }

    fn malformed(&self, request: &str, detail: &dyn std::fmt::Display) -> TargetError {
        TargetError::Malformed { place: self.host.to_string(), request: request.to_owned(), detail: detail.to_string() }
    }

    async fn call(&self, method: Method, path: &str, limit: Duration) -> Result<(StatusCode, Bytes), TargetError> {
        let exchange = async {
            match &self.host {
                DockerHost::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|error| self.unreachable(&error))?;
                    self.exchange(stream, "docker", method, path).await
                }
                DockerHost::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(|error| self.unreachable(&error))?;
                    self.exchange(stream, address, method, path).await
                }
            }
        };
        timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(TargetError::TimedOut { place: self.host.to_string(), seconds: limit.as_secs() }))
    }

    fn unreachable(&self, detail: &dyn std::fmt::Display) -> TargetError {
        TargetError::Unreachable { place: self.host.to_string(), detail: detail.to_string() }
    }

    async fn exchange<S>(&self, stream: S, host: &str, method: Method, path: &str) -> Result<(StatusCode, Bytes), TargetError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, host)
            .header(hyper::header::CONTENT_LENGTH, 0)
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.malformed(path, &error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES)
                .collect()
                .await
                .map_err(|error| self.malformed(path, &error))?
                .to_bytes();
            Ok((status, body))
        };
        // The connection is driven beside the request and ends with it: nothing is left running.
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            result = &mut answer => result,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(self.unreachable(&error)),
            },
        }
    }
}

/// Percent-encodes what must not stand in a path segment.
fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// A container that is stopped when it is not paid.
#[derive(Debug, Clone)]
pub struct DockerTarget {
    /// The engine.
    pub docker: Docker,
    /// Name or id of the container.
    pub container: String,
    /// How long the engine waits before it kills the container.
    pub patience: Duration,
}

#[async_trait]
impl Target for DockerTarget {
    fn describe(&self) -> String {
        format!("container \"{}\"", self.container)
    }

    fn plan_stop(&self) -> String {
        format!("stop the {} through the {}", self.describe(), self.docker.host)
    }

    fn plan_start(&self) -> Option<String> {
        Some(format!("start the {} through the {}", self.describe(), self.docker.host))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.docker.stop(&self.container, self.patience).await
    }

    async fn start(&self) -> Result<(), TargetError> {
        self.docker.start(&self.container).await
    }

    async fn running(&self) -> Result<Option<bool>, TargetError> {
        Ok(Some(self.docker.inspect(&self.container).await?.running))
    }
}
