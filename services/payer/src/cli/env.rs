//! The environment of the compatible one-shot commands: process variables and a `.env` file.
//!
//! The tool these commands replace let the file win over the process environment, so a stale file in an image silently
//! beat the operator's setting. Here the environment wins, and a command says on stderr when both name a different value.
//! [`PRECEDENCE_VARIABLE`]`=file` restores the old order for who relied on it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

/// Variable that says which source wins: `environment` (default) or `file`.
pub const PRECEDENCE_VARIABLE: &str = "WINDLASS_DOTENV";

/// Name of the file that is read from the working folder.
pub const FILE_NAME: &str = ".env";

/// How a one-shot command ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `monitor`: paid. `deploy`: deployed and mined.
    Success = 0,
    /// `monitor`: unpaid, or the contract gave no answer (revert, no code, error answer of the node). `deploy`: refused or
    /// failed. Bad settings.
    Failure = 1,
    /// The endpoint could not be asked, or the result did not come within the time limit: nothing is known.
    CannotTell = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Which of two values of one variable counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precedence {
    /// A process variable beats the file.
    #[default]
    Environment,
    /// The file beats a process variable.
    File,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process variable.
    Environment,
    /// The `.env` file.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Environment => "the environment",
            Origin::File => FILE_NAME,
        })
    }
}

/// Something about the sources that an operator should know. None of them stops a command.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentWarning {
    /// The file exists but cannot be read as text.
    #[error("{FILE_NAME} is ignored: {0}")]
    Unreadable(#[source] io::Error),
    /// [`PRECEDENCE_VARIABLE`] has a value that is not known.
    #[error("{PRECEDENCE_VARIABLE}={0} is ignored: must be `environment` or `file`")]
    Precedence(String),
}

/// Variables by name, each with where it came from.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    precedence: Precedence,
}

impl Environment {
    /// Puts together process variables and the text of a `.env` file.
    pub fn new(process: impl IntoIterator<Item = (String, String)>, file: &str, precedence: Precedence) -> Self {
        Self { process: process.into_iter().collect(), file: parse_dotenv(file), precedence }
    }

    /// The variables of this process and the `.env` file in `folder`, which need not exist. Variables that are not UTF-8
    /// are left out: none of ours can be such.
    pub fn of_process(folder: &Path) -> (Self, Vec<EnvironmentWarning>) {
        let mut warnings = Vec::new();
        let file = match std::fs::read(folder.join(FILE_NAME)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warnings.push(EnvironmentWarning::Unreadable(error));
                }
                String::new()
            }
        };
        let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut environment = Self::new(process, &file, Precedence::default());
        match environment.process.get(PRECEDENCE_VARIABLE).map(String::as_str) {
            None | Some("" | "environment") => {}
            Some("file") => environment.precedence = Precedence::File,
            Some(other) => warnings.push(EnvironmentWarning::Precedence(other.to_owned())),
        }
        (environment, warnings)
    }

    /// The value of a variable; empty when it is missing, because the commands never tell the two apart.
    pub fn get(&self, name: &str) -> &str {
        self.lookup(name).map_or("", |(value, _)| value)
    }

    /// Where the value of a variable came from. `None`: it is set nowhere.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.lookup(name).map(|(_, origin)| origin)
    }

    /// The variables that the file sets for a child process: those whose file value is the one that counts.
    pub fn additions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.file.keys().filter_map(|name| match self.lookup(name) {
            Some((value, Origin::File)) => Some((name.as_str(), value)),
            _ => None,
        })
    }

    /// One line for each of `names` that both sources set to different values. Values are not shown: one may be a key.
    pub fn conflicts(&self, names: &[&str]) -> Vec<String> {
        names
            .iter()
            .filter(|name| matches!((self.process.get(**name), self.file.get(**name)), (Some(a), Some(b)) if a != b))
            .filter_map(|name| Some((name, self.origin(name)?)))
            .map(|(name, origin)| {
                let other = if origin == Origin::File { Origin::Environment } else { Origin::File };
                format!("note: {name} is taken from {origin}; {other} has another value")
            })
            .collect()
    }

    fn lookup(&self, name: &str) -> Option<(&str, Origin)> {
        let process = self.process.get(name).map(|value| (value.as_str(), Origin::Environment));
        let file = self.file.get(name).map(|value| (value.as_str(), Origin::File));
        match self.precedence {
            Precedence::Environment => process.or(file),
            Precedence::File => file.or(process),
        }
    }
}

/// Reads the `.env` format: `NAME=value` or `NAME: value`, optionally after `export`, one a line; a value may be quoted
/// with `'`, `"` or a back quote and then span lines; in double quotes `\n` and `\r` are line ends; `#` starts a comment
/// outside quotes. Lines of another shape are skipped. A name set twice has its last value.
fn parse_dotenv(text: &str) -> BTreeMap<String, String> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut values = BTreeMap::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        match parse_assignment(rest) {
            Some((name, value, after)) => {
                values.insert(name.to_owned(), value);
                rest = after;
            }
            None => rest = rest.split_once('\n').map_or("", |(_, after)| after),
        }
    }
    values
}

