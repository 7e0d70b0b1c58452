//! All sections together: loading, unknown keys, references between sections.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::builtin::{AlertSection, ChainSection, HttpSection, LogSection, NodeSection, StoreSection};
use super::error::{ConfigError, ConfigErrors, Origin};
use super::keys::{Inputs, ItemDoc, Keys, ShownValue, State, variables};
use super::raw::{Content, Tree, line_and_column};
use super::value::{MASK, SecretText};
use super::{Section, suggest};

type Erased = Arc<dyn Any + Send + Sync>;

/// A section type without its type.
#[derive(Clone)]
struct Entry {
    kind: &'static str,
    named: bool,
    doc: &'static str,
    type_id: TypeId,
    read: fn(&mut Keys<'_>) -> Erased,
}

impl Entry {
    fn of<S: Section>() -> Self {
        let read = |keys: &mut Keys<'_>| -> Erased { Arc::new(S::read(keys)) };
        Self { kind: S::KIND, named: S::NAMED, doc: S::DOC, type_id: TypeId::of::<S>(), read }
    }
}

/// A section with its keys, for documents.
#[derive(Clone, Debug)]
pub struct SectionDoc {
    /// First word of the section.
    pub kind: &'static str,
    /// Whether there may be several, each with a name.
    pub named: bool,
    /// One paragraph.
    pub doc: &'static str,
    /// Keys and tables in the order of declaration.
    pub items: Vec<ItemDoc>,
}

/// The sections a program knows: those of the node, and one per [`section`](Self::section).
#[derive(Clone)]
pub struct Schema {
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.kind)).finish()
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Name (for messages) and text of the file.
    pub file: Option<(String, String)>,
    /// Environment variables; only those that begin with `WINDLASS_` are looked at.
    pub environment: Vec<(String, String)>,
    /// Values of `--set`, each `section.key=value`.
    pub overrides: Vec<String>,
}

impl Sources {
    /// A file alone, given as text.
    pub fn text(name: &str, text: &str) -> Self {
        Self { file: Some((name.to_owned(), text.to_owned())), ..Self::default() }
    }

    /// The file at `path`, the environment of this process, and the values of `--set`. A file that is not there is an error if
    /// `required` (the user named it), otherwise it counts as empty.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_system(path: &Path, required: bool, overrides: Vec<String>) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some((name, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => None,
            Err(error) => {
                let remedy = match error.kind() {
                    std::io::ErrorKind::NotFound => "check the path, or make the file with `windlass init`",
                    std::io::ErrorKind::InvalidData => "save the file as UTF-8",
                    _ => "check the permissions of the file",
                };
                let rule = format!("must be a readable file: {error}");
                let error = ConfigError { key: name, value: None, rule, remedy: remedy.to_owned(), origin: Origin::Default };
                return Err(ConfigErrors(vec![error]));
            }
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("WINDLASS_"))
            .collect();
        Ok(Self { file, environment, overrides })
    }
}

impl Schema {
    /// The sections of the node: `node`, `store`, `http`, `log`, `alerts.*`, `chain.*`.
    pub fn new() -> Self {
        let entries = vec![
            Entry::of::<NodeSection>(),
            Entry::of::<StoreSection>(),
            Entry::of::<HttpSection>(),
            Entry::of::<LogSection>(),
            Entry::of::<AlertSection>(),
            Entry::of::<ChainSection>(),
        ];
        Self { entries }
    }

    /// Adds a section.
    #[must_use]
    pub fn section<S: Section>(mut self) -> Self {
        self.entries.retain(|entry| entry.kind != S::KIND);
        self.entries.push(Entry::of::<S>());
        self
    }

    /// All sections with their keys.
    pub fn describe(&self) -> Vec<SectionDoc> {
        let describe = |entry: &Entry| {
            let mut state = State::default();
            let _ = (entry.read)(&mut Keys { section: vec![entry.kind.to_owned()], prefix: Vec::new(), state: &mut state });
            SectionDoc { kind: entry.kind, named: entry.named, doc: entry.doc, items: state.items }
        };
        self.entries.iter().map(describe).collect()
    }

