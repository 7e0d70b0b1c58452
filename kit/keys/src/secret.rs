//! Values that must not be seen, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use crate::KeyError;

/// A value that is wiped when it is dropped and shown as `***` wherever it is printed.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. The name is long enough to be found in a review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from, as written in the configuration file.
///
/// | Text | Source |
/// | --- | --- |
/// | `env:NAME` | environment variable `NAME` |
/// | `file:PATH` | first line of a file that only its owner can read |
/// | `command:PROGRAM ARGUMENT …` | standard output of a program, split at blanks, run without a shell |
/// | anything else | the secret itself: for development only |
#[derive(Clone)]
pub enum SecretSource {
    /// The secret itself stands in the configuration.
    Plain(Secret<String>),
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// A program and its arguments.
    Command(Vec<String>),
}

impl SecretSource {
    /// Whether the secret stands in the configuration file in clear, which deserves a warning.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Fetches the secret. A line end at its end is not part of it.
    ///
    /// A command is given no standard input; it is waited for without a limit, because it may ask a person to touch a token.
    pub fn resolve(&self) -> Result<Secret<String>, KeyError> {
        let secret = match self {
            Self::Plain(secret) => secret.clone(),
            Self::Env(name) => Secret::new(std::env::var(name).map_err(|_| KeyError::MissingVariable { name: name.clone() })?),
            Self::File(path) => read_secret_file(path)?,
            Self::Command(arguments) => run_secret_command(arguments)?,
        };
        let trimmed = secret.expose().trim_end_matches(['\n', '\r']);
        if trimmed.is_empty() {
            return Err(KeyError::Empty { what: self.to_string() });
        }
        Ok(Secret::new(trimmed.to_owned()))
    }
}

/// Reads a file that holds a secret, refusing one that other users can read.
pub fn read_secret_file(path: &Path) -> Result<Secret<String>, KeyError> {
    let read_error = |source| KeyError::ReadFile { path: path.to_owned(), source };
    refuse_open_permissions(path).map_err(|error| match error {
        PermissionCheck::Unreadable(source) => read_error(source),
        PermissionCheck::Open(mode) => KeyError::OpenPermissions { path: path.to_owned(), mode },
    })?;
    std::fs::read_to_string(path).map(Secret::new).map_err(read_error)
}

enum PermissionCheck {
    Unreadable(std::io::Error),
    Open(u32),
}

#[cfg(unix)]
fn refuse_open_permissions(path: &Path) -> Result<(), PermissionCheck> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_err(PermissionCheck::Unreadable)?.permissions().mode() & 0o777;
    // Group access is common and deliberate with orchestrators that mount secrets for a group; the world's is a mistake.
    if mode & 0o007 == 0 { Ok(()) } else { Err(PermissionCheck::Open(mode)) }
}

#[cfg(not(unix))]
fn refuse_open_permissions(path: &Path) -> Result<(), PermissionCheck> {
    std::fs::metadata(path).map(|_| ()).map_err(PermissionCheck::Unreadable)
}

fn run_secret_command(arguments: &[String]) -> Result<Secret<String>, KeyError> {
    let Some((program, rest)) = arguments.split_first() else {
        return Err(KeyError::Empty { what: "command:".to_owned() });
    };
    let failed = |reason: String| KeyError::Command { program: program.clone(), reason };
    let output = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    std::str::from_utf8(&stdout)
        .map(|text| Secret::new(text.to_owned()))
        .map_err(|_| failed("its output is not UTF-8".to_owned()))
}

impl FromStr for SecretSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.trim().to_owned())
        } else if let Some(path) = text.strip_prefix("file:") {
            Self::File(PathBuf::from(path.trim()))
        } else if let Some(line) = text.strip_prefix("command:") {
            Self::Command(line.split_whitespace().map(str::to_owned).collect())
        } else {
            Self::Plain(Secret::new(text.to_owned()))
        })
    }
}

/// Names the source; a plain secret is shown as `***`.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(secret) => secret.fmt(f),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            // Arguments of such a command may be secret themselves (a token for a vault).
            Self::Command(arguments) => write!(f, "command:{} …", arguments.first().map_or("", String::as_str)),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let Ok(source) = text.parse();
        Ok(source)
    }
}

/// Serialises to what [`fmt::Display`] shows, so that a dumped configuration never holds a secret.
impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn source(text: &str) -> SecretSource {
        let Ok(source) = text.parse();
        source
    }

    #[test]
    fn nothing_prints_a_secret() {
        let plain = source("hunter2");
        assert!(plain.is_plain());
        for shown in [
            format!("{plain} {plain:?}"),
            serde_json::to_string(&plain).unwrap(),
            format!("{:?}", plain.resolve().unwrap()),
            source("command:vault read -token=hunter2").to_string(),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(plain.resolve().unwrap().expose(), "hunter2");
    }

    #[test]
    fn each_source_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "from file\n").unwrap();
        set_mode(&path, 0o600);
        assert_eq!(source(&format!("file:{}", path.display())).resolve().unwrap().expose(), "from file");
        assert_eq!(source("command:echo from command").resolve().unwrap().expose(), "from command");
        assert_eq!(source("env:CARGO_PKG_NAME").resolve().unwrap().expose(), "windlass-keys");
    }

    #[test]
    fn each_failure_names_the_source_and_not_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        std::fs::write(&open, "hunter2").unwrap();
        set_mode(&open, 0o644);
        let empty = directory.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        set_mode(&empty, 0o600);
        for (text, expected) in [
            (format!("file:{}", open.display()), "can be read by other users (mode 644)"),
            (format!("file:{}", empty.display()), "is empty"),
            ("file:/nowhere/key".to_owned(), "cannot read /nowhere/key"),
            ("env:WINDLASS_NOT_SET_ANYWHERE".to_owned(), "environment variable WINDLASS_NOT_SET_ANYWHERE is not set"),
            ("command:false".to_owned(), "the command false that should print a secret failed"),
            ("command:/nowhere/program x".to_owned(), "the command /nowhere/program that should"),
            ("command:".to_owned(), "command: is empty"),
        ] {
            let error = source(&text).resolve().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}