/// One assignment at the start of `text`: name, value, and what follows its line.
fn parse_assignment(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start();
    let text = match text.strip_prefix("export") {
        Some(after) if after.starts_with(char::is_whitespace) => after.trim_start(),
        _ => text,
    };
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    let (name, after) = text.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    let after = match after.trim_start().strip_prefix('=') {
        Some(after) => after,
        None => after.strip_prefix(':').filter(|after| after.starts_with(char::is_whitespace))?,
    };
    let (value, after) = parse_quoted(after).unwrap_or_else(|| parse_plain(after));
    Some((name, value, after))
}

/// A quoted value, if the closing quote is there and only a comment follows it on its line.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"' | '`'))?;
    let body = text.get(1..)?;
    let mut escaped = false;
    let close = body.find(|c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let value = body.get(..close)?;
    let (tail, after) = split_line(body.get(close + 1..)?);
    let tail = tail.trim();
    if !(tail.is_empty() || tail.starts_with('#')) {
        return None;
    }
    let value = if quote == '"' { value.replace("\\n", "\n").replace("\\r", "\r") } else { value.to_owned() };
    Some((value, after))
}

/// A value without quotes: up to a comment or the end of the line, without blanks around.
fn parse_plain(text: &str) -> (String, &str) {
    let (line, after) = split_line(text);
    let value = line.split_once('#').map_or(line, |(value, _)| value);
    (value.trim().to_owned(), after)
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse_dotenv(text).into_iter().collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn plain_values() {
        let text = "A=1\n B = two words  \r\nexport C=3 # comment\n# D=4\nE=\nF: 6\nG:7\nexportH=8\nnothing here\nA=last";
        let expected = [("A", "last"), ("B", "two words"), ("C", "3"), ("E", ""), ("F", "6"), ("exportH", "8")];
        assert_eq!(read(text), pairs(&expected));
    }

    #[test]
    fn quoted_values() {
        let text = concat!(
            "A='one # two'\nB=\"line\\nbreak\" # comment\nC=`back 'quote'`\nD=\"two\nlines\"\n",
            "E='no \\n here'\nF=\"open\nG=\"x\" y\nH=\"a \\\" b\"\n",
        );
        let expected = [
            ("A", "one # two"),
            ("B", "line\nbreak"),
            ("C", "back 'quote'"),
            ("D", "two\nlines"),
            ("E", "no \\n here"),
            ("F", "\"open"),
            ("G", "\"x\" y"),
            ("H", "a \\\" b"),
        ];
        assert_eq!(read(text), pairs(&expected));
    }

    #[test]
    fn a_value_stops_at_its_own_line() {
        assert_eq!(read("A=\nB=2"), pairs(&[("A", ""), ("B", "2")]));
        assert_eq!(read("\u{feff}A=1"), pairs(&[("A", "1")]));
        assert_eq!(read(""), pairs(&[]));
        assert_eq!(read("A"), pairs(&[]));
    }

    #[test]
    fn the_environment_wins_unless_told_otherwise() {
        let process = pairs(&[("RPC_URL", "process"), ("ONLY_PROCESS", "1")]);
        let file = "RPC_URL=file\nONLY_FILE=2";
        let environment = Environment::new(process.clone(), file, Precedence::Environment);
        assert_eq!(environment.get("RPC_URL"), "process");
        assert_eq!(environment.get("ONLY_FILE"), "2");
        assert_eq!(environment.get("MISSING"), "");
        assert_eq!(environment.origin("ONLY_FILE"), Some(Origin::File));
        assert_eq!(environment.additions().collect::<Vec<_>>(), [("ONLY_FILE", "2")]);
        let conflicts = environment.conflicts(&["RPC_URL", "ONLY_FILE", "MISSING"]);
        assert_eq!(conflicts, ["note: RPC_URL is taken from the environment; .env has another value"]);

        let environment = Environment::new(process, file, Precedence::File);
        assert_eq!(environment.get("RPC_URL"), "file");
        assert_eq!(environment.additions().count(), 2);
        let conflicts = environment.conflicts(&["RPC_URL"]);
        assert_eq!(conflicts, ["note: RPC_URL is taken from .env; the environment has another value"]);
    }

    #[test]
    fn equal_values_are_no_conflict() {
        let environment = Environment::new(pairs(&[("A", "1")]), "A=1", Precedence::Environment);
        assert!(environment.conflicts(&["A"]).is_empty());
    }

    #[test]
    fn a_missing_file_is_fine_and_an_unreadable_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Environment::of_process(folder.path()).1.is_empty());
        std::fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
        let (_, warnings) = Environment::of_process(folder.path());
        assert!(matches!(warnings.as_slice(), [EnvironmentWarning::Unreadable(_)]), "{warnings:?}");
    }

    #[test]
    fn the_file_is_read_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "WINDLASS_TEST_ONLY_IN_FILE=yes\n").unwrap();
        let (environment, _) = Environment::of_process(folder.path());
        assert_eq!(environment.get("WINDLASS_TEST_ONLY_IN_FILE"), "yes");
    }
}