    /// Reads everything and reports all that is wrong.
    ///
    /// # Errors
    /// Every error there is, in the order of the file.
    pub fn load(&self, sources: &Sources) -> Result<Config, ConfigErrors> {
        let (inputs, early) = inputs(sources)?;
        let mut state = State { inputs: Some(Arc::new(inputs)), errors: early, ..State::default() };
        let mut sections: HashMap<TypeId, BTreeMap<String, Erased>> = HashMap::new();
        for entry in &self.entries {
            for section in self.instances(entry, &mut state) {
                state.errors_before = state.errors.len();
                state.items.clear();
                let value = (entry.read)(&mut Keys { section: section.clone(), prefix: Vec::new(), state: &mut state });
                unknown_keys(&section, &mut state);
                let name = section.last().cloned().unwrap_or_default();
                sections.entry(entry.type_id).or_default().insert(name, value);
            }
        }
        self.unknown_sections(&mut state);
        self.references(&mut state);
        self.unknown_flags_and_variables(&mut state);
        if state.errors.is_empty() {
            return Ok(Config { sections, shown: state.shown, warnings: state.warnings, secrets: state.secrets });
        }
        // The order of the file first; what has no place in it keeps the order in which it was found.
        state.errors.sort_by_key(|error| match error.origin {
            Origin::File { line, column, .. } => (0, line, column),
            _ => (1, 0, 0),
        });
        Err(ConfigErrors(state.errors))
    }

    /// The paths of the sections of one kind: the kind itself, or one per name found in any source.
    fn instances(&self, entry: &Entry, state: &mut State) -> Vec<Vec<String>> {
        let kind = entry.kind.to_owned();
        let Some(inputs) = state.inputs.clone() else { return Vec::new() };
        let tree = inputs.tree.get(&[&kind]);
        if let Some(Tree { position, content: Content::Value(_) }) = tree {
            let error = ConfigError {
                key: kind.clone(),
                value: None,
                rule: "must be a section".to_owned(),
                remedy: if entry.named { format!("write [{kind}.<name>]") } else { format!("write [{kind}]") },
                origin: inputs.origin_at(*position),
            };
            state.errors.push(error);
            return Vec::new();
        }
        if !entry.named {
            return vec![vec![kind]];
        }
        let mut names = BTreeSet::new();
        for (name, child) in tree.into_iter().flat_map(Tree::children) {
            let key = format!("{kind}.{name}");
            let origin = inputs.origin_at(child.position);
            let (rule, remedy) = match &child.content {
                Content::Value(_) => (
                    format!("[{kind}] holds named sections only, no keys"),
                    format!("put {name} under [{kind}.<name>], for example [{kind}.main]"),
                ),
                Content::Table(_) if !is_name(name) => (
                    "a name is 1 to 32 of a-z, 0-9, - and _, and begins with a letter or digit".to_owned(),
                    format!("rename [{key}]"),
                ),
                Content::Table(_) => {
                    names.insert(name.clone());
                    continue;
                }
            };
            state.errors.push(ConfigError { key, value: None, rule, remedy, origin });
        }
        for (flag, _) in &inputs.flags {
            if let [first, name, _, ..] = flag.as_slice()
                && *first == kind
                && is_name(name)
            {
                names.insert(name.clone());
            }
        }
        let [prefix, _] = variables(&[kind.clone(), String::new()]);
        let known: BTreeSet<String> = names.iter().map(|name| variables(std::slice::from_ref(name))[0].clone()).collect();
        for (variable, value) in &inputs.environment {
            if let Some((name, _)) = variable.strip_prefix(&prefix).and_then(|rest| rest.split_once("__"))
                && !value.is_empty()
                && !known.contains(&format!("WINDLASS_{name}"))
                && is_name(&name.to_ascii_lowercase())
            {
                names.insert(name.to_ascii_lowercase());
            }
        }
        names.into_iter().map(|name| vec![kind.clone(), name]).collect()
    }

    fn unknown_sections(&self, state: &mut State) {
        let Some(inputs) = state.inputs.clone() else { return };
        for (name, child) in inputs.tree.children() {
            if self.entries.iter().any(|entry| entry.kind == name) {
                continue;
            }
            let remedy = match suggest(name, self.entries.iter().map(|entry| entry.kind)) {
                Some(kind) => format!("did you mean [{kind}]?"),
                None => {
                    let kinds: Vec<&str> = self.entries.iter().map(|entry| entry.kind).collect();
                    format!("remove it; there are: {}", kinds.join(", "))
                }
            };
            let rule = "there is no such section".to_owned();
            let origin = inputs.origin_at(child.position);
            state.errors.push(ConfigError { key: name.clone(), value: None, rule, remedy, origin });
        }
    }

    /// Keys that name an instance of another section: it must exist.
    fn references(&self, state: &mut State) {
        for reference in std::mem::take(&mut state.references) {
            let Some(entry) = self.entries.iter().find(|entry| entry.kind == reference.kind) else { continue };
            let mut scratch = State { inputs: state.inputs.clone(), ..State::default() };
            let names: Vec<String> =
                self.instances(entry, &mut scratch).into_iter().filter_map(|mut section| section.pop()).collect();
            if names.contains(&reference.instance) {
                continue;
            }
            let kind = reference.kind;
            let remedy = match suggest(&reference.instance, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean {name:?}?"),
                None if names.is_empty() => format!("add a section [{kind}.{}]", reference.instance),
                None => format!("add a section [{kind}.{}], or use one of: {}", reference.instance, names.join(", ")),
            };
            state.errors.push(ConfigError {
                key: reference.key,
                value: Some(format!("{:?}", reference.instance)),
                rule: format!("there is no section [{kind}.{}]", reference.instance),
                remedy,
                origin: reference.origin,
            });
        }
    }

