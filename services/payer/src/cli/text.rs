//! Moments and spans as people write and read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::PayerError;

/// A Unix time as a date in UTC; the number itself where no calendar reaches.
pub fn time(unix_s: u64) -> String {
    i64::try_from(unix_s)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| unix_s.to_string(), |moment| moment.to_string())
}

/// A span of seconds in words: `7days 2h`.
pub fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Reads a span: `30d`, `12h 30m`.
pub fn parse_span(given: &str) -> Result<Duration, PayerError> {
    humantime::parse_duration(given.trim()).map_err(|_| PayerError::Input {
        what: "time span",
        given: given.to_owned(),
        rule: "write a number with a unit, such as 30d, 12h or 90m".into(),
    })
}

/// Reads a moment: Unix seconds, a date (midnight in UTC), a date with time and zone, or a span from now as `+30d`.
pub fn parse_moment(given: &str, now_s: u64) -> Result<u64, PayerError> {
    let text = given.trim();
    let invalid = |rule: &str| PayerError::Input { what: "time", given: given.to_owned(), rule: rule.to_owned() };
    if let Some(rest) = text.strip_prefix('+') {
        let span = parse_span(rest)?;
        return now_s.checked_add(span.as_secs()).ok_or_else(|| invalid("it is too far ahead"));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = text.parse().map_err(|_| invalid("it is too large"))?;
        if seconds > 100_000_000_000 {
            return Err(invalid("Unix time is given in seconds; this looks like milliseconds"));
        }
        return Ok(seconds);
    }
    let moment =
        text.parse::<Timestamp>().ok().or_else(|| Some(text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    let rule = "write a date such as 2026-12-31 or 2026-12-31T12:00:00Z, Unix seconds, or a span from now such as +30d";
    u64::try_from(moment.ok_or_else(|| invalid(rule))?.as_second()).map_err(|_| invalid("it lies before 1970"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn moments() {
        let now = 1_000;
        assert_eq!(parse_moment("1700000000", now).unwrap(), 1_700_000_000);
        assert_eq!(parse_moment("2024-01-01", now).unwrap(), 1_704_067_200);
        assert_eq!(parse_moment("2024-01-01T01:00:00+01:00", now).unwrap(), 1_704_067_200);
        assert_eq!(parse_moment("+2h", now).unwrap(), 8_200);
        for bad in ["", "tomorrow", "1700000000000", "+", "+2", "1969-12-31", "2024-13-01", "-5", "99999999999999999999999"] {
            let error = parse_moment(bad, now).unwrap_err();
            assert!(matches!(error, PayerError::Input { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn times_never_fail() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }
}
