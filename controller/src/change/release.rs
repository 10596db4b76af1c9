//! Releases from a build, and from an earlier release.

use model::app::Scale;
use model::name::{ProcessType, ReleaseNumber};
use model::release::{Build, Release, ReleaseState};

use super::{Asked, Content, Decision, Refusal};
use crate::plan::retention::retained;

/// How much of a commit a summary shows.
const SHOWN_COMMIT: usize = 8;

/// A release of a new build. The first one with a web type gets one web unit.
pub fn deploy(asked: Asked<'_>, build: Build) -> Decision {
    asked.refuse_busy()?;
    let has_web = build.processes.contains_key(&ProcessType::web());
    let summary = match &build.commit {
        Some(commit) => format!("deploy {}", commit.chars().take(SHOWN_COMMIT).collect::<String>()),
        None => "deploy".to_owned(),
    };
    let mut next = asked.make(Content { build: Some(build), ..asked.content(summary) });
    if next.app.formation.is_empty() && has_web {
        let scale = Scale {
            exclusive: false,
            tags: std::collections::BTreeMap::new(),
            count: 1,
            stopped: false,
            epoch: 0,
            changed: asked.now,
        };
        next.app.formation.insert(ProcessType::web(), scale);
    }
    Ok(Some(next))
}

/// Which release a rollback goes to: the one named, or the last before the one in force that
/// succeeded and holds a build.
fn rollback_target<'r>(
    asked: Asked<'_>,
    releases: &'r [Release],
    to: Option<ReleaseNumber>,
) -> Result<&'r Release, Refusal> {
    let current = asked.app.current.ok_or(Refusal::NothingDeployed)?;
    let Some(number) = to else {
        let earlier = releases.iter().filter(|release| {
            release.number < current
                && release.state == ReleaseState::Succeeded
                && release.build.is_some()
        });
        return earlier.max_by_key(|release| release.number).ok_or(Refusal::NoEarlier);
    };
    releases.iter().find(|release| release.number == number).ok_or(Refusal::UnknownRelease(number))
}

/// A new release with an earlier one's build, configuration and settings.
pub fn rollback(asked: Asked<'_>, releases: &[Release], to: Option<ReleaseNumber>) -> Decision {
    asked.refuse_busy()?;
    let earlier = rollback_target(asked, releases, to)?;
    let number = earlier.number;
    if earlier.build.is_none() {
        return Err(Refusal::NoBuild(number));
    }
    let all = releases.iter().map(|release| release.number).collect();
    let kept = retained(&all, asked.app);
    if !kept.contains(&number) {
        return Err(Refusal::ImageGone(number));
    }
    let is_in_force = asked.current.is_some_and(|current| {
        current.build == earlier.build
            && current.config == earlier.config
            && current.settings == earlier.settings
    });
    if is_in_force {
        return Ok(None);
    }
    Ok(Some(asked.make(Content {
        summary: format!("roll back to {number}"),
        build: earlier.build.clone(),
        config: earlier.config.clone(),
        settings: earlier.settings.clone(),
    })))
}