    fn unknown_flags_and_variables(&self, state: &mut State) {
        let Some(inputs) = state.inputs.clone() else { return };
        let known: Vec<String> = state.declared.iter().map(|path| path.join(".")).collect();
        let flags = inputs.flags.iter().enumerate().filter(|(index, _)| !state.used_flags.contains(index));
        let mut errors = Vec::new();
        for (_, (path, _)) in flags {
            let key = path.join(".");
            // Where the section is right, its name must not make an unlike key look alike.
            let (section, leaf) = key.rsplit_once('.').unwrap_or(("", &key));
            let siblings: Vec<&str> = known
                .iter()
                .filter_map(|known| known.rsplit_once('.'))
                .filter(|(of, _)| *of == section)
                .map(|(_, leaf)| leaf)
                .collect();
            let near = match siblings.is_empty() {
                true => suggest(&key, known.iter().map(String::as_str)).map(str::to_owned),
                false => suggest(leaf, siblings).map(|near| format!("{section}.{near}")),
            };
            let remedy = match near {
                Some(other) => format!("did you mean --set {other}=...?"),
                None => "`windlass config show` lists the keys".to_owned(),
            };
            errors.push(ConfigError { key, value: None, rule: "there is no such key".to_owned(), remedy, origin: Origin::Flag });
        }
        let names: Vec<[String; 2]> = state.declared.iter().map(|path| variables(path)).collect();
        for (variable, value) in &inputs.environment {
            if value.is_empty() || state.used_variables.contains(variable) {
                continue;
            }
            if variable.strip_prefix("WINDLASS_").is_some_and(|rest| rest.contains("__")) {
                let remedy = match suggest(variable, names.iter().map(|[exact, _]| exact.as_str())) {
                    Some(other) => format!("did you mean {other}?"),
                    None => "remove it; the reference of the configuration lists the variables".to_owned(),
                };
                let origin = Origin::Environment { variable: variable.clone() };
                let rule = "this variable names no key".to_owned();
                errors.push(ConfigError { key: String::new(), value: None, rule, remedy, origin });
            } else if let Some((_, other)) = names
                .iter()
                .flatten()
                .filter(|name| !state.used_variables.contains(*name))
                .map(|name| (strsim::damerau_levenshtein(name, variable), name))
                .filter(|(distance, _)| *distance <= 2)
                .min()
            {
                // No error: container platforms bring variables of their own that begin with the name of a program.
                state.warnings.push(format!("the variable {variable} is not used; did you mean {other}?"));
            }
        }
        state.errors.extend(errors);
    }
}

/// Parses the sources. Wrong `--set` texts are returned beside what could be read.
fn inputs(sources: &Sources) -> Result<(Inputs, Vec<ConfigError>), ConfigErrors> {
    let (file, text) = sources.file.clone().unwrap_or_else(|| ("windlass.toml".to_owned(), String::new()));
    let tree = match Tree::parse(&text) {
        Ok(tree) => tree,
        Err(error) => {
            let (line, column) = line_and_column(&text, error.span().map_or(0, |span| span.start));
            let message = error.message().trim().replace('\n', "; ");
            let rule = format!("the file must be valid TOML: {message}");
            return Err(ConfigErrors::file(&file, line, column, rule, "correct the line".to_owned()));
        }
    };
    let mut errors = Vec::new();
    let mut flags = Vec::new();
    for text in &sources.overrides {
        match text.split_once('=') {
            Some((path, value)) if path.contains('.') && path.split('.').all(|part| !part.trim().is_empty()) => {
                flags.push((path.split('.').map(|part| part.trim().to_owned()).collect(), value.to_owned()));
            }
            _ => {
                // What stands after the = may be a secret.
                let shown = text.split_once('=').map_or(text.as_str(), |(path, _)| path);
                errors.push(ConfigError {
                    key: shown.to_owned(),
                    value: text.contains('=').then(|| MASK.to_owned()),
                    rule: "must have the form section.key=value".to_owned(),
                    remedy: "write for example --set log.level=debug".to_owned(),
                    origin: Origin::Flag,
                });
            }
        }
    }
    Ok((Inputs { file, text, tree, environment: sources.environment.clone(), flags }, errors))
}

