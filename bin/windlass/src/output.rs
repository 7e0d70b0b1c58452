//! What a command prints. Standard output carries only the result; everything else goes to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// Prints the result of one command, as text or as one JSON document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints the result: `value` as JSON when asked for, else what `text` says.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        let mut shown = if self.json { serde_json::to_string_pretty(value).map_err(io::Error::from)? } else { text(value) };
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push('\n');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(shown.as_bytes())?;
        stdout.flush()
    }
}

/// Tells the operator something that is not the result.
pub(crate) fn note(text: &str) {
    // A closed standard error is no reason to stop the work.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person is watching standard error.
pub(crate) fn is_interactive() -> bool {
    io::stderr().is_terminal()
}

/// Lays out rows in columns, two blanks apart; the last column is not padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["1".to_owned(), "long cell".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["number", "b", "c"], &rows), "number  b          c\n1       long cell  x");
    }
}
