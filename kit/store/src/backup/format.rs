//! The logical backup: JSON lines that any version and both engines can read.
//!
//! ```text
//! {"header":{"program":"windlass","format":1,"engine":"postgres","created_at_ms":1700000000000,"migrations":[...]}}
//! {"table":{"name":"windlass_lease","columns":["name","holder","number","expires_at_ms"]}}
//! ["payer","host-1",7,1700000000000]
//! {"end":{"tables":{"windlass_lease":1},"sha256":"..."}}
//! ```
//! A row is an array in the order of `columns`: null, integer, text, or `{"hex":"00ff"}` for bytes. The checksum of the last
//! line covers every byte before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;

use alloy_primitives::hex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::value::Value;

pub(super) const PROGRAM: &str = "windlass";
pub(super) const FORMAT: u32 = 1;

/// Longest line that is read: a row with a blob of 256 MiB. Guards the memory against files that are something else.
const LINE_LIMIT: u64 = 600 << 20;

/// A recorded migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    pub(super) component: String,
    pub(super) number: u32,
    pub(super) name: String,
    /// Hexadecimal SHA-256.
    pub(super) checksum: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) program: String,
    pub(super) format: u32,
    pub(super) engine: String,
    pub(super) created_at_ms: i64,
    pub(super) migrations: Vec<Applied>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TableLine {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) tables: BTreeMap<String, u64>,
    pub(super) sha256: String,
}

/// One line.
#[derive(Debug, Clone)]
pub(super) enum Line {
    Header(Header),
    Table(TableLine),
    Row(Vec<Value>),
    End(End),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tagged {
    Header(Header),
    Table(TableLine),
    End(End),
}

/// Writes a logical backup and counts.
pub(super) struct DumpWriter {
    output: BufWriter<File>,
    hash: Sha256,
    tables: BTreeMap<String, u64>,
    table: Option<String>,
    path: std::path::PathBuf,
}

impl DumpWriter {
    pub(super) fn new(file: File, path: &Path, header: Header) -> Result<Self, StoreError> {
        let mut writer = Self {
            output: BufWriter::with_capacity(1 << 18, file),
            hash: Sha256::new(),
            tables: BTreeMap::new(),
            table: None,
            path: path.to_owned(),
        };
        writer.line(&Tagged::Header(header))?;
        Ok(writer)
    }

    pub(super) fn table(&mut self, name: &str, columns: &[String]) -> Result<(), StoreError> {
        self.tables.insert(name.to_owned(), 0);
        self.table = Some(name.to_owned());
        self.line(&Tagged::Table(TableLine { name: name.to_owned(), columns: columns.to_vec() }))
    }

    pub(super) fn row(&mut self, values: &[Value]) -> Result<(), StoreError> {
        if let Some(count) = self.table.as_ref().and_then(|table| self.tables.get_mut(table)) {
            *count = count.saturating_add(1);
        }
        let cells: Vec<Json> = values.iter().map(to_cell).collect();
        self.line(&cells)
    }

    /// Writes the last line. Returns the number of rows.
    pub(super) fn finish(mut self) -> Result<u64, StoreError> {
        let sha256 = hex::encode(self.hash.clone().finalize());
        let rows = self.tables.values().sum();
        let tables = std::mem::take(&mut self.tables);
        self.line(&Tagged::End(End { tables, sha256 }))?;
        self.output.flush().map_err(|error| StoreError::file("write", &self.path, error))?;
        Ok(rows)
    }

