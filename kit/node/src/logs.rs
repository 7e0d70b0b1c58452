//! The log: text or JSON on standard error, a level that can be changed while running, and no secrets in it.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use crate::config::{LogFormat, LogSection, MASK, SecretText};
use crate::error::NodeError;

/// Secrets shorter than this are not searched for: they would blot out ordinary words.
const MIN_SECRET: usize = 8;

/// Reads a level or directives.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in text.split(',') {
        // The library takes any word for a target. Here a word alone must be a level.
        let (target, level) = directive.rsplit_once('=').unwrap_or(("-", directive));
        let level = level.trim().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            return Err(match crate::config::suggest(&level, LEVELS) {
                Some(other) => format!("{level:?} is no level, did you mean {other:?}?"),
                None => format!("{level:?} is no level"),
            });
        }
        if target.trim().is_empty() {
            return Err("a target is empty".to_owned());
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// The texts that no log line may hold. Clones share them.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Arc<ArcSwap<Vec<SecretText>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.load().len())
    }
}

impl Redactor {
    /// Adds secrets. Those of less than eight characters are ignored.
    pub fn add(&self, secrets: impl IntoIterator<Item = SecretText>) {
        let fresh: Vec<SecretText> = secrets.into_iter().filter(|secret| secret.expose().len() >= MIN_SECRET).collect();
        self.secrets.rcu(|known| {
            let mut all = known.as_ref().clone();
            all.extend(fresh.iter().filter(|secret| !known.contains(secret)).cloned());
            // The longest first, so that a secret that contains another is masked whole.
            all.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
            all
        });
    }

    /// The text with every known secret replaced.
    pub fn clean(&self, text: &str) -> Option<String> {
        let secrets = self.secrets.load();
        let mut cleaned: Option<String> = None;
        for secret in secrets.iter() {
            let current = cleaned.as_deref().unwrap_or(text);
            if current.contains(secret.expose()) {
                cleaned = Some(current.replace(secret.expose(), MASK));
            }
        }
        cleaned
    }
}

/// Where lines go after they were cleaned.
type Sink = Arc<Mutex<dyn Write + Send>>;

/// Makes writers that clean each line.
#[derive(Clone)]
struct CleanWriter {
    redactor: Redactor,
    sink: Sink,
}

impl Write for CleanWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The subscriber writes a whole line at once.
        let mut sink = self.sink.lock();
        match std::str::from_utf8(bytes).ok().and_then(|text| self.redactor.clean(text)) {
            Some(cleaned) => sink.write_all(cleaned.as_bytes())?,
            None => sink.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.lock().flush()
    }
}

impl<'a> MakeWriter<'a> for CleanWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

type Reload = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// The log of this process. Clones share it.
#[derive(Clone)]
pub struct Logs {
    reload: Option<Reload>,
    level: Arc<Mutex<String>>,
    redactor: Redactor,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("level", &self.level.lock()).finish_non_exhaustive()
    }
}

static INSTALLED: OnceLock<Logs> = OnceLock::new();

impl Logs {
    /// Installs the log of this process, on standard error, and a hook that logs panics.
    ///
    /// # Errors
    /// Another subscriber is installed.
    pub fn install(section: &LogSection) -> Result<Self, NodeError> {
        let (dispatch, logs) = Self::build(section, Arc::new(Mutex::new(io::stderr())));
        tracing::dispatcher::set_global_default(dispatch).map_err(|_| NodeError::InstalledTwice { what: "logs" })?;
        let _ = INSTALLED.set(logs.clone());
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("no message");
            tracing::error!(place, message, "panic");
        }));
        Ok(logs)
    }

    /// The log that [`install`](Self::install) installed; else one whose level can be set to no effect (tests).
    pub fn current() -> Self {
        INSTALLED.get().cloned().unwrap_or_else(|| Self {
            reload: None,
            level: Arc::new(Mutex::new("info".to_owned())),
            redactor: Redactor::default(),
        })
    }

    fn build(section: &LogSection, sink: Sink) -> (tracing::Dispatch, Self) {
        // The configuration checked the text; should it be wrong all the same, a log at `info` is better than none.
        let filter = parse_filter(&section.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let (filter, reload) = reload::Layer::new(filter);
        let redactor = Redactor::default();
        let writer = CleanWriter { redactor: redactor.clone(), sink };
        let registry = tracing_subscriber::registry().with(filter);
        let layer = tracing_subscriber::fmt::layer().with_writer(writer);
        let dispatch = match section.format {
            LogFormat::Text => tracing::Dispatch::new(registry.with(layer.with_ansi(false))),
            LogFormat::Json => tracing::Dispatch::new(registry.with(layer.json().flatten_event(true))),
        };
        let level = Arc::new(Mutex::new(section.level.clone()));
        (dispatch, Self { reload: Some(reload), level, redactor })
    }

    /// The secrets that are kept out.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The level or directives in force.
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Changes the level at once.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_level(&self, text: &str) -> Result<(), String> {
        let filter = parse_filter(text)?;
        if let Some(reload) = &self.reload {
            reload.reload(filter).map_err(|error| error.to_string())?;
        }
        text.clone_into(&mut self.level.lock());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logs(level: &str, format: LogFormat) -> (tracing::Dispatch, Logs, Lines) {
        let lines = Lines::default();
        let section = LogSection { level: level.to_owned(), format };
        let (dispatch, logs) = Logs::build(&section, Arc::new(Mutex::new(lines.clone())));
        (dispatch, logs, lines)
    }

    #[test]
    fn no_line_holds_a_secret() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (dispatch, logs, lines) = logs("info", format);
            logs.redactor()
                .add(["correct horse battery", "https://rpc.example/v1/0123456789abcdef", "short"].map(SecretText::new));
            // A secret that contains another is masked whole.
            logs.redactor().add([SecretText::new("correct horse battery staple")]);
            tracing::dispatcher::with_default(&dispatch, || {
                tracing::info!(url = "https://rpc.example/v1/0123456789abcdef", "with correct horse battery staple, short");
            });
            let text = lines.text();
            assert!(!text.contains("horse") && !text.contains("staple") && !text.contains("0123456789abcdef"), "{text}");
            assert!(text.contains("with ***, short"), "words of few letters are left alone: {text}");
        }
    }

    #[test]
    fn the_level_changes_while_running() {
        let (dispatch, logs, lines) = logs("info", LogFormat::Text);
        let say = |word: &str| tracing::dispatcher::with_default(&dispatch, || tracing::debug!("{word}"));
        say("early");
        logs.set_level("debug").unwrap();
        say("in between");
        logs.set_level("warn").unwrap();
        say("late");
        assert!(logs.set_level("loud").is_err());
        assert_eq!(logs.level(), "warn");
        let text = lines.text();
        assert!(text.contains("in between") && !text.contains("early") && !text.contains("late"), "{text}");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let (dispatch, _, lines) = logs("info", LogFormat::Json);
        tracing::dispatcher::with_default(&dispatch, || tracing::info!(chain = "gnosis", text = "two\nlines", "head moved"));
        let text = lines.text();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value["chain"].as_str(), value["message"].as_str()), (Some("gnosis"), Some("head moved")));
    }

    #[test]
    fn levels_and_directives_are_checked() {
        for good in ["info", "WARN", "off", "info,windlass_chain=debug", "windlass_store::writer=trace,error"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("", "no level"),
            ("inof", "did you mean \"info\""),
            ("windlass_chain", "no level"),
            ("info,", "no level"),
            ("=debug", "target is empty"),
            ("a=b", "no level"),
        ] {
            let error = parse_filter(bad).unwrap_err();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
    }
}
