//! An app: who owns it, which release is in force, how many units of each type it shall have.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::{AppName, ProcessType, ReleaseNumber, Username, VolumeName};
use crate::time::Time;
use crate::volume::Volume;

/// The branches that deploy when the owner has not named one.
pub const DEFAULT_DEPLOY_BRANCHES: [&str; 2] = ["master", "main"];

/// The desired state of one app. Written by the controller only, guarded by its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name, unique in the cluster.
    pub name: AppName,
    /// Who may destroy and hand it over.
    pub owner: Username,
    /// Who else may deploy and operate it.
    pub collaborators: BTreeSet<Username>,
    /// When it was created.
    pub created: Time,
    /// The one branch that deploys; none means `master` or `main`.
    pub deploy_branch: Option<String>,
    /// Whether the router answers with the maintenance page.
    pub maintenance: bool,
    /// The number the next release gets. Only grows.
    pub next_release: u32,
    /// The release in force: the last one that was seen serving.
    pub current: Option<ReleaseNumber>,
    /// The release on its way to being in force.
    pub target: Option<Deploy>,
    /// How many units each process type shall have.
    pub formation: BTreeMap<ProcessType, Scale>,
    /// Grows with every change that units must follow.
    pub generation: u64,
    /// How far the units have followed.
    pub settled: Settled,
    /// What goes first when there is not room for all.
    #[serde(default)]
    pub class: Class,
    /// Its volumes, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// Set by `apps:destroy`: units stop, then the app and all it owns are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Time>,
}

/// A release being rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Which release.
    pub release: ReleaseNumber,
    /// When the rollout began.
    pub started: Time,
}

/// What the owner wants of one process type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// How many units.
    pub count: u32,
    /// Stopped by `ps:stop`: the count is remembered, nothing runs.
    pub stopped: bool,
    /// Grows with each `ps:restart`; units of an older epoch are replaced.
    pub epoch: u64,
    /// When the count, stop or epoch last changed; deadlines count from here.
    pub changed: Time,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Never two of one ordinal at a time: the old one is gone, or known to have ended itself, before the new one starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

/// What goes first when there is not room for all; a later one may take an earlier one's room.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May be gone for a while.
    Preview,
    /// What an app is unless its owner says otherwise.
    #[default]
    Standard,
    /// Takes the room of all others when it must.
    Production,
}

impl Scale {
    /// How many units shall run now.
    pub fn wanted(&self) -> u32 {
        if self.stopped { 0 } else { self.count }
    }
}

/// The last generation that came to an end, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Which generation.
    pub generation: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a change ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Outcome {
    /// The new state was seen serving.
    #[default]
    Live,
    /// It was given up; what served before still serves.
    Failed {
        /// A stable code such as `unhealthy`, `crashed`, `release-failed`, `no-room`.
        code: String,
        /// What happened, in the user's words.
        reason: String,
        /// The failing unit's last lines.
        last_lines: Vec<String>,
    },
}

impl App {
    /// A new app without releases.
    pub fn new(name: AppName, owner: Username, created: Time) -> App {
        App {
            name,
            owner,
            collaborators: BTreeSet::new(),
            created,
            deploy_branch: None,
            maintenance: false,
            next_release: 1,
            current: None,
            target: None,
            formation: BTreeMap::new(),
            generation: 0,
            settled: Settled::default(),
            class: Class::default(),
            volumes: BTreeMap::new(),
            destroyed: None,
        }
    }

    /// Whether a push to `branch` deploys.
    pub fn deploys(&self, branch: &str) -> bool {
        match &self.deploy_branch {
            Some(only) => only == branch,
            None => DEFAULT_DEPLOY_BRANCHES.contains(&branch),
        }
    }

    /// The release units shall run: the one being rolled out, else the one in force.
    pub fn wanted_release(&self) -> Option<ReleaseNumber> {
        self.target.as_ref().map(|deploy| deploy.release).or(self.current)
    }

    /// Whether every change has come to its end.
    pub fn is_settled(&self) -> bool {
        self.settled.generation >= self.generation
    }
}
