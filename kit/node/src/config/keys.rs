//! How a section says what keys it has, and reads them, in one go.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde::Serialize;
use url::Url;

use super::error::{ConfigError, Origin};
use super::kind::{self, Kind, Literal, Mask, Word, text_literal};
use super::raw::{Content, Raw, Tree, line_and_column};
use super::value::{Amount, SecretText, SecretUrl};

/// What a key is, for the example file and the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Path below the section: one word, or table and key.
    pub path: Vec<String>,
    /// Name of the type.
    pub type_name: String,
    /// What must hold beside the type.
    pub rules: Vec<String>,
    /// The allowed words with their meaning, for a choice.
    pub words: Vec<(&'static str, &'static str)>,
    /// One paragraph.
    pub doc: &'static str,
    /// Whether it must be given.
    pub presence: Presence,
    /// A valid value as a TOML literal.
    pub example: String,
}

/// Whether a key must be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not, and has no value then.
    Optional,
    /// It need not, and has this value then (a TOML literal).
    Default(String),
}

/// A part of a section in the order of its declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemDoc {
    /// A key.
    Key(KeyDoc),
    /// A table of keys; those that follow with this path as prefix are in it.
    Table {
        /// Path below the section.
        path: Vec<String>,
        /// One paragraph.
        doc: &'static str,
        /// May be left out as a whole.
        optional: bool,
    },
}

/// A value as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownValue {
    /// The key with its section.
    pub key: String,
    /// A TOML literal, masked if it is or may be secret; `None` for an optional key without a value.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// All sources but the defaults.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) tree: Tree,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) flags: Vec<(Vec<String>, String)>,
}

impl Inputs {
    pub(crate) fn origin_at(&self, position: usize) -> Origin {
        let (line, column) = line_and_column(&self.text, position);
        Origin::File { file: self.file.clone(), line, column }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// A key that names an instance of another section, to be checked when all sections are read.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) kind: &'static str,
    pub(crate) instance: String,
    pub(crate) key: String,
    pub(crate) origin: Origin,
}

/// What reading collects.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) inputs: Option<Arc<Inputs>>,
    pub(crate) items: Vec<ItemDoc>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<String>,
    pub(crate) shown: Vec<ShownValue>,
    pub(crate) references: Vec<Reference>,
    pub(crate) secrets: Vec<String>,
    pub(crate) used_variables: BTreeSet<String>,
    pub(crate) used_flags: BTreeSet<usize>,
    /// Every key of every section read, given or not.
    pub(crate) declared: Vec<Vec<String>>,
    /// Number of errors when the section now read was begun.
    pub(crate) errors_before: usize,
}

/// The names of the environment variable for a path: the exact one with double underscores, then the short one.
pub(crate) fn variables(path: &[String]) -> [String; 2] {
    let segment = |text: &String| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    let segments: Vec<String> = path.iter().map(segment).collect();
    [format!("WINDLASS_{}", segments.join("__")), format!("WINDLASS_{}", segments.join("_"))]
}

/// The keys of one section (or of a table in it), while it is declared and read.
///
/// The same function does both: first without any input to learn which keys there are, then with the input. So it must name
/// all keys whatever their values are: no key may depend on the value of another. What depends is said with
/// [`check`](Self::check).
#[derive(Debug)]
pub struct Keys<'a> {
    pub(crate) section: Vec<String>,
    pub(crate) prefix: Vec<String>,
    pub(crate) state: &'a mut State,
}

