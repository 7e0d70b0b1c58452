//! Values before they have a type, and the file as a tree of them with positions.

use std::collections::BTreeMap;
use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::kind::{Literal, Mask, text_literal};

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// From the environment, a flag or a default: any type may be meant.
    Text(String),
    /// From the file, with its TOML type.
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Raw>),
    /// A table where a value should be.
    Table,
}

impl Raw {
    /// The text, if it is one. The error is empty: the rule of the type says it all.
    pub(crate) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) | Self::String(text) => Ok(text),
            _ => Err(String::new()),
        }
    }

    /// The elements of a list.
    pub(crate) fn elements(&self) -> Result<Vec<Raw>, String> {
        match self {
            Self::Array(elements) => Ok(elements.clone()),
            Self::Text(text) if text.trim_start().starts_with('[') => {
                let value: Value = text.trim().parse().map_err(|_| "it is not a valid TOML array".to_owned())?;
                match raw_of_value(&value) {
                    Self::Array(elements) => Ok(elements),
                    _ => Err(String::new()),
                }
            }
            Self::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|element| !element.is_empty())
                .map(|element| Self::Text(element.to_owned()))
                .collect()),
            _ => Err(String::new()),
        }
    }

    /// The value as a TOML literal, as far as it may be shown.
    pub(crate) fn show(&self, literal: Literal, mask: Mask) -> String {
        match self {
            Self::Text(text) => text_literal(text, literal, mask),
            Self::String(text) => text_literal(text, Literal::Quoted, mask),
            Self::Array(elements) => {
                let inner = if literal == Literal::BareList { Literal::Bare } else { Literal::Quoted };
                let shown: Vec<String> = elements.iter().map(|element| element.show(inner, mask)).collect();
                format!("[{}]", shown.join(", "))
            }
            _ if mask == Mask::Secret => format!("\"{}\"", super::value::MASK),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Datetime(text) => text.clone(),
            Self::Table => "{...}".to_owned(),
        }
    }

    /// The texts in it, for the redaction of logs.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => {
                let mut all = vec![text.clone()];
                all.extend(self.elements().unwrap_or_default().iter().filter_map(|e| e.text().ok().map(str::to_owned)));
                all
            }
            Self::String(text) => vec![text.clone()],
            Self::Array(elements) => elements.iter().flat_map(Self::texts).collect(),
            _ => Vec::new(),
        }
    }
}

/// A part of the file: a value, or a table of parts, with where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Byte position of the key (or table header) in the file.
    pub(crate) position: usize,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Value(Raw),
    Table(BTreeMap<String, Tree>),
}

impl Tree {
    /// Reads a file.
    pub(crate) fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        let document = Document::parse(text)?;
        Ok(Self { position: 0, content: Content::Table(children(document.as_table())) })
    }

    /// The part at a path.
    pub(crate) fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &self.content {
            Content::Table(children) => children.get(first.as_ref())?.get(rest),
            Content::Value(_) => None,
        }
    }

    /// The children, none for a value.
    pub(crate) fn children(&self) -> impl Iterator<Item = (&String, &Self)> {
        let children = match &self.content {
            Content::Table(children) => Some(children.iter()),
            Content::Value(_) => None,
        };
        children.into_iter().flatten()
    }
}

fn children(table: &dyn TableLike) -> BTreeMap<String, Tree> {
    let mut made = BTreeMap::new();
    for (name, item) in table.iter() {
        let key_span = table.key(name).and_then(toml_edit::Key::span);
        let position = [key_span, item.span()].into_iter().flatten().map(|Range { start, .. }| start).next();
        let content = match item {
            Item::None => continue,
            Item::Table(table) => Content::Table(children(table)),
            Item::Value(Value::InlineTable(table)) => Content::Table(children(table)),
            Item::Value(value) => Content::Value(raw_of_value(value)),
            Item::ArrayOfTables(_) => Content::Value(Raw::Array(vec![Raw::Table])),
        };
        made.insert(name.to_owned(), Tree { position: position.unwrap_or_default(), content });
    }
    made
}

fn raw_of_value(value: &Value) -> Raw {
    match value {
        Value::String(text) => Raw::String(text.value().clone()),
        Value::Integer(number) => Raw::Integer(*number.value()),
        Value::Float(number) => Raw::Float(*number.value()),
        Value::Boolean(value) => Raw::Boolean(*value.value()),
        Value::Datetime(value) => Raw::Datetime(value.value().to_string()),
        Value::Array(array) => Raw::Array(array.iter().map(raw_of_value).collect()),
        Value::InlineTable(_) => Raw::Table,
    }
}

/// Line and column (both from 1, the column in characters) of a byte position.
pub(crate) fn line_and_column(text: &str, position: usize) -> (usize, usize) {
    let before = text.get(..position).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or("").chars().count() + 1;
    (line, column)
}
