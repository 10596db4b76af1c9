//! Counts, restarts, stops and starts: changes of the formation that make no release.

use std::collections::BTreeMap;

use model::app::Scale;
use model::name::ProcessType;

use super::{Asked, Decision, Next, Refusal, require_known};

/// Tags of one type.
const MAX_TAGS: usize = 20;

/// The most units of one type.
pub const MAX_UNITS: u32 = 1_000;

/// New counts, all or none. Types not named stay as they are; a stopped type that is named starts.
pub fn scale(asked: Asked<'_>, counts: &BTreeMap<ProcessType, u32>) -> Decision {
    asked.refuse_busy()?;
    if counts.is_empty() {
        return Err(Refusal::Nothing("scale"));
    }
    let known = asked.scalable()?;
    for (process, &count) in counts {
        if process.is_release() {
            return Err(Refusal::ReleasePhase);
        }
        require_known(process, &known)?;
        if count > MAX_UNITS {
            return Err(Refusal::TooMany { process: process.clone(), count, most: MAX_UNITS });
        }
    }
    let wanted = |process: &ProcessType| counts.get(process).copied();
    Ok(reshape(asked, |process, scale| match wanted(process) {
        Some(count) => Scale { count, stopped: false, ..scale.clone() },
        None => scale.clone(),
    }))
}

/// Replaces the units of the named types, or of all, by new ones.
pub fn restart(asked: Asked<'_>, processes: &[ProcessType]) -> Decision {
    check(asked, processes)?;
    Ok(reshape(asked, |process, scale| match is_named(process, processes) && scale.wanted() > 0 {
        true => Scale { epoch: scale.epoch + 1, ..scale.clone() },
        false => scale.clone(),
    }))
}

/// Stops or starts the named types, or all; counts are remembered.
pub fn set_stopped(asked: Asked<'_>, processes: &[ProcessType], stopped: bool) -> Decision {
    check(asked, processes)?;
    Ok(reshape(asked, |process, scale| match is_named(process, processes) && scale.count > 0 {
        true => Scale { stopped, ..scale.clone() },
        false => scale.clone(),
    }))
}

/// What changes of where a type's units may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementPatch {
    /// Labels to ask for; none: not any more.
    pub tags: BTreeMap<String, Option<String>>,
    /// Whether it is exclusive, if that changes.
    pub exclusive: Option<bool>,
}

/// Other labels to ask for, or other care. Units of a type that changes are replaced, so that all of them keep the new rule.
pub fn set_placement(
    asked: Asked<'_>,
    patches: &BTreeMap<ProcessType, PlacementPatch>,
) -> Decision {
    if patches.is_empty() {
        return Err(Refusal::Nothing("place"));
    }
    check(asked, &patches.keys().cloned().collect::<Vec<_>>())?;
    let next = reshape(asked, |process, scale| {
        let mut after = scale.clone();
        let Some(patch) = patches.get(process) else { return after };
        for (label, value) in &patch.tags {
            match value {
                Some(value) => after.tags.insert(label.clone(), value.clone()),
                None => after.tags.remove(label),
            };
        }
        after.exclusive = patch.exclusive.unwrap_or(scale.exclusive);
        if after != *scale && scale.wanted() > 0 {
            after.epoch += 1;
        }
        after
    });
    let most = next.iter().flat_map(|next| next.app.formation.values());
    match most.map(|scale| scale.tags.len()).max() {
        Some(count) if count > MAX_TAGS => Err(Refusal::Value {
            what: "the number of tags".to_owned(),
            given: count.to_string(),
            rule: "is over the limit of 20",
        }),
        _ => Ok(next),
    }
}

fn check(asked: Asked<'_>, processes: &[ProcessType]) -> Result<(), Refusal> {
    asked.refuse_busy()?;
    let known = asked.scalable()?;
    processes.iter().try_for_each(|process| match process.is_release() {
        true => Err(Refusal::ReleasePhase),
        false => require_known(process, &known),
    })
}

fn is_named(process: &ProcessType, processes: &[ProcessType]) -> bool {
    processes.is_empty() || processes.contains(process)
}

/// Applies `shape` to every type the release in force has; none when nothing differs.
fn reshape(asked: Asked<'_>, shape: impl Fn(&ProcessType, &Scale) -> Scale) -> Option<Next> {
    let mut app = asked.app.clone();
    let types = asked.current.into_iter().flat_map(|release| release.scalable());
    for process in types {
        let before = asked.app.formation.get(process).cloned().unwrap_or_default();
        let after = shape(process, &before);
        if after != before {
            app.formation.insert(process.clone(), Scale { changed: asked.now, ..after });
        }
    }
    if app.formation == asked.app.formation {
        return None;
    }
    app.generation += 1;
    Some(Next { app, release: None })
}
