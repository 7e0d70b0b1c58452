//! `poll_tasks`: which task numbers are read, and which tasks are served.
//!
//! The original compares callers as text, so that an address in another spelling never matches, and waits when the count of tasks
//! falls. Ours compares 20 bytes (section 6, case 20) and reads fallen numbers again, which other tasks take after a reorganisation
//! (case 3). Both rules are run here; where they differ, the recorded outcome must be that of the original's rule.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes, U256};
use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_vrf::machine::scan::is_wanted;
use windlass_vrf::machine::{ChainTask, Scan};

use super::super::same;
use super::common::document;
use crate::{Deviation, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    start_nonce: u64,
    rounds: Vec<Round>,
    whitelist: Vec<String>,
    task_rule: String,
    asked: Vec<Vec<u64>>,
    queued_nonces: Vec<u64>,
    errors: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Round {
    task_nonce: Option<u64>,
    #[serde(default)]
    lens_fails: bool,
}

/// `task k: is_resolved = (k mod 4 == 3), caller = list[k mod 3] of [..A1, ..b2, ..C3]`
struct TaskRule {
    modulus: u64,
    resolved: u64,
    callers: Vec<Address>,
}

impl TaskRule {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let between = |from: &str, to: &str| {
            let (_, rest) = text.split_once(from).with_context(|| format!("{text:?} has no {from:?}"))?;
            let (found, _) = rest.split_once(to).with_context(|| format!("{text:?} has no {to:?} after {from:?}"))?;
            anyhow::Ok(found.trim())
        };
        let callers = between("of [", "]")?
            .split(',')
            .map(|caller| {
                let digits = caller.trim().trim_start_matches("..");
                format!("0x{digits:0>40}").parse().with_context(|| format!("{caller:?} is no end of an address"))
            })
            .collect::<anyhow::Result<Vec<Address>>>()?;
        let wheel: usize = between("list[k mod ", "]")?.parse()?;
        ensure!(wheel == callers.len() && wheel > 0, "the rule names {wheel} callers and lists {}", callers.len());
        Ok(Self { modulus: between("(k mod ", "==")?.parse()?, resolved: between("==", ")")?.parse()?, callers })
    }

    fn task(&self, nonce: u64) -> anyhow::Result<ChainTask> {
        let place = usize::try_from(nonce)? % self.callers.len();
        let is_resolved = nonce.checked_rem(self.modulus).context("the rule divides by zero")? == self.resolved;
        Ok(ChainTask {
            nonce,
            is_resolved,
            time: 0,
            caller: *self.callers.get(place).context("a caller")?,
            task_fee: U256::ZERO,
            seed: B256::ZERO,
            client_seed: Bytes::new(),
        })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    asked: Vec<Vec<u64>>,
    queued: Vec<u64>,
    errors: Vec<String>,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "poll_tasks")?;
    for (number, case) in document.cases.iter().enumerate() {
        let name = format!("case {number}");
        let outcome = check(&name, case);
        if let Ok(Some(deviation)) = &outcome {
            sheet.deviations.push(deviation.clone());
        }
        sheet.case(&name, outcome.map(|_| ()));
    }
    Ok(())
}

fn check(name: &str, case: &Case) -> anyhow::Result<Option<Deviation>> {
    let rule = TaskRule::parse(&case.task_rule)?;
    let listed: BTreeSet<Address> = case
        .whitelist
        .iter()
        .map(|text| text.parse().with_context(|| format!("{text:?} is no address")))
        .collect::<anyhow::Result<_>>()?;
    // An entry in another spelling than the checksummed one matches nothing in the original.
    let spelled: BTreeSet<Address> = case
        .whitelist
        .iter()
        .filter_map(|text| Some((text, text.parse::<Address>().ok()?)))
        .filter(|(text, a)| a.to_checksum(None) == **text)
        .map(|(_, a)| a)
        .collect();
    let ours = poll(case, &rule, &listed, true)?;
    let original = poll(case, &rule, &spelled, false)?;
    same("asked", &original.asked, &case.asked)?;
    same("queued", &original.queued, &case.queued_nonces)?;
    same("errors", &original.errors, &case.errors)?;
    if ours == original {
        return Ok(None);
    }
    let section = if listed == spelled { "6, case 3" } else { "6, case 20" };
    let text = |outcome: &Outcome| format!("asks {:?}, serves {:?}", outcome.asked, outcome.queued);
    Ok(Some(Deviation { case: name.to_owned(), recorded: text(&original), ours: text(&ours), section }))
}

fn poll(case: &Case, rule: &TaskRule, callers: &BTreeSet<Address>, reads_fallen: bool) -> anyhow::Result<Outcome> {
    let mut scan = Scan { next: case.start_nonce };
    let mut outcome = Outcome::default();
    for round in &case.rounds {
        let Some(task_nonce) = round.task_nonce else {
            outcome.errors.push("Error polling tasks: rpc down".to_owned());
            continue;
        };
        if reads_fallen {
            scan.fell_to(task_nonce, case.start_nonce);
        }
        let Some(range) = scan.unread(task_nonce) else { continue };
        outcome.asked.push(range.clone().collect());
        if round.lens_fails {
            outcome.errors.push("Error polling tasks: lens down".to_owned());
            continue;
        }
        scan.read(&range);
        for nonce in range {
            if is_wanted(&rule.task(nonce)?, callers) {
                outcome.queued.push(nonce);
            }
        }
    }
    Ok(outcome)
}
