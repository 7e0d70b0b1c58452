//! The environment of programs that are started the way an older tool was: process variables and a `.env` file.
//!
//! Such tools differ in what they take for a comment and in which source wins. Here the environment wins, and a program says when both
//! name a different value; [`PRECEDENCE_VARIABLE`]`=file` turns that round for who relied on it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use zeroize::Zeroize;

/// Variable that says which source wins: `environment` (default) or `file`.
pub const PRECEDENCE_VARIABLE: &str = "WINDLASS_DOTENV";

/// Name of the file that is read from the working folder.
pub const FILE_NAME: &str = ".env";

/// Which of two values of one variable counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precedence {
    /// A process variable beats the file.
    #[default]
    Environment,
    /// The file beats a process variable.
    File,
}

/// Where a comment begins in a value without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comments {
    /// At any `#`: the habit of Node.
    #[default]
    Anywhere,
    /// At a `#` after a blank, or where the value would begin: the habit of Python. A password may then hold a `#`.
    AfterBlank,
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

/// Variables by name, each with where it came from. `Debug` shows names only: a value may be a key.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    lines: BTreeMap<String, usize>,
    precedence: Precedence,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("process", &self.process.keys())
            .field("file", &self.file.keys())
            .field("precedence", &self.precedence)
            .finish()
    }
}

impl Environment {
    /// Puts together process variables and the text of a `.env` file with comments in the habit of Node.
    pub fn new(process: impl IntoIterator<Item = (String, String)>, file: &str, precedence: Precedence) -> Self {
        Self::of_file(process, &parse(file, Comments::Anywhere), precedence)
    }

    /// Puts together process variables and a `.env` file that was read.
    pub fn of_file(process: impl IntoIterator<Item = (String, String)>, file: &Dotenv, precedence: Precedence) -> Self {
        let assignments = || file.assignments.iter();
        Self {
            process: process.into_iter().collect(),
            file: assignments().map(|one| (one.name.clone(), one.value.clone())).collect(),
            lines: assignments().map(|one| (one.name.clone(), one.line)).collect(),
            precedence,
        }
    }

    /// The variables of this process and the `.env` file in `folder`, which need not exist; comments in the habit of Node.
    /// Variables that are not UTF-8 are left out: none of ours can be such.
    pub fn of_process(folder: &Path) -> (Self, Vec<EnvironmentWarning>) {
        Self::of_process_with(folder, Comments::Anywhere)
    }

    /// [`of_process`](Self::of_process) with a choice of where comments begin.
    pub fn of_process_with(folder: &Path, comments: Comments) -> (Self, Vec<EnvironmentWarning>) {
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
        let mut environment = Self::of_file(process, &parse(&file, comments), Precedence::default());
        match environment.process.get(PRECEDENCE_VARIABLE).map(String::as_str) {
            None | Some("" | "environment") => {}
            Some("file") => environment.precedence = Precedence::File,
            Some(other) => warnings.push(EnvironmentWarning::Precedence(other.to_owned())),
        }
        (environment, warnings)
    }

    /// The value of a variable; empty when it is missing, because such tools never tell the two apart.
    pub fn get(&self, name: &str) -> &str {
        self.lookup(name).map_or("", |(value, _)| value)
    }

    /// Where the value of a variable came from. `None`: it is set nowhere.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.lookup(name).map(|(_, origin)| origin)
    }

    /// The line of the file, counted from 1, in which a variable has its value; `None` if it is not the file's value that counts.
    pub fn line(&self, name: &str) -> Option<usize> {
        match self.origin(name)? {
            Origin::File => self.lines.get(name).copied(),
            Origin::Environment => None,
        }
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

/// One line `NAME=value` of a `.env` file. The value is cleared on drop and not shown by `Debug`: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the variable.
    pub name: String,
    /// Its value, without quotes and comment.
    pub value: String,
    /// The line it begins in, counted from 1.
    pub line: usize,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=*** in line {}", self.name, self.line)
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// What a `.env` file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// Its assignments in order. Of several with one name the last counts.
    pub assignments: Vec<Assignment>,
    /// The lines, counted from 1, that are neither assignment, comment nor blank; they have no effect.
    pub skipped: Vec<usize>,
}