/// Keys and tables of a section in the file that nobody declared.
fn unknown_keys(section: &[String], state: &mut State) {
    let Some(inputs) = state.inputs.clone() else { return };
    let Some(tree) = inputs.tree.get(section) else { return };
    let declared: Vec<Vec<String>> = state
        .items
        .iter()
        .map(|item| match item {
            ItemDoc::Key(key) => key.path.clone(),
            ItemDoc::Table { path, .. } => path.clone(),
        })
        .collect();
    let tables: BTreeSet<&Vec<String>> = state
        .items
        .iter()
        .filter_map(|item| match item {
            ItemDoc::Table { path, .. } => Some(path),
            ItemDoc::Key(_) => None,
        })
        .collect();
    let mut errors = Vec::new();
    let mut waiting = vec![(Vec::<String>::new(), tree)];
    while let Some((prefix, tree)) = waiting.pop() {
        for (name, child) in tree.children() {
            let mut path = prefix.clone();
            path.push(name.clone());
            if tables.contains(&path) {
                waiting.push((path, child));
                continue;
            }
            if declared.contains(&path) {
                continue;
            }
            let siblings = declared.iter().filter(|known| known.len() == path.len() && known.starts_with(&prefix));
            let siblings: Vec<&str> = siblings.filter_map(|known| known.last().map(String::as_str)).collect();
            let remedy = match suggest(name, siblings.iter().copied()) {
                Some(other) => format!("did you mean {other:?}?"),
                // The right key in the wrong table.
                None => match declared.iter().find(|known| known.last() == Some(name)) {
                    Some(known) => format!("did you mean \"{}\"?", known.join(".")),
                    None => format!("remove it; there are: {}", siblings.join(", ")),
                },
            };
            let key = section.iter().chain(&path).cloned().collect::<Vec<_>>().join(".");
            let rule = "there is no such key".to_owned();
            errors.push(ConfigError { key, value: None, rule, remedy, origin: inputs.origin_at(child.position) });
        }
    }
    state.errors.extend(errors);
}

/// Whether a text may name an instance.
pub(super) fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// A configuration without errors.
pub struct Config {
    sections: HashMap<TypeId, BTreeMap<String, Erased>>,
    shown: Vec<ShownValue>,
    warnings: Vec<String>,
    secrets: Vec<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values that may be shown, not the typed ones: those belong to others, whose `Debug` may be careless.
        f.debug_list().entries(&self.shown).finish()
    }
}

impl Config {
    /// The instances of a named section with their names, in order of the name. For a section without names, the one there is.
    pub fn instances<S: Section>(&self) -> impl Iterator<Item = (&str, &S)> {
        let all = self.sections.get(&TypeId::of::<S>()).into_iter().flatten();
        all.filter_map(|(name, value)| Some((name.as_str(), value.downcast_ref::<S>()?)))
    }

    /// One instance by name.
    pub fn instance<S: Section>(&self, name: &str) -> Option<&S> {
        self.sections.get(&TypeId::of::<S>())?.get(name)?.downcast_ref()
    }

    /// A section without names. `None` only if the schema did not have it.
    pub fn single<S: Section>(&self) -> Option<&S> {
        self.instance(S::KIND)
    }

    /// `[node]`.
    pub fn node(&self) -> NodeSection {
        self.single::<NodeSection>().cloned().unwrap_or_default()
    }

    /// `[store]`.
    pub fn store(&self) -> StoreSection {
        self.single::<StoreSection>().cloned().unwrap_or_default()
    }

    /// `[http]`.
    pub fn http(&self) -> HttpSection {
        self.single::<HttpSection>().cloned().unwrap_or_default()
    }

    /// `[log]`.
    pub fn log(&self) -> LogSection {
        self.single::<LogSection>().cloned().unwrap_or_default()
    }

    /// `[chain.<name>]`.
    pub fn chain(&self, name: &str) -> Option<&ChainSection> {
        self.instance(name)
    }

    /// Every value with where it came from, secrets masked, in the order of declaration.
    pub fn show(&self) -> &[ShownValue] {
        &self.shown
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The texts of secret values, to be kept out of logs: also the parts of a URL that are secret on their own.
    pub fn secrets(&self) -> Vec<SecretText> {
        let whole = self.secrets.iter().map(SecretText::new).filter(|secret| !secret.is_pointer());
        whole.flat_map(|secret| secret_parts(secret.expose()).into_iter().chain([secret])).collect()
    }
}

/// Password, long path segments and query of a URL. Short segments are words such as `v1`.
fn secret_parts(text: &str) -> Vec<SecretText> {
    let Ok(url) = url::Url::parse(text) else { return Vec::new() };
    if !url.has_host() {
        return Vec::new();
    }
    let segments = url.path_segments().into_iter().flatten().filter(|segment| segment.len() >= 16);
    segments.chain(url.password()).chain(url.query()).map(SecretText::new).collect()
}
