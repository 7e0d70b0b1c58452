//! What is looked at now and then: funds on both chains, and how far the Bridge's validators are from those that sign now.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use tokio_util::sync::CancellationToken;
use windlass_chain::BlockTag;
use windlass_node::alerts::{Alert, Alerts, Severity};
use windlass_vrf_protocol::validators::Drift;

use crate::config::VrfConfig;
use crate::error::VrfError;
use crate::metrics;
use crate::prove;
use crate::shared::{Balances, DriftView, Shared};
use crate::tell::RUNBOOK;
use crate::work::Work;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);
/// Power that may be missing before the drift is worth a warning, in thousandths of the Bridge's total.
const THIN_PER_MILLE: u64 = 50;

/// Looks at funds and validators.
#[derive(Clone)]
pub(crate) struct Watch {
    service: String,
    config: Arc<VrfConfig>,
    worker: Address,
    work: Arc<Work>,
    shared: Arc<Shared>,
    alerts: Alerts,
}

impl Watch {
    pub(crate) fn new(
        service: &str,
        config: &Arc<VrfConfig>,
        worker: Address,
        work: Arc<Work>,
        shared: Arc<Shared>,
        alerts: Alerts,
    ) -> Self {
        Self { service: service.to_owned(), config: Arc::clone(config), worker, work, shared, alerts }
    }

    pub(crate) async fn run(&self, token: CancellationToken) -> Result<(), VrfError> {
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                () = self.look() => {}
            }
            // The Bridge is read by the agent first: soon after the start there is more to see.
            let pause = if self.shared.drift().is_some() { EVERY } else { Duration::from_secs(5) };
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(&self) {
        let client_wei = self.work.endpoints().balance(self.worker, BlockTag::Latest).await.ok();
        let band = self.work.band().balance(self.work.band_address(), &self.config.band.denom).await.ok();
        let balances = Balances { client_wei, band };
        metrics::balances(self.instance(), &balances);
        self.shared.set_balances(balances);
        if let Some(wei) = client_wei {
            self.funds("low_balance", "the client chain's account", wei, self.config.low_balance.wei(), "wei");
        }
        if let Some(band) = band {
            let limit = U256::from(self.config.band.low_balance);
            self.funds("band_low_balance", "the Band account", U256::from(band), limit, &self.config.band.denom);
        }
        if let Some(drift) = self.drift().await {
            metrics::drift(self.instance(), &drift);
            self.warn_of(&drift);
            self.shared.set_drift(Some(drift));
        }
    }

    fn instance(&self) -> &str {
        self.service.strip_prefix("vrf.").unwrap_or(&self.service)
    }

    fn funds(&self, key: &str, whose: &str, have: U256, limit: U256, unit: &str) {
        let raised = (have < limit).then(|| {
            let title = format!("{}: {whose} holds {have} {unit}, less than {limit}", self.instance());
            Alert::new(self.service.as_str(), key, Severity::Warning, title, RUNBOOK)
        });
        self.alerts.set(&self.service, key, raised);
    }

    async fn drift(&self) -> Option<DriftView> {
        let bridge = self.work.bridge()?;
        let live = self.work.band().validators().await.ok()?;
        let drift = prove::drift(&bridge.validators, &live).ok()?;
        Some(DriftView { text: describe(&drift), can_relay: drift.can_relay(), spare_per_mille: drift.spare_per_mille() })
    }

    fn warn_of(&self, drift: &DriftView) {
        let thin = drift.spare_per_mille.is_none_or(|spare| spare < THIN_PER_MILLE);
        let severity = if drift.can_relay { Severity::Warning } else { Severity::Critical };
        let raised = thin.then(|| {
            let title = format!("{}: the Bridge's validators are nearly too old", self.instance());
            Alert::new(self.service.as_str(), "validator_drift", severity, title, RUNBOOK).detail(drift.text.clone())
        });
        self.alerts.set(&self.service, "validator_drift", raised);
    }
}

/// One sentence about a drift.
pub(crate) fn describe(drift: &Drift) -> String {
    if drift.is_none() {
        return "the Bridge knows exactly the validators that sign now".to_owned();
    }
    let spare = drift
        .spare_per_mille()
        .map_or_else(|| "blocks are refused".to_owned(), |spare| format!("{spare}/1000 of the power may still be missing"));
    format!(
        "{} validators changed their power, {} are new, {} are gone: {spare}",
        drift.changed.len(),
        drift.unknown.len(),
        drift.gone.len()
    )
}