/// Reads the `.env` format: `NAME=value` or `NAME: value`, optionally after `export`, one a line; a value may be quoted
/// with `'`, `"` or a back quote and then span lines; in double quotes `\n` and `\r` are line ends; `#` starts a comment
/// outside quotes. Never fails: lines of another shape are skipped and told.
pub fn parse(text: &str, comments: Comments) -> Dotenv {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Dotenv::default();
    let mut rest = text.as_str();
    let mut line = 1_usize;
    while !rest.is_empty() {
        let (here, next_line) = split_line(rest);
        let blank = here.trim().is_empty() || here.trim_start().starts_with('#');
        let after = match parse_assignment(rest, comments).filter(|_| !blank) {
            Some((name, value, after)) => {
                found.assignments.push(Assignment { name: name.to_owned(), value, line });
                after
            }
            None => {
                if !blank {
                    found.skipped.push(line);
                }
                next_line
            }
        };
        let taken = rest.len().saturating_sub(after.len());
        line = line.saturating_add(rest.get(..taken).unwrap_or_default().matches('\n').count());
        rest = after;
    }
    found
}

/// One assignment at the start of `text`: name, value, and what follows its line.
fn parse_assignment(text: &str, comments: Comments) -> Option<(&str, String, &str)> {
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
    let (value, after) = parse_quoted(after).unwrap_or_else(|| parse_plain(after, comments));
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
fn parse_plain(text: &str, comments: Comments) -> (String, &str) {
    let (line, after) = split_line(text);
    let end = match comments {
        Comments::Anywhere => line.find('#'),
        Comments::AfterBlank => {
            let mut before = ' ';
            line.find(|c| {
                let begins = c == '#' && before.is_whitespace();
                before = c;
                begins
            })
        }
    };
    let value = end.and_then(|end| line.get(..end)).unwrap_or(line);
    (value.trim().to_owned(), after)
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let map: BTreeMap<String, String> =
            parse(text, Comments::Anywhere).assignments.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
        map.into_iter().collect()
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
    fn lines_are_counted_and_those_without_effect_are_told() {
        let found = parse("# a comment\n\nA=1\nB='two\nlines'\nnot an assignment\n  # another\nC=3\nC=4", Comments::Anywhere);
        let lines: Vec<(&str, usize)> = found.assignments.iter().map(|one| (one.name.as_str(), one.line)).collect();
        assert_eq!(lines, [("A", 3), ("B", 4), ("C", 8), ("C", 9)]);
        assert_eq!(found.skipped, [6]);
        let environment = Environment::of_file(pairs(&[("A", "other")]), &found, Precedence::Environment);
        assert_eq!((environment.line("A"), environment.line("C"), environment.line("D")), (None, Some(9), None));
    }

    #[test]
    fn where_a_comment_begins_is_a_habit() {
        let text = "A=pass#word # comment\nB=# only a comment\nC=x\t#y";
        let values =
            |comments| -> Vec<String> { parse(text, comments).assignments.iter().map(|one| one.value.clone()).collect() };
        assert_eq!(values(Comments::Anywhere), ["pass", "", "x"]);
        assert_eq!(values(Comments::AfterBlank), ["pass#word", "", "x"]);
    }

    #[test]
    fn values_are_not_printed() {
        let found = parse("KEY=hunter2", Comments::Anywhere);
        let environment = Environment::of_file(pairs(&[("OTHER", "hunter2")]), &found, Precedence::File);
        assert!(!format!("{found:?} {environment:?}").contains("hunter2"));
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

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*") {
            let _ = parse(&text, Comments::Anywhere);
            let _ = parse(&text, Comments::AfterBlank);
        }

        #[test]
        fn quoted_values_come_back(values in prop::collection::vec("[ -~&&[^'\\\\]]{0,20}", 1..6)) {
            let text: String = values.iter().enumerate().map(|(index, value)| format!("V{index}='{value}' # c\n")).collect();
            for comments in [Comments::Anywhere, Comments::AfterBlank] {
                let found = parse(&text, comments);
                prop_assert_eq!(found.assignments.iter().map(|one| one.value.clone()).collect::<Vec<_>>(), values.clone());
                prop_assert!(found.assignments.iter().enumerate().all(|(index, one)| one.line == index + 1));
            }
        }
    }
}
