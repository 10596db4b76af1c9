//! Configuration: what a patch really changes, and the release that carries it.

use std::collections::{BTreeMap, BTreeSet};

use model::name::EnvKey;
use model::release::Sealed;

use super::{Asked, Decision, Refusal};

/// The largest value.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// The most bytes of all names and values.
pub const MAX_CONFIG_BYTES: usize = 512 * 1024;
/// The most variables.
pub const MAX_VARIABLES: usize = 1_000;
/// How many names a release's summary shows.
const SHOWN_NAMES: usize = 5;

/// What a patch changes, `V` being an open or a sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<V> {
    /// Variables with a value they had not.
    pub set: BTreeMap<EnvKey, V>,
    /// Variables there were and shall not be.
    pub unset: BTreeSet<EnvKey>,
}

impl<V> Difference<V> {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }

    /// The same with each value turned into another form.
    pub fn map<W>(self, turn: impl Fn(&EnvKey, V) -> W) -> Difference<W> {
        let set = self.set.into_iter().map(|(key, value)| {
            let turned = turn(&key, value);
            (key, turned)
        });
        Difference { set: set.collect(), unset: self.unset }
    }

    /// One line: `set A, B; unset C`. Names only.
    pub fn summary(&self) -> String {
        let parts = [("set", names(self.set.keys())), ("unset", names(self.unset.iter()))];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        parts.map(|(verb, names)| format!("{verb} {names}")).collect::<Vec<_>>().join("; ")
    }
}

fn names<'k>(keys: impl ExactSizeIterator<Item = &'k EnvKey>) -> String {
    let more = keys.len().saturating_sub(SHOWN_NAMES);
    let shown: Vec<&str> = keys.take(SHOWN_NAMES).map(EnvKey::as_str).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What a patch changes of the open values in force. Refused whole when any part breaks a rule.
pub fn difference(
    now: &BTreeMap<EnvKey, String>,
    set: &BTreeMap<String, String>,
    unset: &[String],
) -> Result<Difference<String>, Refusal> {
    if set.is_empty() && unset.is_empty() {
        return Err(Refusal::Nothing("set or unset"));
    }
    let unset = unset.iter().map(|name| key(name)).collect::<Result<BTreeSet<_>, _>>()?;
    let mut wanted = now.clone();
    wanted.retain(|key, _| !unset.contains(key));
    for (name, value) in set {
        let key = key(name)?;
        check_value(&key, value)?;
        if unset.contains(&key) {
            return Err(Refusal::Contradiction(key));
        }
        wanted.insert(key, value.clone());
    }
    check_size(&wanted)?;
    let unset = unset.into_iter().filter(|key| now.contains_key(key)).collect();
    wanted.retain(|key, value| now.get(key) != Some(value));
    Ok(Difference { set: wanted, unset })
}

fn key(name: &str) -> Result<EnvKey, Refusal> {
    let key: EnvKey = name.parse().map_err(|error: model::name::NameError| Refusal::Key {
        name: name.chars().take(80).collect(),
        rule: error.rule(),
    })?;
    if key.as_str() == "PORT" || key.as_str().starts_with("TRIREME_") {
        return Err(Refusal::Reserved(key));
    }
    Ok(key)
}

fn check_value(key: &EnvKey, value: &str) -> Result<(), Refusal> {
    if value.contains('\0') {
        return Err(Refusal::Nul(key.clone()));
    }
    if value.len() > MAX_VALUE_BYTES {
        let (key, size) = (key.clone(), value.len());
        return Err(Refusal::ValueTooLarge { key, size, most: MAX_VALUE_BYTES });
    }
    Ok(())
}

fn check_size(wanted: &BTreeMap<EnvKey, String>) -> Result<(), Refusal> {
    let too_large = |size, most, unit| Err(Refusal::ConfigTooLarge { size, most, unit });
    if wanted.len() > MAX_VARIABLES {
        return too_large(wanted.len(), MAX_VARIABLES, "variables");
    }
    let bytes = wanted.iter().map(|(key, value)| key.as_str().len() + value.len()).sum();
    if bytes > MAX_CONFIG_BYTES {
        return too_large(bytes, MAX_CONFIG_BYTES, "bytes");
    }
    Ok(())
}

/// The release that carries a difference, sealed.
pub fn configure(asked: Asked<'_>, difference: Difference<Sealed>) -> Decision {
    asked.refuse_busy()?;
    if difference.is_empty() {
        return Ok(None);
    }
    let mut content = asked.content(difference.summary());
    content.config.retain(|key, _| !difference.unset.contains(key));
    content.config.extend(difference.set);
    Ok(Some(asked.make(content)))
}
