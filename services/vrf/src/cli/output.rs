//! Where results and remarks go.

use std::io::Write;

use serde::Serialize;

/// The streams of a command.
pub struct Output<'w> {
    /// The result, and nothing else.
    pub stdout: &'w mut (dyn Write + Send),
    /// Everything else.
    pub stderr: &'w mut (dyn Write + Send),
    /// The result is a JSON document.
    pub json: bool,
}

impl Output<'_> {
    /// The result: `value` as JSON if asked for, else what `text` makes of it. A stream that is gone is no reason to change the outcome of a
    /// command.
    pub(super) fn result<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) {
        let shown = match self.json {
            true => match serde_json::to_string_pretty(value) {
                Ok(shown) => shown,
                Err(error) => return self.remark(format_args!("the result cannot be written as JSON: {error}")),
            },
            false => text(value),
        };
        let _ = writeln!(self.stdout, "{}", shown.trim_end());
        let _ = self.stdout.flush();
    }

    /// Something that is not the result.
    pub(super) fn remark(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.stderr, "{text}");
    }
}

/// Rows in columns, two blanks apart; the last column is not padded.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// Labels and values, one pair a line.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> =
        pairs.iter().map(|(label, value)| format!("{label:width$}  {value}").trim_end().to_owned()).collect();
    lines.join("\n")
}
