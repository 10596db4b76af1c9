//! Settings values people write: spans of time (`30s`), sizes (`512M`), and lists.

use std::{fmt, str::FromStr, time::Duration};

/// A span of time: `500ms`, `30s`, `5m`, `1h30m`, `7d`. Displays in the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes: `4096`, `64K`, `512M`, `1GiB`. The units are powers of 1024. Displays in the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Values separated by commas, or a TOML array.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List<T>(pub Vec<T>);

/// Why a text is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a span of time.
    #[error("`{0}` is not a span of time such as `500ms`, `30s`, `5m` or `1h30m`")]
    Span(String),
    /// Not a size.
    #[error("`{0}` is not a size such as `64K`, `512M` or `1GiB`")]
    Size(String),
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] =
    [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Span, QuantityError> {
        let parsed = if text == "0" { Some(0) } else { span_ms(text) };
        parsed
            .map(|ms| Span(Duration::from_millis(ms)))
            .ok_or_else(|| QuantityError::Span(text.to_owned()))
    }
}

/// The sum of `number unit` pairs; none if the text is anything else or too large.
fn span_ms(mut text: &str) -> Option<u64> {
    let mut sum = None;
    while !text.is_empty() {
        let (number, rest) = split_number(text)?;
        let unit_length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_length);
        let (_, factor) = SPAN_UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = Some(number.checked_mul(*factor)?.checked_add(sum.unwrap_or(0))?);
        text = rest;
    }
    sum
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return out.write_str("0s");
        }
        for (unit, factor) in SPAN_UNITS {
            if rest >= factor {
                write!(out, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Size, QuantityError> {
        let parsed = split_number(text.trim())
            .and_then(|(number, unit)| number.checked_mul(size_factor(unit)?));
        parsed.map(Size).ok_or_else(|| QuantityError::Size(text.to_owned()))
    }
}

fn size_factor(unit: &str) -> Option<u64> {
    let unit = unit.trim().to_ascii_uppercase();
    if unit.is_empty() || unit == "B" {
        return Some(1);
    }
    let letter = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    SIZE_UNITS.iter().find(|(name, _)| *name == letter).map(|(_, factor)| *factor)
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        match SIZE_UNITS.iter().find(|(_, factor)| fits(*factor)) {
            Some((unit, factor)) => write!(out, "{}{unit}", self.0 / factor),
            None => write!(out, "{}", self.0),
        }
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<List<T>, T::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(List)
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown_alike() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_millis(), span.to_string().as_str()), (ms, text));
        }
        assert_eq!("0".parse::<Span>().unwrap().to_string(), "0s");
        for wrong in
            ["", "5", "s", "-1s", "1.5s", "5 m", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_in_every_common_spelling() {
        for (text, bytes, shown) in [
            ("4097", 4097, "4097"),
            ("64k", 65_536, "64K"),
            ("512M", 536_870_912, "512M"),
            ("512MB", 536_870_912, "512M"),
            ("1GiB", 1_073_741_824, "1G"),
            ("1536 MiB", 1_610_612_736, "1536M"),
            ("0", 0, "0"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for wrong in ["", "M", "1X", "-1", "1.5G", "99999999999T", "1iB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_may_be_empty_and_ignores_spaces() {
        assert_eq!("1, 2,".parse::<List<u8>>().unwrap(), List(vec![1, 2]));
        assert_eq!("".parse::<List<u8>>().unwrap(), List(vec![]));
        assert_eq!(List(vec![1, 2]).to_string(), "1,2");
        assert!("1,x".parse::<List<u8>>().is_err());
    }
}
