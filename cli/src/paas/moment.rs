//! Moments as people read and write them.

use jiff::{Timestamp, tz::TimeZone};
use service::quantity::Span;

use super::failure::Failure;

/// A moment of the API in local time; one that cannot be read is shown as it is.
pub fn local(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(moment) => {
            moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
        Err(_) => text.to_owned(),
    }
}

/// `10m` ago, or a moment in RFC 3339 form; answers in RFC 3339.
pub fn since(text: &str, now: Timestamp) -> Result<String, Failure> {
    if let Ok(span) = text.parse::<Span>() {
        let span = jiff::SignedDuration::try_from(span.0).ok();
        if let Some(moment) = span.and_then(|span| now.checked_sub(span).ok()) {
            return Ok(moment.to_string());
        }
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.to_string());
    }
    Err(Failure::usage(format!("`{text}` is neither a span nor a moment"))
        .hint("Write 10m, 2h, 1d, or 2026-05-04T10:00:00Z."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_spans_and_moments() {
        let now: Timestamp = "2026-05-04T10:00:00Z".parse().unwrap();
        assert_eq!(since("10m", now).unwrap(), "2026-05-04T09:50:00Z");
        assert_eq!(since("2026-05-04T12:00:00+02:00", now).unwrap(), "2026-05-04T10:00:00Z");
        assert!(since("yesterday", now).is_err());
        assert!(since("99999999999d", now).is_err());
    }
}