impl<'a> Keys<'a> {
    /// A key of any kind; see [`kind`] for those that have no method here.
    pub fn key<T: 'static>(&mut self, name: &'static str, kind: Kind<T>) -> Key<'_, 'a, T> {
        Key { keys: self, name, kind, doc: "", rules: Vec::new(), remedy: None, example: None }
    }

    /// Any text.
    pub fn string(&mut self, name: &'static str) -> Key<'_, 'a, String> {
        self.key(name, kind::string())
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Key<'_, 'a, bool> {
        self.key(name, kind::boolean())
    }

    /// A whole number.
    pub fn integer<T>(&mut self, name: &'static str) -> Key<'_, 'a, T>
    where
        T: TryFrom<i128> + Default + Send + Sync + 'static,
    {
        self.key(name, kind::integer())
    }

    /// A whole number of up to 256 bits.
    pub fn u256(&mut self, name: &'static str) -> Key<'_, 'a, U256> {
        self.key(name, kind::u256())
    }

    /// A span of time with a unit.
    pub fn duration(&mut self, name: &'static str) -> Key<'_, 'a, Duration> {
        self.key(name, kind::duration())
    }

    /// A sum of the native coin with a unit.
    pub fn amount(&mut self, name: &'static str) -> Key<'_, 'a, Amount> {
        self.key(name, kind::amount())
    }

    /// An Ethereum address.
    pub fn address(&mut self, name: &'static str) -> Key<'_, 'a, Address> {
        self.key(name, kind::address())
    }

    /// A URL.
    pub fn url(&mut self, name: &'static str) -> Key<'_, 'a, Url> {
        self.key(name, kind::url())
    }

    /// A URL that may hold a key.
    pub fn secret_url(&mut self, name: &'static str) -> Key<'_, 'a, SecretUrl> {
        self.key(name, kind::secret_url())
    }

    /// A secret or where to find it.
    pub fn secret(&mut self, name: &'static str) -> Key<'_, 'a, SecretText> {
        self.key(name, kind::secret())
    }

    /// A path in the file system.
    pub fn path(&mut self, name: &'static str) -> Key<'_, 'a, PathBuf> {
        self.key(name, kind::path())
    }

    /// An IP address and a port.
    pub fn socket_address(&mut self, name: &'static str) -> Key<'_, 'a, SocketAddr> {
        self.key(name, kind::socket_address())
    }

    /// One of several words; the first is also the placeholder.
    pub fn choice<T: Clone + Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        first: Word<T>,
        others: Vec<Word<T>>,
    ) -> Key<'_, 'a, T> {
        self.key(name, kind::choice(first, others))
    }

    /// A list of values of one kind.
    pub fn list<T: Send + Sync + 'static>(&mut self, name: &'static str, of: Kind<T>) -> Key<'_, 'a, Vec<T>> {
        self.key(name, kind::list(of))
    }

    /// The name of a `[chain.<name>]` section. Checked to exist.
    pub fn chain(&mut self, name: &'static str) -> Key<'_, 'a, String> {
        self.key(name, kind::instance_of("chain"))
    }

    /// A table of keys that is always there: `[section.name]`.
    pub fn table<T>(&mut self, name: &'static str, doc: &'static str, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        self.child(name, doc, false, read)
    }

    /// A table of keys that may be left out as a whole. Its required keys are required only if any of its keys is given.
    pub fn optional_table<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Keys<'_>) -> T,
    ) -> Option<T> {
        let path = self.path_of(name);
        let given = match &self.state.inputs {
            None => true,
            Some(inputs) => {
                let [variable, _] = variables(&path);
                let below = format!("{variable}__");
                inputs.tree.get(&path).is_some()
                    || inputs.flags.iter().any(|(flag, _)| flag.len() > path.len() && flag.starts_with(&path))
                    || inputs.environment.iter().any(|(name, value)| name.starts_with(&below) && !value.is_empty())
            }
        };
        if given {
            return Some(self.child(name, doc, true, read));
        }
        let _ = self.declare(name, doc, true, read);
        None
    }

    /// Declares a table so that "did you mean" and the reference know its keys, without reading anything.
    fn declare<T>(&mut self, name: &str, doc: &'static str, optional: bool, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        let inputs = self.state.inputs.take();
        let made = self.child(name, doc, optional, read);
        self.state.inputs = inputs;
        made
    }

    fn child<T>(&mut self, name: &str, doc: &'static str, optional: bool, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        let path = self.path_of(name);
        if let Some(inputs) = self.state.inputs.clone()
            && let Some(tree) = inputs.tree.get(&path)
            && let Content::Value(raw) = &tree.content
        {
            let error = ConfigError {
                key: path.join("."),
                value: Some(raw.show(Literal::Quoted, Mask::Secret)),
                rule: "must be a table of keys".to_owned(),
                remedy: format!("write [{}] and the keys below it", path.join(".")),
                origin: inputs.origin_at(tree.position),
            };
            self.state.errors.push(error);
            // What its keys lack is no news beside that.
            return self.declare(name, doc, optional, read);
        }
        let mut prefix = self.prefix.clone();
        prefix.push(name.to_owned());
        self.state.items.push(ItemDoc::Table { path: prefix.clone(), doc, optional });
        read(&mut Keys { section: self.section.clone(), prefix, state: self.state })
    }

    /// A rule about several keys. `holds` is asked only when every key of the section read so far is right.
    /// The error is reported at `key`.
    pub fn check(&mut self, key: &'static str, holds: impl FnOnce() -> bool, rule: impl Into<String>, remedy: impl Into<String>) {
        if self.state.errors.len() == self.state.errors_before {
            self.judge(key, holds, rule, remedy);
        }
    }

    /// [`check`](Self::check) that is asked as soon as the named keys are right, whatever the others are.
    pub fn check_among(
        &mut self,
        key: &'static str,
        others: &[&'static str],
        holds: impl FnOnce() -> bool,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let mut involved = others.iter().chain([&key]).map(|name| self.path_of(name).join("."));
        if involved.all(|path| self.state.errors.iter().all(|error| error.key != path)) {
            self.judge(key, holds, rule, remedy);
        }
    }

    fn judge(&mut self, key: &str, holds: impl FnOnce() -> bool, rule: impl Into<String>, remedy: impl Into<String>) {
        if self.state.inputs.is_none() || holds() {
            return;
        }
        let path = self.path_of(key);
        let found = self.lookup(&path);
        let origin = found.map_or_else(|| self.header(), |(_, origin)| origin);
        let error = ConfigError { key: path.join("."), value: None, rule: rule.into(), remedy: remedy.into(), origin };
        self.state.errors.push(error);
    }

    /// Something that is allowed but probably not meant. Reported once at the start.
    pub fn warn(&mut self, key: &'static str, text: &str) {
        if self.state.inputs.is_some() {
            let path = self.path_of(key).join(".");
            self.state.warnings.push(format!("{path}: {text}"));
        }
    }

    /// The name of the instance that is read: `gnosis` of `[payer.gnosis]`; the kind for a section without names.
    pub fn instance(&self) -> &str {
        self.section.last().map_or("", String::as_str)
    }

    fn path_of(&self, name: &str) -> Vec<String> {
        let mut path = self.section.clone();
        path.extend(self.prefix.iter().cloned());
        path.push(name.to_owned());
        path
    }

    /// Where the section begins, if it is in the file.
    fn header(&self) -> Origin {
        let Some(inputs) = &self.state.inputs else { return Origin::Default };
        let mut path = self.section.clone();
        path.extend(self.prefix.iter().cloned());
        while !path.is_empty() {
            if let Some(tree) = inputs.tree.get(&path) {
                return inputs.origin_at(tree.position);
            }
            path.pop();
        }
        Origin::Default
    }

    /// The value with the highest precedence, if any is given. All places are marked as known.
    fn lookup(&mut self, path: &Vec<String>) -> Option<(Raw, Origin)> {
        let inputs = self.state.inputs.clone()?;
        let mut found = None;
        if let Some(tree) = inputs.tree.get(path) {
            let raw = match &tree.content {
                Content::Value(raw) => raw.clone(),
                Content::Table(_) => Raw::Table,
            };
            found = Some((raw, inputs.origin_at(tree.position)));
        }
        // The exact name is looked at last, so that it wins.
        for name in variables(path).into_iter().rev() {
            if let Some(value) = inputs.variable(&name) {
                found = Some((Raw::Text(value.to_owned()), Origin::Environment { variable: name.clone() }));
                self.state.used_variables.insert(name);
            }
        }
        for (index, (flag, value)) in inputs.flags.iter().enumerate() {
            if flag == path {
                self.state.used_flags.insert(index);
                found = Some((Raw::Text(value.clone()), Origin::Flag));
            }
        }
        found
    }
}

