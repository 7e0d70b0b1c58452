//! A Deployment or StatefulSet, stopped by scaling it to zero through the Kubernetes API.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::http::{client, failed, place};
use super::{Target, TargetError};

/// What kind of workload it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// `deployments`
    Deployment,
    /// `statefulsets`
    StatefulSet,
}

/// A workload of a cluster.
pub struct KubernetesTarget {
    client: Client,
    scale_url: Url,
    name: String,
    token_file: PathBuf,
    replicas: u32,
    limit: Duration,
}

#[derive(Deserialize)]
struct Scale {
    #[serde(default)]
    status: ScaleStatus,
}

#[derive(Deserialize, Default)]
struct ScaleStatus {
    #[serde(default)]
    replicas: u32,
}

impl KubernetesTarget {
    /// `replicas` is the number to go back to. The token is read anew for each call: the cluster rotates it.
    pub fn new(
        api: &Url,
        (namespace, workload, name): (&str, Workload, &str),
        token_file: PathBuf,
        authority_pem: Option<&[u8]>,
        replicas: u32,
        limit: Duration,
    ) -> Result<Self, TargetError> {
        let kind = match workload {
            Workload::Deployment => "deployments",
            Workload::StatefulSet => "statefulsets",
        };
        let mut scale_url = api.clone();
        scale_url
            .path_segments_mut()
            .map_err(|()| TargetError::Malformed {
                place: "the Kubernetes API address".into(),
                request: "its path".into(),
                detail: "expected https://host:port".into(),
            })?
            .pop_if_empty()
            .extend(["apis", "apps", "v1", "namespaces", namespace, kind, name, "scale"]);
        Ok(Self { client: client(limit, authority_pem)?, scale_url, name: name.to_owned(), token_file, replicas, limit })
    }

    async fn call(&self, method: Method, body: Option<serde_json::Value>) -> Result<Scale, TargetError> {
        let token = tokio::fs::read_to_string(&self.token_file).await.map_err(|error| TargetError::Unreachable {
            place: format!("token file {}", self.token_file.display()),
            detail: error.to_string(),
        })?;
        let mut request = self.client.request(method.clone(), self.scale_url.clone()).bearer_auth(token.trim());
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/merge-patch+json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| failed(&self.scale_url, self.limit, error))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        match status.as_u16() {
            200 | 201 => serde_json::from_str(&text).map_err(|error| TargetError::Malformed {
                place: place(&self.scale_url),
                request: format!("{method} scale of {}", self.name),
                detail: error.to_string(),
            }),
            404 => Err(TargetError::NotFound { kind: "workload", name: self.name.clone(), near: Vec::new() }),
            _ => Err(TargetError::Refused {
                place: place(&self.scale_url),
                request: format!("{method} scale of {}", self.name),
                status: status.to_string(),
                message: text.trim().chars().take(200).collect(),
            }),
        }
    }

    async fn scale(&self, replicas: u32) -> Result<(), TargetError> {
        self.call(Method::PATCH, Some(json!({ "spec": { "replicas": replicas } }))).await.map(drop)
    }
}

#[async_trait]
impl Target for KubernetesTarget {
    fn describe(&self) -> String {
        format!("workload \"{}\"", self.name)
    }

    fn plan_stop(&self) -> String {
        format!("scale the {} to 0", self.describe())
    }

    fn plan_start(&self) -> Option<String> {
        Some(format!("scale the {} to {}", self.describe(), self.replicas))
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.scale(0).await
    }

    async fn start(&self) -> Result<(), TargetError> {
        self.scale(self.replicas).await
    }

    async fn running(&self) -> Result<Option<bool>, TargetError> {
        Ok(Some(self.call(Method::GET, None).await?.status.replicas > 0))
    }
}
