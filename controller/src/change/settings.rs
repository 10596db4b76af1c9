//! Limits and health checks: settings of a process type that outlive a build.

use std::collections::BTreeMap;

use model::name::ProcessType;
use model::release::{Check, ProcessSettings};

use super::{Asked, Content, Decision, Refusal, require_known};

/// The least memory of a unit: below it hardly any program starts.
pub const MIN_MEMORY_BYTES: u64 = 16 << 20;
/// The most memory of a unit.
pub const MAX_MEMORY_BYTES: u64 = 4 << 40;
/// The least CPU of a unit, in thousandths of a core.
pub const MIN_CPU_MILLIS: u32 = 10;
/// The most CPU of a unit.
pub const MAX_CPU_MILLIS: u32 = 64_000;
/// Types named in settings before the first push.
const MAX_TYPES: usize = 50;

/// What a limit shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// As it is.
    Leave,
    /// The default.
    Remove,
    /// This.
    Set(T),
}

/// New limits of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsPatch {
    /// Memory, in bytes.
    pub memory_bytes: Limit<u64>,
    /// CPU, in thousandths of a core.
    pub cpu_millis: Limit<u32>,
}

impl<T: Copy> Limit<T> {
    fn over(self, now: Option<T>) -> Option<T> {
        match self {
            Limit::Leave => now,
            Limit::Remove => None,
            Limit::Set(value) => Some(value),
        }
    }
}

/// A release with other limits.
pub fn set_limits(asked: Asked<'_>, patches: &BTreeMap<ProcessType, LimitsPatch>) -> Decision {
    if patches.is_empty() {
        return Err(Refusal::Nothing("limit"));
    }
    let names: Vec<&str> = patches.keys().map(ProcessType::as_str).collect();
    resettle(
        asked,
        format!("limits of {}", names.join(", ")),
        |settings| {
            for (process, patch) in patches {
                let limits = &mut settings.entry(process.clone()).or_default().limits;
                limits.memory_bytes = patch.memory_bytes.over(limits.memory_bytes);
                limits.cpu_millis = patch.cpu_millis.over(limits.cpu_millis);
            }
        },
        // One-off commands have limits whatever the app is made of.
        patches.keys().filter(|process| **process != ProcessType::run()),
    )
}

/// A release with another check of one type; none returns to the default.
pub fn set_check(asked: Asked<'_>, process: &ProcessType, check: Option<Check>) -> Decision {
    if process.is_release() {
        return Err(Refusal::ReleasePhase);
    }
    let verb = if check.is_some() { "check of" } else { "default check of" };
    resettle(
        asked,
        format!("{verb} {process}"),
        |settings| {
            settings.entry(process.clone()).or_default().check = check.clone();
        },
        [process],
    )
}

/// Before the first push any type may be named, so that the first release has what it needs.
fn resettle<'p>(
    asked: Asked<'_>,
    summary: String,
    edit: impl FnOnce(&mut BTreeMap<ProcessType, ProcessSettings>),
    processes: impl IntoIterator<Item = &'p ProcessType>,
) -> Decision {
    asked.refuse_busy()?;
    if let Some(build) = asked.build() {
        let known = build.processes.keys().collect();
        processes.into_iter().try_for_each(|process| require_known(process, &known))?;
    }
    let content = asked.content(summary);
    let mut settings = content.settings.clone();
    edit(&mut settings);
    settings.retain(|_, settings| *settings != ProcessSettings::default());
    if settings.len() > MAX_TYPES {
        return Err(Refusal::Value {
            what: "the number of process types with settings".to_owned(),
            given: settings.len().to_string(),
            rule: "is over the limit of 50",
        });
    }
    if settings == content.settings {
        return Ok(None);
    }
    Ok(Some(asked.make(Content { settings, ..content })))
}
