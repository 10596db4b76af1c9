//! Pairs such as `disk=ssd` and `web=/data`: as arguments, and in lists.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::failure::Failure;

/// Reads pairs to set; all of them have the shape, or nothing is done.
pub fn read(
    pairs: &[String],
    shape: &str,
    example: &str,
    is_value: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let read_one = |pair: &String| {
        let parts =
            pair.split_once('=').filter(|(name, value)| !name.is_empty() && is_value(value));
        let (name, value) = parts.ok_or_else(|| {
            Failure::usage(format!("`{pair}` is not {shape}; nothing was changed"))
                .hint(format!("Write it like: {example}"))
        })?;
        Ok((name.to_owned(), Some(value.to_owned())))
    };
    pairs.iter().map(read_one).collect()
}

/// Shows pairs in a cell of a table.
pub fn shown(pairs: impl IntoIterator<Item = (impl Display, impl Display)>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
}
