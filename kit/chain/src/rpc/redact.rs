//! Keeps URLs' secrets out of errors and logs.

use url::Url;

/// Knows the secret parts of one URL and blanks them in foreign texts: nodes and proxies like to repeat the request's URL.
#[derive(Clone)]
pub struct Redactor {
    label: String,
    secrets: Vec<String>,
}

/// Parts shorter than this are ordinary words (`v3`, `rpc`), and blanking them would make texts unreadable.
const SECRET_LENGTH_MIN: usize = 8;
/// How much of a foreign text is worth repeating.
const TEXT_LENGTH_MAX: usize = 300;

impl Redactor {
    /// Finds the secret parts: user, password, query, and long parts of the path.
    pub fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or("unknown");
        let label = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut secrets = vec![url.username().to_owned()];
        secrets.extend(url.password().map(str::to_owned));
        secrets.extend(url.query().map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        secrets.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        let password = url.password().unwrap_or_default().to_owned();
        secrets.retain(|secret| secret.len() >= SECRET_LENGTH_MIN || (!secret.is_empty() && *secret == password));
        // Longest first, so that a part of a secret does not hide the whole from the search.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { label, secrets }
    }

    /// Host and port.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The text without secrets, in one line, and not longer than is useful.
    pub fn clean(&self, text: &str) -> String {
        let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "***");
        }
        if clean.len() > TEXT_LENGTH_MAX {
            let end = (0..=TEXT_LENGTH_MAX).rev().find(|&end| clean.is_char_boundary(end)).unwrap_or(0);
            clean.truncate(end);
            clean.push_str(" ...");
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn secrets_of_the_url_do_not_come_out() {
        let url = Url::parse("https://user:pw@node.example:8545/v3/0123456789abcdef?apikey=fedcba9876543210").unwrap();
        let redactor = Redactor::new(&url);
        assert_eq!(redactor.label(), "node.example:8545");
        let clean = redactor.clean("invalid key 0123456789abcdef at /v3/0123456789abcdef?apikey=fedcba9876543210\n(pw)");
        assert_eq!(clean, "invalid key *** at /v3/***?*** (***)");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let redactor = Redactor::new(&Url::parse("http://localhost/").unwrap());
        let clean = redactor.clean(&"é".repeat(1000));
        assert!(clean.len() < 320 && clean.ends_with(" ..."));
    }
}
