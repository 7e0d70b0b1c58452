//! The example file and the reference, generated from the declarations.

use std::fmt::Write as _;

use super::keys::{ItemDoc, KeyDoc, Presence, variables};
use super::schema::{Schema, SectionDoc, is_name};

/// Width of comments.
const WIDTH: usize = 96;

impl Schema {
    /// A commented file with every section and key. What begins with `#` directly before a key or a section is a setting at its
    /// default: removing that `#` changes nothing. Prose begins with `# `.
    pub fn example(&self) -> String {
        let mut text = String::from(
            "# Configuration of Windlass. Every value here is the default: a line that begins with # and a key\n\
             # changes nothing when the # is removed. Precedence: --set, environment, this file, default.\n\
             # `windlass config check` finds errors, `windlass config show` tells where each value came from.\n",
        );
        for section in self.describe() {
            let name = if section.named { "main" } else { "" };
            write_section(&mut text, &section, name, section.named);
        }
        text
    }

    /// A section to begin with: required keys open with an example value, all others as comments. `None` if there is no such kind,
    /// or if nothing can have that name.
    pub fn template(&self, kind: &str, name: &str) -> Option<String> {
        let section = self.describe().into_iter().find(|section| section.kind == kind)?;
        if section.named && !is_name(name) {
            return None;
        }
        let mut text = String::new();
        write_section(&mut text, &section, if section.named { name } else { "" }, false);
        Some(text.trim_start().to_owned())
    }

    /// The reference of all sections and keys in Markdown.
    pub fn reference(&self) -> String {
        let mut text = String::from("# Configuration reference\n\nGenerated from the program. ");
        text.push_str(
            "Precedence: `--set section.key=value`, environment variable, `windlass.toml`, default. An environment variable that \
             is empty counts as not set.\n",
        );
        for section in self.describe() {
            reference_section(&mut text, &section);
        }
        text
    }
}

fn write_section(text: &mut String, section: &SectionDoc, name: &str, commented: bool) {
    let header = if name.is_empty() { section.kind.to_owned() } else { format!("{}.{name}", section.kind) };
    let mark = if commented { "#" } else { "" };
    text.push('\n');
    prose(text, section.doc);
    let _ = writeln!(text, "{mark}[{header}]");
    // TOML wants the keys of a table before its sub-tables.
    let is_top = |item: &&ItemDoc| matches!(item, ItemDoc::Key(key) if key.path.len() == 1);
    for item in section.items.iter().filter(is_top).chain(section.items.iter().filter(|item| !is_top(item))) {
        match item {
            ItemDoc::Key(key) => write_key(text, key, commented || in_optional_table(section, key)),
            ItemDoc::Table { path, doc, optional } => {
                text.push('\n');
                prose(text, doc);
                let mark = if commented || *optional { "#" } else { "" };
                let _ = writeln!(text, "{mark}[{header}.{}]", path.join("."));
            }
        }
    }
}

fn in_optional_table(section: &SectionDoc, key: &KeyDoc) -> bool {
    section.items.iter().any(|item| match item {
        ItemDoc::Table { path, optional, .. } => *optional && key.path.starts_with(path),
        ItemDoc::Key(_) => false,
    })
}

fn write_key(text: &mut String, key: &KeyDoc, commented: bool) {
    text.push('\n');
    let state = match &key.presence {
        Presence::Required => " Required.",
        Presence::Optional => " Optional.",
        Presence::Default(_) => "",
    };
    prose(text, &format!("{} {}.{state}", key.doc, describe_type(key)));
    let name = key.path.last().map_or("", String::as_str);
    let (mark, value) = match &key.presence {
        Presence::Default(value) => ("#", value),
        Presence::Required if !commented => ("", &key.example),
        Presence::Required => ("#", &key.example),
        // An example of an optional key is prose: to remove its mark would change something.
        Presence::Optional => ("# ", &key.example),
    };
    let _ = writeln!(text, "{mark}{name} = {value}");
}

/// `Duration, at least 1s`.
fn describe_type(key: &KeyDoc) -> String {
    let mut text = key.type_name.clone();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !key.words.is_empty() {
        let words: Vec<String> = key.words.iter().map(|(word, meaning)| format!("\"{word}\" ({meaning})")).collect();
        let _ = write!(text, " of {}", words.join(", "));
    }
    for rule in &key.rules {
        let _ = write!(text, ", {rule}");
    }
    text
}

fn prose(text: &mut String, paragraph: &str) {
    let mut line = String::from("#");
    for word in paragraph.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

fn reference_section(text: &mut String, section: &SectionDoc) {
    let header = if section.named { format!("{}.<name>", section.kind) } else { section.kind.to_owned() };
    let _ = write!(text, "\n## `[{header}]`\n\n{}\n", section.doc);
    for item in &section.items {
        match item {
            ItemDoc::Table { path, doc, optional } => {
                let optional = if *optional { " May be left out as a whole." } else { "" };
                let _ = write!(text, "\n### `[{header}.{}]`\n\n{doc}{optional}\n", path.join("."));
            }
            ItemDoc::Key(key) => {
                let mut path = vec![section.kind.to_owned()];
                if section.named {
                    path.push("<name>".to_owned());
                }
                path.extend(key.path.iter().cloned());
                let [variable, _] = variables(&path);
                let variable = variable.replacen("_NAME_", "<NAME>", 1);
                let _ = write!(text, "\n#### `{}`\n\n{}\n\n", key.path.join("."), key.doc);
                let _ = writeln!(text, "- Type: {}", describe_type(key));
                match &key.presence {
                    Presence::Required => text.push_str("- Required\n"),
                    Presence::Optional => text.push_str("- Optional\n"),
                    Presence::Default(value) => {
                        let _ = writeln!(text, "- Default: `{value}`");
                    }
                }
                if !matches!(&key.presence, Presence::Default(value) if *value == key.example) {
                    let _ = writeln!(text, "- Example: `{}`", key.example);
                }
                let _ = writeln!(text, "- Environment: `{variable}`");
            }
        }
    }
}