/// A condition on a value, with its sentence.
type Rule<T> = (String, Box<dyn Fn(&T) -> bool>);

/// A key that is being declared. Ends with [`required`](Self::required), [`default`](Self::default) or
/// [`optional`](Self::optional), which also read it.
#[must_use = "a key is declared and read by required(), default() or optional()"]
pub struct Key<'k, 'a, T> {
    keys: &'k mut Keys<'a>,
    name: &'static str,
    kind: Kind<T>,
    doc: &'static str,
    rules: Vec<Rule<T>>,
    remedy: Option<&'static str>,
    example: Option<String>,
}

impl<T> std::fmt::Debug for Key<'_, '_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

impl<T: 'static> Key<'_, '_, T> {
    /// One paragraph: what it means, when to change it.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// A condition beside the type, as a sentence that follows "must be": `"at least 1s"`.
    pub fn rule(mut self, sentence: impl Into<String>, holds: impl Fn(&T) -> bool + 'static) -> Self {
        self.rules.push((sentence.into(), Box::new(holds)));
        self
    }

    /// What to do when it is wrong or missing, where the general advice does not do.
    pub fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// A valid value as plain text, for the example file; for a list, its elements separated by commas.
    pub fn example(mut self, example: impl Into<String>) -> Self {
        self.example = Some(example.into());
        self
    }

    /// From the first to the last, both allowed.
    pub fn range(self, range: RangeInclusive<T>) -> Self
    where
        T: PartialOrd + Display,
    {
        let sentence = format!("from {} to {}", range.start(), range.end());
        self.rule(sentence, move |value| range.contains(value))
    }

    /// At least this, in the notation of the key: `"1s"`, `"1 gwei"`.
    pub fn at_least(self, bound: &'static str) -> Self
    where
        T: PartialOrd,
    {
        let parsed = (self.kind.parse)(&Raw::Text(bound.to_owned())).ok();
        self.rule(format!("at least {bound}"), move |value| parsed.as_ref().is_some_and(|bound| value >= bound))
    }

    /// At most this, in the notation of the key.
    pub fn at_most(self, bound: &'static str) -> Self
    where
        T: PartialOrd,
    {
        let parsed = (self.kind.parse)(&Raw::Text(bound.to_owned())).ok();
        self.rule(format!("at most {bound}"), move |value| parsed.as_ref().is_some_and(|bound| value <= bound))
    }

    /// Declares a key that must be given and reads it.
    pub fn required(self) -> T {
        let (value, placeholder) = self.finish(Presence::Required, None);
        value.unwrap_or(placeholder)
    }

    /// Declares a key that has a default (as plain text; for a list, elements separated by commas) and reads it.
    pub fn default(self, default: impl Into<String>) -> T {
        let default = default.into();
        let literal = text_literal(&default, self.kind.literal, Mask::Open);
        let (value, placeholder) = self.finish(Presence::Default(literal), Some(default));
        value.unwrap_or(placeholder)
    }

    /// Declares a key that may be left out and reads it.
    pub fn optional(self) -> Option<T> {
        self.finish(Presence::Optional, None).0
    }

    fn finish(self, presence: Presence, default: Option<String>) -> (Option<T>, T) {
        let path = self.keys.path_of(self.name);
        let example = self.example.clone().or(default.clone()).unwrap_or_else(|| self.kind.example.clone());
        let example = text_literal(&example, self.kind.literal, Mask::Open);
        let mut relative = self.keys.prefix.clone();
        relative.push(self.name.to_owned());
        self.keys.state.declared.push(path.clone());
        self.keys.state.items.push(ItemDoc::Key(KeyDoc {
            path: relative,
            type_name: self.kind.name.clone(),
            rules: self.rules.iter().map(|(sentence, _)| sentence.clone()).collect(),
            words: self.kind.words.clone(),
            doc: self.doc,
            presence: presence.clone(),
            example: example.clone(),
        }));
        if self.keys.state.inputs.is_none() {
            let value = default.and_then(|text| (self.kind.parse)(&Raw::Text(text)).ok());
            return (value, self.kind.placeholder);
        }
        let (raw, origin) = match (self.keys.lookup(&path), default) {
            (Some(found), _) => found,
            (None, Some(default)) => (Raw::Text(default), Origin::Default),
            (None, None) => {
                self.keys.absent(&path, presence == Presence::Required, &self.kind.rule, &example, self.remedy);
                return (None, self.kind.placeholder);
            }
        };
        let value = match (self.kind.parse)(&raw) {
            Ok(value) => match self.rules.iter().find(|(_, holds)| !holds(&value)) {
                None => Ok(value),
                Some((sentence, _)) => Err(format!("must be {sentence}")),
            },
            Err(detail) if detail.is_empty() => Err(format!("must be {}", self.kind.rule)),
            Err(detail) => Err(format!("must be {}; {detail}", self.kind.rule)),
        };
        let shown = self.kind.show(&raw);
        match value {
            Ok(value) => {
                self.keys.note(&path, &self.kind, &raw, shown, origin);
                (Some(value), self.kind.placeholder)
            }
            Err(rule) => {
                let remedy = self.remedy.map_or_else(|| remedy(&path, &example, &origin), str::to_owned);
                let error = ConfigError { key: path.join("."), value: Some(shown), rule, remedy, origin };
                self.keys.state.errors.push(error);
                (None, self.kind.placeholder)
            }
        }
    }
}

impl Keys<'_> {
    /// Notes that a key has no value.
    fn absent(&mut self, path: &[String], required: bool, rule: &str, example: &str, own: Option<&str>) {
        if !required {
            self.state.shown.push(ShownValue { key: path.join("."), value: None, origin: Origin::Default });
            return;
        }
        let origin = self.header();
        let remedy = own.map_or_else(|| remedy(path, example, &Origin::Default), str::to_owned);
        let rule = format!("is required: {rule}");
        self.state.errors.push(ConfigError { key: path.join("."), value: None, rule, remedy, origin });
    }

    /// Notes a good value.
    fn note<T>(&mut self, path: &[String], kind: &Kind<T>, raw: &Raw, shown: String, origin: Origin) {
        let key = path.join(".");
        if let Some(target) = kind.refers_to {
            self.state.references.extend(raw.texts().into_iter().map(|instance| Reference {
                kind: target,
                instance,
                key: key.clone(),
                origin: origin.clone(),
            }));
        }
        if kind.mask != Mask::Open {
            self.state.secrets.extend(raw.texts());
        }
        self.state.shown.push(ShownValue { key, value: Some(shown), origin });
    }
}

/// What to do about a value, in the words of the place where it was given.
fn remedy(path: &[String], example: &str, origin: &Origin) -> String {
    let Some((name, section)) = path.split_last() else { return String::new() };
    match origin {
        Origin::Flag => format!("give --set {}={}", path.join("."), example.trim_matches('"')),
        Origin::Environment { variable } => format!("set {variable}={}", example.trim_matches('"')),
        Origin::File { .. } | Origin::Default => format!("write {name} = {example} under [{}]", section.join(".")),
    }
}
