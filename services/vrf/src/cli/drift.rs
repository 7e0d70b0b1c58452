//! `drift`: the Bridge's validators beside those that sign on BandChain now.

use alloy_primitives::U256;

use super::commands::RelayArgs;
use super::failure::{FAILURE, Failure};
use super::output::{Output, pairs, table};
use super::run::Handles;
use crate::drift::DriftReport;
use crate::service::provider_reader;

pub(super) async fn drift(handles: &dyn Handles, relay: &RelayArgs, output: &mut Output<'_>) -> Result<u8, Failure> {
    let (_, config) = handles.section(relay.relay.as_deref()).await?;
    let endpoints = handles.chain(&config.chain).await?;
    let band = handles.band(&config).await?;
    let report = DriftReport::read(&provider_reader(endpoints, &config), &*band).await?;
    output.result(&report, render);
    if report.can_relay {
        return Ok(0);
    }
    output.remark("the Bridge refuses every block of BandChain until its updater gives it the powers of now");
    Ok(FAILURE)
}

fn render(report: &DriftReport) -> String {
    let spare = match (report.spare, report.spare_per_mille) {
        (Some(spare), Some(per_mille)) => format!("{spare} ({}.{} %)", per_mille / 10, per_mille % 10),
        _ => "none".to_owned(),
    };
    let page = pairs(&[
        ("bridge", report.bridge.to_string()),
        ("Band chain", report.chain_id.clone().unwrap_or_else(|| "its encoded chain id is not one".to_owned())),
        ("validators", format!("{} at the Bridge, {} live", report.bridge_validators, report.live_validators)),
        ("accepted power", format!("{} of {}, {} are needed", report.reachable, report.bridge_total, report.needed)),
        ("may be missing", spare),
        ("verdict", report.text.clone()),
    ]);
    if report.differences.is_empty() {
        return page;
    }
    let text = |power: Option<U256>| power.map_or_else(|| "-".to_owned(), |power| power.to_string());
    let rows: Vec<_> = report
        .differences
        .iter()
        .map(|one| vec![one.address.to_string(), one.kind.to_owned(), text(one.bridge), text(one.live)])
        .collect();
    format!("{page}\n\n{}", table(&["validator", "difference", "at the Bridge", "live"], &rows))
}
