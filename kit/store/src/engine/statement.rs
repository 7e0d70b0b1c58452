//! Looking at SQL text: parameters, transaction control, and the translation of the dialect.

use crate::error::StoreError;
use crate::value::Value;

/// Longest piece of a statement in an error message.
const EXCERPT: usize = 160;

/// The beginning of a statement on one line.
pub(crate) fn excerpt(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

pub(super) fn too_large(index: usize, number: u64) -> StoreError {
    StoreError::ValueRange {
        parameter: index.saturating_add(1),
        reason: format!("{number} is above the largest 64-bit signed integer"),
    }
}

/// Checks values against the statement, so that both engines refuse the same mistakes. SQLite alone would read a missing
/// parameter as null, PostgreSQL alone would refuse NUL in text.
pub(crate) fn check_parameters(sql: &str, params: &[Value]) -> Result<(), StoreError> {
    let needed = highest_parameter(sql);
    if needed != params.len() {
        return Err(StoreError::ParameterCount { needed, given: params.len(), statement: excerpt(sql) });
    }
    for (index, value) in params.iter().enumerate() {
        match value {
            Value::TooLarge(number) => return Err(too_large(index, *number)),
            Value::Text(text) if text.contains('\0') => {
                return Err(StoreError::ValueRange {
                    parameter: index.saturating_add(1),
                    reason: "text must not contain NUL".to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn highest_parameter(sql: &str) -> usize {
    let mut highest = 0;
    for token in Tokens::new(sql) {
        if let Token::Parameter(text) = token {
            highest = highest.max(text.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(0));
        }
    }
    highest
}

/// Whether a statement would end or nest the transaction that belongs to the writer.
pub(crate) fn is_transaction_control(sql: &str) -> bool {
    const WORDS: [&str; 8] = ["BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "START"];
    let first = Tokens::new(sql).find_map(|token| match token {
        Token::Word(word) => Some(Some(word)),
        Token::Space(_) => None,
        _ => Some(None),
    });
    matches!(first, Some(Some(word)) if WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// A piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'s> {
    /// Letters, digits, underscores.
    Word(&'s str),
    /// `$1`
    Parameter(&'s str),
    /// White space and comments.
    Space(&'s str),
    /// A string literal or quoted name, with its quotes.
    Quoted(&'s str),
    /// `x'00ff'`: the hexadecimal digits.
    Bytes(&'s str),
    /// Any other single character.
    Other(&'s str),
}

/// Splits SQL text; every byte of it is in exactly one token.
struct Tokens<'s> {
    rest: &'s str,
}

impl<'s> Tokens<'s> {
    fn new(sql: &'s str) -> Self {
        Self { rest: sql }
    }

    fn take(&mut self, length: usize) -> &'s str {
        let (head, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = tail;
        head
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'s str {
        let length = self.rest.find(|letter| !fits(letter)).unwrap_or(self.rest.len());
        self.take(length)
    }

    /// Length of a literal that begins and ends with `quote`; a doubled quote stands for itself.
    fn quoted_length(text: &str, quote: char) -> usize {
        let mut letters = text.char_indices().skip(1).peekable();
        while let Some((index, letter)) = letters.next() {
            if letter == quote {
                match letters.peek() {
                    Some((_, next)) if *next == quote => {
                        letters.next();
                    }
                    _ => return index.saturating_add(1),
                }
            }
        }
        text.len()
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        let text = self.rest;
        let first = text.chars().next()?;
        if first.is_whitespace() {
            return Some(Token::Space(self.take_while(char::is_whitespace)));
        }
        if text.starts_with("--") {
            return Some(Token::Space(self.take_while(|letter| letter != '\n')));
        }
        if text.starts_with("/*") {
            let end = text.find("*/").map_or(text.len(), |index| index.saturating_add(2));
            return Some(Token::Space(self.take(end)));
        }
        if first == '\'' || first == '"' {
            let length = Self::quoted_length(text, first);
            return Some(Token::Quoted(self.take(length)));
        }
        if let Some(literal) = text.strip_prefix(['x', 'X']).filter(|rest| rest.starts_with('\'')) {
            let length = Self::quoted_length(literal, '\'');
            let digits = literal.get(1..length.saturating_sub(1)).unwrap_or_default();
            self.take(length.saturating_add(1));
            return Some(Token::Bytes(digits));
        }
        if first == '$' && text.get(1..2).is_some_and(|next| next.as_bytes().iter().all(u8::is_ascii_digit)) {
            let digits = text.get(1..).unwrap_or_default();
            let length = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
            return Some(Token::Parameter(self.take(length.saturating_add(1))));
        }
        if first.is_alphanumeric() || first == '_' {
            return Some(Token::Word(self.take_while(|letter| letter.is_alphanumeric() || letter == '_')));
        }
        Some(Token::Other(self.take(first.len_utf8())))
    }
}

/// Translates the dialect of migrations to PostgreSQL:
///
/// | here | PostgreSQL |
/// | --- | --- |
/// | `BLOB` | `BYTEA` |
/// | `INTEGER`, `INT` | `BIGINT` |
/// | `INTEGER PRIMARY KEY [AUTOINCREMENT]` | `BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY` |
/// | `x'00ff'` | `'\x00ff'::bytea` |
/// | `WITHOUT ROWID` | nothing |
pub(crate) fn to_postgres(sql: &str) -> String {
    let tokens: Vec<Token<'_>> = Tokens::new(sql).collect();
    let mut output = String::with_capacity(sql.len().saturating_add(64));
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        match token {
            Token::Word(word) => {
                let following = |words: &[&str]| match_words(tokens.get(index..).unwrap_or_default(), words);
                if word.eq_ignore_ascii_case("BLOB") {
                    output.push_str("BYTEA");
                } else if word.eq_ignore_ascii_case("INTEGER") || word.eq_ignore_ascii_case("INT") {
                    if following(&["PRIMARY", "KEY"]).is_some() {
                        output.push_str("BIGINT GENERATED BY DEFAULT AS IDENTITY");
                    } else {
                        output.push_str("BIGINT");
                    }
                } else if word.eq_ignore_ascii_case("AUTOINCREMENT") {
                    // Said by the identity.
                } else if word.eq_ignore_ascii_case("WITHOUT") {
                    match following(&["ROWID"]) {
                        Some(used) => index += used,
                        None => output.push_str(word),
                    }
                } else {
                    output.push_str(word);
                }
            }
            Token::Bytes(digits) => {
                output.push_str("'\\x");
                output.push_str(digits);
                output.push_str("'::bytea");
            }
            Token::Space(text) | Token::Quoted(text) | Token::Parameter(text) | Token::Other(text) => {
                output.push_str(text);
            }
        }
    }
    output
}

/// Number of tokens that the words (with space between them) take at the beginning of `tokens`, if they are there.
fn match_words(tokens: &[Token<'_>], words: &[&str]) -> Option<usize> {
    let mut wanted = words.iter();
    let mut next = wanted.next();
    for (index, token) in tokens.iter().enumerate() {
        let Some(word) = next else { return Some(index) };
        match token {
            Token::Space(_) => {}
            Token::Word(found) if found.eq_ignore_ascii_case(word) => next = wanted.next(),
            _ => return None,
        }
    }
    if next.is_none() { Some(tokens.len()) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parameters_are_found_outside_of_literals_only() {
        assert_eq!(highest_parameter("SELECT $2, $1, '$9', \"$8\" -- $7\n/* $6 */ FROM t WHERE a = $12"), 12);
        assert_eq!(highest_parameter("SELECT 'it''s $3'"), 0);
        assert_eq!(highest_parameter("SELECT '$"), 0);
    }

    #[test]
    fn wrong_parameters_are_refused() {
        let too_few = check_parameters("SELECT $1, $2", &[Value::Null]).unwrap_err();
        assert!(matches!(too_few, StoreError::ParameterCount { needed: 2, given: 1, .. }), "{too_few}");
        assert!(check_parameters("SELECT 1", &[Value::Null]).is_err());
        let large = check_parameters("SELECT $1", &[Value::from(u64::MAX)]).unwrap_err();
        assert!(matches!(large, StoreError::ValueRange { parameter: 1, .. }), "{large}");
        let nul = check_parameters("SELECT $1", &[Value::from("a\0b")]).unwrap_err();
        assert!(matches!(nul, StoreError::ValueRange { parameter: 1, .. }), "{nul}");
    }

    #[test]
    fn transaction_control_is_recognised_at_the_beginning() {
        for sql in ["COMMIT", " begin immediate", "-- x\nRollback to a", "/* */SAVEPOINT x", "end"] {
            assert!(is_transaction_control(sql), "{sql}");
        }
        for sql in ["SELECT 'COMMIT'", "UPDATE release SET a = 1", "", "INSERT INTO t VALUES ('BEGIN')"] {
            assert!(!is_transaction_control(sql), "{sql}");
        }
    }

    #[test]
    fn the_dialect_is_translated_outside_of_literals() {
        let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, b blob NOT NULL DEFAULT x'00FF', \
                   n INT, k INTEGER, text TEXT DEFAULT 'BLOB INTEGER', \"BLOB\" TEXT) WITHOUT ROWID; -- BLOB";
        let expected = "CREATE TABLE t (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY , \
                        b BYTEA NOT NULL DEFAULT '\\x00FF'::bytea, \
                        n BIGINT, k BIGINT, text TEXT DEFAULT 'BLOB INTEGER', \"BLOB\" TEXT) ; -- BLOB";
        assert_eq!(to_postgres(sql), expected);
    }

    #[test]
    fn names_that_contain_the_words_stay() {
        let sql = "CREATE TABLE blob_store (blobs BLOB, internal BIGINT)";
        assert_eq!(to_postgres(sql), "CREATE TABLE blob_store (blobs BYTEA, internal BIGINT)");
    }

    proptest::proptest! {
        #[test]
        fn tokens_cover_any_text(text in ".{0,80}") {
            // No text may stop or panic the splitter, and nothing may get lost between the tokens.
            let mut length = 0;
            for token in Tokens::new(&text) {
                length += match token {
                    Token::Bytes(_) => { let _ = to_postgres(&text); return Ok(()); }
                    Token::Word(piece) | Token::Parameter(piece) | Token::Space(piece)
                    | Token::Quoted(piece) | Token::Other(piece) => piece.len(),
                };
            }
            proptest::prop_assert_eq!(length, text.len());
            let _ = (to_postgres(&text), highest_parameter(&text), is_transaction_control(&text), excerpt(&text));
        }
    }
}
