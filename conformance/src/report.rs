//! What a run found.

use std::fmt;

/// An outcome that differs from the recorded one on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// Name of the case.
    pub case: String,
    /// What the original did.
    pub recorded: String,
    /// What this implementation does.
    pub ours: String,
    /// Section of the protocol document that asks for it.
    pub section: &'static str,
}

/// The result of one document.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// Cases checked, passed or not.
    pub cases: usize,
    /// What differs, one text per case, and faults of the document itself.
    pub failures: Vec<String>,
    /// What differs on purpose.
    pub deviations: Vec<Deviation>,
}

impl Sheet {
    /// A document that could not be run at all.
    pub fn failed(fault: String) -> Self {
        Self { failures: vec![fault], ..Self::default() }
    }

    /// Counts a case and keeps its failure.
    pub fn case(&mut self, name: &str, result: anyhow::Result<()>) {
        self.cases += 1;
        if let Err(fault) = result {
            self.failures.push(format!("{name}: {fault:#}"));
        }
    }

    /// Whether everything agrees.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The result of one file.
#[derive(Debug, Clone)]
pub struct FileReport {
    /// Name of its folder.
    pub protocol: String,
    /// Its name without `.json`.
    pub name: String,
    /// What was found.
    pub sheet: Sheet,
}

/// The result of a run. Its `Display` is what the run prints.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One entry per file, in order.
    pub files: Vec<FileReport>,
    /// Faults of the run as a whole.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether something was checked and everything agrees.
    pub fn passed(&self) -> bool {
        self.faults.is_empty() && !self.files.is_empty() && self.files.iter().all(|file| file.sheet.passed())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for FileReport { protocol, name, sheet } in &self.files {
            let verdict = if sheet.passed() { "" } else { ", FAILED" };
            writeln!(f, "{protocol}/{name}: {} cases{verdict}", sheet.cases)?;
        }
        let deviations: Vec<_> =
            self.files.iter().flat_map(|file| file.sheet.deviations.iter().map(move |deviation| (file, deviation))).collect();
        if !deviations.is_empty() {
            writeln!(f, "\nDeviations asked for by the protocol document:")?;
            writeln!(f, "| Case | Recorded | Ours | Section |\n| --- | --- | --- | --- |")?;
            for (file, Deviation { case, recorded, ours, section }) in deviations {
                writeln!(f, "| {}/{}: {case} | {recorded} | {ours} | {section} |", file.protocol, file.name)?;
            }
        }
        let failures = self.files.iter().flat_map(|file| file.sheet.failures.iter().map(move |failure| (file, failure)));
        for (file, failure) in failures {
            writeln!(f, "\nFAILED {}/{}: {failure}", file.protocol, file.name)?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "\nFAILED {fault}"))
    }
}
