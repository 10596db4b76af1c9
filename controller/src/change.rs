//! What a request makes of an app's documents: pure, from what is to what shall be.
//!
//! Every function takes the app as it stands and gives the documents as they shall be, nothing
//! when nothing differs, or a refusal. The caller writes both documents in one transaction and
//! reads anew when it lost a race, so no rule here needs to know of others at work.

pub mod config;
pub mod release;
pub mod scale;
pub mod settings;
pub mod volumes;

mod refusal;
pub use refusal::Refusal;

use std::collections::{BTreeMap, BTreeSet};

use model::app::{App, Deploy};
use model::name::{EnvKey, ProcessType, ReleaseNumber, Username};
use model::release::{Build, ProcessSettings, Release, ReleaseState, Sealed};
use model::time::Time;

/// The app as it stands, who asks and when.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The app.
    pub app: &'a App,
    /// The release in force, if there is one.
    pub current: Option<&'a Release>,
    /// Who asks.
    pub by: &'a Username,
    /// When.
    pub now: Time,
}

/// The documents as they shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The app.
    pub app: App,
    /// The release to be made with it.
    pub release: Option<Release>,
}

/// What shall be; none when nothing differs.
pub type Decision = Result<Option<Next>, Refusal>;

/// What a new release holds.
struct Content {
    summary: String,
    build: Option<Build>,
    config: BTreeMap<EnvKey, Sealed>,
    settings: BTreeMap<ProcessType, ProcessSettings>,
}

impl<'a> Asked<'a> {
    fn refuse_busy(&self) -> Result<(), Refusal> {
        match &self.app.target {
            Some(deploy) => Err(Refusal::Busy { release: deploy.release }),
            None => Ok(()),
        }
    }

    fn build(&self) -> Option<&'a Build> {
        self.current.and_then(|release| release.build.as_ref())
    }

    fn content(&self, summary: String) -> Content {
        let Some(current) = self.current else {
            return Content {
                summary,
                build: None,
                config: BTreeMap::new(),
                settings: BTreeMap::new(),
            };
        };
        Content {
            summary,
            build: current.build.clone(),
            config: current.config.clone(),
            settings: current.settings.clone(),
        }
    }

    /// A new release on its way, under a number that was never used.
    fn make(&self, content: Content) -> Next {
        let number = ReleaseNumber(self.app.next_release);
        let mut app = self.app.clone();
        app.next_release += 1;
        app.generation += 1;
        app.target = Some(Deploy { release: number, started: self.now });
        let release = Release {
            app: app.name.clone(),
            number,
            created: self.now,
            created_by: self.by.clone(),
            summary: content.summary,
            build: content.build,
            config: content.config,
            settings: content.settings,
            state: ReleaseState::Deploying,
        };
        Next { app, release: Some(release) }
    }

    /// The types that can be scaled, or a refusal when there is nothing to scale.
    fn scalable(&self) -> Result<BTreeSet<&'a ProcessType>, Refusal> {
        match self.current {
            Some(release) if release.build.is_some() => Ok(release.scalable().collect()),
            _ => Err(Refusal::NothingDeployed),
        }
    }
}

/// Refuses a type the app has not, and names those it has.
fn require_known(process: &ProcessType, known: &BTreeSet<&ProcessType>) -> Result<(), Refusal> {
    if known.contains(process) {
        return Ok(());
    }
    let known = known.iter().map(|process| process.to_string()).collect();
    Err(Refusal::UnknownType { process: process.clone(), known })
}

#[cfg(test)]
mod tests;
