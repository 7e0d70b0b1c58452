//! Settings of the former workers, read and turned into a configuration.
//!
//! Worker 0.1 is told by environment variables and a `.env` file, worker 0.2 by a YAML file. Both are read into one
//! [`WorkerSettings`], from which [`to_toml`] makes the text of a configuration file and [`to_yaml`] the file of worker 0.2. What has no
//! counterpart is told as a [`Note`], what is wrong as an [`ImportError`]: all of them at once, each with its place and a remedy.
//!
//! [`from_worker_env`] and [`from_worker_yaml`] make the same text for a program that is started the way the former workers were.

pub mod cli;
mod env;
mod reader;
mod render;
mod settings;
mod start;
pub mod tasks;
mod yaml;

use std::fmt;

pub use env::{read_env, read_environment};
pub use render::{RenderOptions, SecretStyle, secret_files, to_toml};
pub use settings::{CloudSettings, DatabaseSettings, DeploySettings, Former, FormerSecret, WorkerSettings, section_name};
pub use start::{from_worker_env, from_worker_yaml};
pub use yaml::{read_yaml, to_yaml};

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    Line {
        /// Name of the file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// In a variable of the process.
    Variable(String),
    /// Nowhere: it is missing in the named source.
    Missing(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Missing(source) => f.write_str(source),
        }
    }
}

/// One thing that is wrong in the settings of a former worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// Where.
    pub place: Place,
    /// The variable or key.
    pub key: String,
    /// What must hold.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  rule:   {}\n  remedy: {}", self.place, self.key, self.rule, self.remedy)
    }
}

/// Why settings could not be read. Never shows a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportFailure {
    /// The file is not there. The text is the one of the former worker.
    #[error("{path} not found")]
    NotFound {
        /// The file.
        path: String,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Its content is wrong.
    #[error("{}", list(.0))]
    Settings(Vec<ImportError>),
}

impl ImportFailure {
    /// What the operator can do, where the text does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("check the path, or give another one"),
            Self::Unreadable { .. } => Some("the file must be text in UTF-8 that this user may read"),
            Self::Settings(_) => None,
        }
    }
}

fn list(errors: &[ImportError]) -> String {
    let count = match errors.len() {
        1 => "one error".to_owned(),
        count => format!("{count} errors"),
    };
    let texts: Vec<String> = errors.iter().map(|error| format!("\n\n  {}", error.to_string().replace('\n', "\n  "))).collect();
    format!("the settings have {count}{}", texts.concat())
}

/// Something that an operator should know about the settings. None of them stops anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub place: Place,
    /// The variable or key.
    pub key: String,
    /// What happens to it, and what can be done.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note: {}: {}: {}", self.place, self.key, self.text)
    }
}

/// A configuration made from the settings of a former worker.
pub struct Imported {
    /// Text of a configuration file. May hold secrets, if they stood in a file that only this program reads.
    pub toml: String,
    /// Name of the section `[vrf.<name>]` in it.
    pub name: String,
    /// What an operator should know.
    pub notes: Vec<Note>,
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported").field("name", &self.name).field("notes", &self.notes).finish_non_exhaustive()
    }
}
