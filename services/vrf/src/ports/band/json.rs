//! How REST gateways and CometBFT spell numbers, bytes and times in JSON. Read as they come: numbers as text or as numbers, bytes as
//! hexadecimal of either case or as base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error};
use windlass_vrf_protocol::messages::Timestamp;
use windlass_vrf_protocol::messages::tx::{self, EventAttribute};

/// An integer, spelt `7` or `"7"`; `""` and `null` are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Int(pub(super) i128);

impl Int {
    pub(super) fn to<T: TryFrom<i128>>(self) -> Option<T> {
        T::try_from(self.0).ok()
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(i64),
            Large(u64),
            Text(String),
            Nothing(()),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(number) => Ok(Self(number.into())),
            Spelling::Large(number) => Ok(Self(number.into())),
            Spelling::Text(text) if text.is_empty() => Ok(Self(0)),
            Spelling::Text(text) => text.parse().map(Self).map_err(|_| D::Error::custom("not an integer")),
            Spelling::Nothing(()) => Ok(Self(0)),
        }
    }
}

/// Bytes in hexadecimal, with or without `0x`; `null` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hex(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        from_hex(&text).map(Self).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

/// Bytes in base64; `null` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        from_base64(&text).map(Self).ok_or_else(|| D::Error::custom("not base64"))
    }
}

/// Bytes in hexadecimal if every character allows it, otherwise in base64; `null` is empty. For long values only: a short base64 text can
/// look like hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EitherBytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for EitherBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let bytes = from_hex(&text).or_else(|| from_base64(&text));
        bytes.map(Self).ok_or_else(|| D::Error::custom("neither hexadecimal nor base64"))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A time as RFC 3339.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Time(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(|_| D::Error::custom("not a time"))?;
        // Before 1970 the parts of a duration are negative; protobuf wants a positive fraction.
        let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
        if nanos < 0 {
            (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
        }
        Ok(Self(Timestamp { seconds, nanos }))
    }
}

/// An event as nodes send it.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    attributes: Option<Vec<Attribute>>,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Attribute {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    index: bool,
}

/// Events in plain text. CometBFT 0.34 sends keys and values in base64 and does not say so; it is seen by every key of the answer being
/// base64 of printable text, which the plain keys of no chain are.
pub(super) fn events(raw: Vec<Event>) -> Vec<tx::Event> {
    let mut keys = raw.iter().flat_map(|event| event.attributes.iter().flatten()).filter_map(|one| one.key.as_deref()).peekable();
    let encoded = keys.peek().is_some() && keys.all(|key| printable(key).is_some());
    let text = |text: Option<String>| {
        let text = text.unwrap_or_default();
        let decoded = encoded.then(|| from_base64(&text)).flatten();
        decoded.map_or(text, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    raw.into_iter()
        .map(|event| tx::Event {
            r#type: event.kind,
            attributes: event
                .attributes
                .unwrap_or_default()
                .into_iter()
                .map(|one| EventAttribute { key: text(one.key), value: text(one.value), index: one.index })
                .collect(),
        })
        .collect()
}

fn printable(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    (!bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn integers_come_as_text_and_as_numbers() {
        let read = |text: &str| serde_json::from_str::<Int>(text).map(|int| int.0);
        assert_eq!(read("\"18446744073709551615\"").unwrap(), u64::MAX.into());
        assert_eq!(read("18446744073709551615").unwrap(), u64::MAX.into());
        assert_eq!((read("-3").unwrap(), read("\"\"").unwrap(), read("null").unwrap()), (-3, 0, 0));
        assert!(read("\"x\"").is_err() && read("1.5").is_err());
        assert_eq!(Int(-1).to::<u64>(), None);
    }

    #[test]
    fn bytes_come_as_hexadecimal_and_as_base64() {
        let read = |text: &str| serde_json::from_str::<EitherBytes>(&format!("\"{text}\"")).map(|bytes| bytes.0).unwrap();
        assert_eq!(read("00FFab"), [0, 255, 171]);
        assert_eq!(read("0x00ffAB"), [0, 255, 171]);
        assert_eq!(read("AP+r"), [0, 255, 171]);
        assert_eq!(read(""), Vec::<u8>::new());
        assert!(serde_json::from_str::<EitherBytes>("\"!\"").is_err());
        assert_eq!(serde_json::from_str::<Hex>("null").unwrap().0, Vec::<u8>::new());
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        let read = |text: &str| serde_json::from_str::<Time>(&format!("\"{text}\"")).unwrap().0;
        let time = read("2023-11-15T01:02:03.123456789Z");
        assert_eq!((time.seconds, time.nanos), (1_700_010_123, 123_456_789));
        assert_eq!(read("0001-01-01T00:00:00Z").seconds, -62_135_596_800);
    }

    #[test]
    fn events_of_both_spellings_are_read() {
        let plain =
            r#"[{"type":"resolve","attributes":[{"key":"id","value":"7","index":true},{"key":"resolve_status","value":"1"}]}]"#;
        let encoded = r#"[{"type":"resolve","attributes":[{"key":"aWQ=","value":"Nw==","index":true},{"key":"cmVzb2x2ZV9zdGF0dXM=","value":"MQ=="}]}]"#;
        let (plain, encoded) = (serde_json::from_str(plain).unwrap(), serde_json::from_str(encoded).unwrap());
        assert_eq!(events(plain), events(encoded));
        let bare = serde_json::from_str(r#"[{"type":"x"},{"type":"y","attributes":null}]"#).unwrap();
        assert_eq!(events(bare).len(), 2);
    }
}
