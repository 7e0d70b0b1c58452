//! What can be wrong with a configuration, and where a value came from.

use std::fmt;

use serde::Serialize;

/// Where a value came from. In order of precedence: flag, environment, file, default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Origin {
    /// `--set section.key=value`.
    Flag,
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The configuration file.
    File {
        /// Its name as given.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
    },
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--set"),
            Self::Environment { variable } => f.write_str(variable),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The key with its section: `payer.gnosis.poll_interval`. Empty when a place in the file is meant, the name of the file when
    /// it cannot be read.
    pub key: String,
    /// The value as given, masked if it is or may be secret; `None` when it is missing.
    pub value: Option<String>,
    /// What must hold.
    pub rule: String,
    /// What to do.
    pub remedy: String,
    /// Where the value, or the place where it is missing, stands.
    pub origin: Origin,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.key.is_empty()) {
            (Origin::Default, true) => {}
            (Origin::Default, false) => f.write_str(&self.key)?,
            (origin, true) => write!(f, "{origin}")?,
            (origin, false) => write!(f, "{origin}: {}", self.key)?,
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, "\n    rule:   {}\n    remedy: {}", self.rule, self.remedy)
    }
}

/// Everything that is wrong, in the order of the file, then what is not in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// A single error about the file as a whole.
    pub(crate) fn file(file: &str, line: usize, column: usize, rule: String, remedy: String) -> Self {
        let origin = Origin::File { file: file.to_owned(), line, column };
        Self(vec![ConfigError { key: String::new(), value: None, rule, remedy, origin }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has one error")?,
            count => write!(f, "the configuration has {count} errors")?,
        }
        for error in &self.0 {
            write!(f, "\n\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
