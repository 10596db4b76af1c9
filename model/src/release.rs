//! A release: an image, its configuration, its process types. Immutable but for its state.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{AppName, EnvKey, ProcessType, ReleaseNumber, Username};
use crate::time::Time;

/// One numbered release of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The app it belongs to.
    pub app: AppName,
    /// Its number, never reused.
    pub number: ReleaseNumber,
    /// When it was made.
    pub created: Time,
    /// Who made it.
    pub created_by: Username,
    /// What changed, in one line: "deploy 1a2b3c4d", "set GREETING".
    pub summary: String,
    /// What was built; none before the first push.
    pub build: Option<Build>,
    /// The environment, sealed value by value.
    pub config: BTreeMap<EnvKey, Sealed>,
    /// Per-type settings that outlive a build: limits and checks.
    pub settings: BTreeMap<ProcessType, ProcessSettings>,
    /// How it fared. The one field that changes.
    pub state: ReleaseState,
}

/// The result of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The image, by digest: `127.0.0.1:5000/shop@sha256:...`.
    pub image: String,
    /// The commit it was built from, in full.
    pub commit: Option<String>,
    /// Process types and their commands; none as command means the image's own.
    pub processes: BTreeMap<ProcessType, Option<Command>>,
    /// The port the image declares, if it declares exactly one.
    pub exposed_port: Option<u16>,
}

/// A command as its argument list. A Procfile line becomes `["/bin/sh", "-c", line]`, run inside
/// the container only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

/// A configuration value, encrypted and bound to its app and key. Base64 text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// What the owner set for one process type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSettings {
    /// Memory and CPU.
    #[serde(default)]
    pub limits: Limits,
    /// How the platform knows that a unit is well; none means the default check.
    #[serde(default)]
    pub check: Option<Check>,
}

/// Limits of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Hard memory limit and reservation; none means the cluster's default.
    pub memory_bytes: Option<u64>,
    /// CPU time in thousandths of a core; none means unlimited with equal shares.
    pub cpu_millis: Option<u32>,
}

/// A health check: what is asked, and how patient we are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// A failing check does not count until the unit is this old.
    pub grace_ms: u64,
    /// How often it is asked.
    pub period_ms: u64,
    /// How long an answer may take.
    pub timeout_ms: u64,
    /// How many successes make a unit ready.
    pub rise: u32,
    /// How many failures make a ready unit unready and restarted.
    pub fall: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Probe {
    /// An HTTP request to the unit's port.
    Http {
        /// `GET` or `HEAD`.
        method: String,
        /// Path with query.
        path: String,
        /// The Host header; none means the unit's address.
        host: Option<String>,
        /// Accepted status, both ends included.
        status_from: u16,
        /// See `status_from`.
        status_to: u16,
    },
    /// A TCP connection to the unit's port.
    Tcp,
    /// A command run inside the container; exit 0 is healthy.
    Exec {
        /// The argument list.
        command: Vec<String>,
    },
    /// Nothing is asked: a unit that has run for a moment is well.
    Running,
}

impl Check {
    /// The check of a type without one: web units must listen on PORT, others must stay up.
    pub fn default_for(process: &ProcessType) -> Check {
        let probe = if process.is_web() { Probe::Tcp } else { Probe::Running };
        Check { probe, grace_ms: 60_000, period_ms: 5_000, timeout_ms: 5_000, rise: 1, fall: 3 }
    }
}

/// How a release fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ReleaseState {
    /// On its way.
    Deploying,
    /// It was seen serving at least once.
    Succeeded,
    /// It was given up. Kept and visible.
    Failed {
        /// Why, in the user's words.
        reason: String,
    },
}

impl Release {
    /// The types this release can run, the release phase excepted.
    pub fn scalable(&self) -> impl Iterator<Item = &ProcessType> {
        let build = self.build.iter();
        build.flat_map(|build| build.processes.keys()).filter(|process| !process.is_release())
    }

    /// The command of a type; the outer none means the release has no such type.
    pub fn command(&self, process: &ProcessType) -> Option<Option<&Command>> {
        let build = self.build.as_ref()?;
        build.processes.get(process).map(Option::as_ref)
    }

    /// The health check of a type.
    pub fn check(&self, process: &ProcessType) -> Check {
        let own = self.settings.get(process).and_then(|settings| settings.check.clone());
        own.unwrap_or_else(|| Check::default_for(process))
    }

    /// The limits of a type.
    pub fn limits(&self, process: &ProcessType) -> Limits {
        self.settings.get(process).map(|settings| settings.limits.clone()).unwrap_or_default()
    }

    /// The limits of a one-off command: what is set for `run`, else what is set for `web`, whose work it mostly does.
    pub fn one_off_limits(&self) -> Limits {
        let (own, web) = (self.limits(&ProcessType::run()), self.limits(&ProcessType::web()));
        Limits {
            memory_bytes: own.memory_bytes.or(web.memory_bytes),
            cpu_millis: own.cpu_millis.or(web.cpu_millis),
        }
    }
}
