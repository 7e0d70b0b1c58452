//! From the configured program to a [`Target`].

use std::sync::Arc;

use windlass_account::secret;

use crate::actions::Limits;
use crate::config::TargetConfig;
use crate::error::PayerError;
use crate::ports::Target;
use crate::ports::command::CommandTarget;
use crate::ports::docker::{Docker, DockerTarget};
use crate::ports::http::HttpTarget;
use crate::ports::kubernetes::KubernetesTarget;
use crate::ports::signal::SignalTarget;
use crate::ports::systemd::SystemdTarget;

/// Builds the target. Reads secrets and certificates, but contacts nobody.
pub fn build(config: &TargetConfig, limits: Limits) -> Result<Arc<dyn Target>, PayerError> {
    let limit = limits.act;
    Ok(match config {
        TargetConfig::Command { stop, resume, check } => {
            Arc::new(CommandTarget { stop: stop.clone(), resume: resume.clone(), check: check.clone(), limit })
        }
        TargetConfig::Docker { host, container, patience } => Arc::new(DockerTarget {
            docker: Docker::new(host.clone(), limit.saturating_sub(*patience).max(limit / 2)),
            container: container.clone(),
            patience: *patience,
        }),
        TargetConfig::Http { stop_url, ping_url, resume_url, token } => {
            let token = token.as_ref().map(|text| secret(text).resolve()).transpose()?;
            Arc::new(HttpTarget::new(stop_url.clone(), ping_url.clone(), resume_url.clone(), token, limit)?)
        }
        TargetConfig::Systemd { unit, user } => {
            Arc::new(SystemdTarget { unit: unit.clone(), user: *user, systemctl: "systemctl".into(), limit })
        }
        TargetConfig::Signal { source, signal, kill_after, resume } => {
            Arc::new(SignalTarget::new(source.clone(), *signal, Some(*kill_after), resume.clone(), limit))
        }
        TargetConfig::Kubernetes { api, namespace, workload, name, replicas, token_file, authority_file } => {
            let authority = authority_file
                .as_ref()
                .map(|path| {
                    std::fs::read(path).map_err(|source| PayerError::File {
                        what: format!("reading the certificate authority {}", path.display()),
                        source,
                    })
                })
                .transpose()?;
            Arc::new(KubernetesTarget::new(
                api,
                (namespace, *workload, name),
                token_file.clone(),
                authority.as_deref(),
                *replicas,
                limit,
            )?)
        }
    })
}
