//! Configuration: one TOML file, environment, flags and defaults, read into types, with every error at once.
//!
//! A section is a type that implements [`Section`]. Its [`read`](Section::read) names each key once: type, rule, default and one
//! paragraph of text. From that come the typed values, the errors, the origins, the example file and the reference.
//!
//! ```
//! use std::time::Duration;
//! use windlass_node::config::{Keys, Schema, Section, Sources};
//!
//! struct Lamp { colour: String, period: Duration }
//!
//! impl Section for Lamp {
//!     const KIND: &'static str = "lamp";
//!     const NAMED: bool = true;
//!     const DOC: &'static str = "A lamp that blinks.";
//!     fn read(keys: &mut Keys<'_>) -> Self {
//!         Self {
//!             colour: keys.string("colour").doc("Its colour.").required(),
//!             period: keys.duration("period").doc("Time between two flashes.").at_least("100ms").default("1s"),
//!         }
//!     }
//! }
//!
//! let schema = Schema::new().section::<Lamp>();
//! let sources = Sources::text("lamps.toml", "[lamp.port]\ncolour = \"red\"\n");
//! let config = schema.load(&sources)?;
//! let (name, lamp) = config.instances::<Lamp>().next().ok_or("no lamp")?;
//! assert_eq!((name, lamp.colour.as_str(), lamp.period), ("port", "red", Duration::from_secs(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Environment
//!
//! `WINDLASS_` and the path of the key in upper case, its parts joined by two underscores: `WINDLASS_STORE__URL`,
//! `WINDLASS_PAYER__GNOSIS__POLL_INTERVAL` (for `[payer.gnosis] poll_interval`). The form with single underscores
//! (`WINDLASS_STORE_URL`) is read too; it cannot bring a new instance into being. Any character that is no letter or digit
//! becomes an underscore. An empty variable counts as not set. A variable with two underscores in a row that names no key is an error.

mod builtin;
mod document;
mod error;
mod keys;
pub mod kind;
mod raw;
mod schema;
mod value;

pub use builtin::{
    AlertChannel, AlertSection, ChainSection, HttpSection, LogFormat, LogSection, NodeSection, Severity, StoreSection,
};
pub use error::{ConfigError, ConfigErrors, Origin};
pub use keys::{ItemDoc, Key, KeyDoc, Keys, Presence, ShownValue};
pub use kind::Kind;
pub use schema::{Config, Schema, SectionDoc, Sources};
pub use value::{Amount, MASK, SecretText, SecretUrl};

/// A section of the file: `[KIND]`, or `[KIND.<name>]` if it is [`NAMED`](Self::NAMED).
pub trait Section: Sized + Send + Sync + 'static {
    /// First word of the section: `payer`.
    const KIND: &'static str;
    /// Whether there may be several, each with a name.
    const NAMED: bool = false;
    /// One paragraph for the example file and the reference.
    const DOC: &'static str;
    /// Declares and reads the keys. See [`Keys`].
    fn read(keys: &mut Keys<'_>) -> Self;
}

/// The candidate that `text` was probably meant to be.
pub(crate) fn suggest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = text.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let near = strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()) <= 1;
            let score = strsim::jaro_winkler(&lower, &candidate.to_ascii_lowercase());
            (if near { score.max(0.95) } else { score }, candidate)
        })
        .filter(|(score, _)| *score >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