    fn line(&mut self, content: &impl Serialize) -> Result<(), StoreError> {
        let mut bytes =
            serde_json::to_vec(content).map_err(|error| StoreError::file("write", &self.path, std::io::Error::other(error)))?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.output.write_all(&bytes).map_err(|error| StoreError::file("write", &self.path, error))
    }
}

/// Reads a logical backup line by line.
pub(super) struct DumpReader {
    input: BufReader<File>,
    path: std::path::PathBuf,
    hash: Sha256,
    number: u64,
}

impl DumpReader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| StoreError::file("read", path, error))?;
        Ok(Self { input: BufReader::with_capacity(1 << 18, file), path: path.to_owned(), hash: Sha256::new(), number: 0 })
    }

    pub(super) fn bad(&self, reason: impl Into<String>) -> StoreError {
        StoreError::BadBackup { path: self.path.clone(), reason: reason.into() }
    }

    /// The next line; `None` at the end of the file. The checksum is compared when the last line is reached.
    pub(super) fn next(&mut self) -> Result<Option<Line>, StoreError> {
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut self.input, LINE_LIMIT);
        limited.read_until(b'\n', &mut bytes).map_err(|error| StoreError::file("read", &self.path, error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        if bytes.last() != Some(&b'\n') {
            return Err(self.bad(format!("line {} is cut off", self.number)));
        }
        let line = self.parse(&bytes).map_err(|error| self.bad(format!("line {}: {error}", self.number)))?;
        if let Line::End(end) = &line {
            let found = hex::encode(self.hash.clone().finalize());
            if found != end.sha256 {
                return Err(self.bad("the checksum is wrong: the file was changed or damaged"));
            }
        }
        self.hash.update(&bytes);
        Ok(Some(line))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Line, String> {
        if bytes.first() == Some(&b'[') {
            let cells: Vec<Json> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            return cells.iter().map(from_cell).collect::<Result<_, _>>().map(Line::Row);
        }
        match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
            Tagged::Header(header) => Ok(Line::Header(header)),
            Tagged::Table(table) => Ok(Line::Table(table)),
            Tagged::End(end) => Ok(Line::End(end)),
        }
    }

    /// Reads the whole file and checks its order, counts and checksum. Nothing of a file that fails this is used.
    pub(super) fn verify(mut self) -> Result<(Header, End), StoreError> {
        let header = match self.next()? {
            Some(Line::Header(header)) => header,
            _ => return Err(self.bad("it is not a backup of Windlass")),
        };
        if header.program != PROGRAM || header.format != FORMAT {
            return Err(self.bad(format!("its format {} is not known to this version", header.format)));
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut table: Option<TableLine> = None;
        loop {
            match self.next()? {
                Some(Line::Table(next)) => {
                    if counts.insert(next.name.clone(), 0).is_some() {
                        return Err(self.bad(format!("table {:?} is there twice", next.name)));
                    }
                    table = Some(next);
                }
                Some(Line::Row(values)) => {
                    let Some(table) = &table else { return Err(self.bad("a row without a table")) };
                    if values.len() != table.columns.len() {
                        return Err(self.bad(format!("line {}: wrong number of values", self.number)));
                    }
                    if let Some(count) = counts.get_mut(&table.name) {
                        *count = count.saturating_add(1);
                    }
                }
                Some(Line::End(end)) => {
                    if end.tables != counts {
                        return Err(self.bad("the numbers of rows are wrong"));
                    }
                    return match self.next()? {
                        None => Ok((header, end)),
                        Some(_) => Err(self.bad("it goes on after its end")),
                    };
                }
                Some(Line::Header(_)) => return Err(self.bad("a second header")),
                None => return Err(self.bad("it is cut off")),
            }
        }
    }
}

fn to_cell(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => json!(number),
        Value::TooLarge(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!({ "hex": hex::encode(bytes) }),
    }
}

fn from_cell(cell: &Json) -> Result<Value, String> {
    match cell {
        Json::Null => Ok(Value::Null),
        Json::Number(number) => number.as_i64().map(Value::Integer).ok_or_else(|| format!("{number} is not a 64-bit integer")),
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Object(fields) => match (fields.get("hex"), fields.len()) {
            (Some(Json::String(digits)), 1) => hex::decode(digits).map(Value::Blob).map_err(|error| format!("bytes: {error}")),
            _ => Err("an object that is not {\"hex\": ...}".to_owned()),
        },
        Json::Bool(_) | Json::Array(_) => Err("a value that no column holds".to_owned()),
    }
}

/// A row as people and other programs like to read it: an object, bytes as 0x-prefixed hexadecimal.
pub(super) fn to_object(columns: &[String], values: &[Value]) -> Json {
    let mut object = serde_json::Map::with_capacity(columns.len());
    for (column, value) in columns.iter().zip(values) {
        let json = match value {
            Value::Blob(bytes) => json!(hex::encode_prefixed(bytes)),
            other => to_cell(other),
        };
        object.insert(column.clone(), json);
    }
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Blob),
        ]
    }

    proptest! {
        #[test]
        fn every_value_survives_a_cell(value in any_value()) {
            let text = serde_json::to_string(&to_cell(&value)).unwrap();
            prop_assert_eq!(from_cell(&serde_json::from_str(&text).unwrap()).unwrap(), value);
        }

        #[test]
        fn no_file_content_can_panic(bytes in any::<Vec<u8>>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dump");
            std::fs::write(&path, &bytes).unwrap();
            prop_assert!(DumpReader::open(&path).unwrap().verify().is_err());
        }

        #[test]
        fn any_changed_byte_is_found(position in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dump");
            let header = Header {
                program: PROGRAM.into(), format: FORMAT, engine: "postgres".into(), created_at_ms: 1, migrations: vec![],
            };
            let mut writer = DumpWriter::new(File::create(&path).unwrap(), &path, header).unwrap();
            writer.table("t", &["a".into(), "b".into()]).unwrap();
            writer.row(&[Value::Integer(1), Value::from("x")]).unwrap();
            writer.row(&[Value::Null, Value::from(vec![1_u8, 2])]).unwrap();
            assert_eq!(writer.finish().unwrap(), 2);
            DumpReader::open(&path).unwrap().verify().unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let index = position.index(bytes.len());
            bytes[index] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            prop_assert!(DumpReader::open(&path).unwrap().verify().is_err(), "byte {index}");
        }
    }
}
