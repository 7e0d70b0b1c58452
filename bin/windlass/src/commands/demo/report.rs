//! What the demonstration did, as live lines on standard error and as the table at its end.

use std::time::Instant;

use serde::Serialize;

use crate::output::{note, table};

/// One step that was done and checked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    service: &'static str,
    step: String,
    checked: String,
    milliseconds: u128,
}

/// The steps so far.
#[derive(Debug)]
pub(super) struct Report {
    steps: Vec<Step>,
    current: (&'static str, String),
    begun: Instant,
}

impl Report {
    pub(super) fn begin() -> Self {
        Self { steps: Vec::new(), current: ("demo", "start".to_owned()), begun: Instant::now() }
    }

    /// Announces a step.
    pub(super) fn step(&mut self, service: &'static str, step: impl Into<String>) {
        self.current = (service, step.into());
        self.begun = Instant::now();
        note(&format!("  {} … {}", self.current.0, self.current.1));
    }

    /// Notes that the announced step was done, and what was found when it was checked.
    pub(super) fn done(&mut self, checked: impl Into<String>) {
        let step = Step {
            service: self.current.0,
            step: self.current.1.clone(),
            checked: checked.into(),
            milliseconds: self.begun.elapsed().as_millis(),
        };
        note(&format!("  {} ✓ {} [{} ms]", step.service, step.checked, step.milliseconds));
        self.steps.push(step);
    }

    /// The step that was announced last.
    pub(super) fn current(&self) -> &str {
        &self.current.1
    }

    pub(super) fn finish(&self) -> Vec<Step> {
        self.steps.clone()
    }
}

/// The summary table.
#[expect(clippy::ptr_arg, reason = "the shape that the printer calls")]
pub(super) fn render(steps: &Vec<Step>) -> String {
    let rows: Vec<_> = steps
        .iter()
        .map(|step| vec![step.service.to_owned(), step.step.clone(), format!("{} ms", step.milliseconds), step.checked.clone()])
        .collect();
    format!("{}\n\n{} steps done and checked", table(&["service", "step", "took", "checked"], &rows), steps.len())
}
