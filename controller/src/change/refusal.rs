//! Why a change is refused, and how that is said to a user.

use model::name::{EnvKey, MountPath, ProcessType, ReleaseNumber, VolumeName};
use proto::problem::{Code, Problem};

/// Why a change is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A release is on its way.
    #[error("{release} is being rolled out")]
    Busy {
        /// Which.
        release: ReleaseNumber,
    },
    /// There is no release with a build in force.
    #[error("nothing is deployed yet")]
    NothingDeployed,
    /// The app has no such type.
    #[error("there is no process type `{process}`")]
    UnknownType {
        /// What was asked for.
        process: ProcessType,
        /// What there is.
        known: Vec<String>,
    },
    /// The release phase runs once, anywhere, and is not scaled or checked.
    #[error("`release` runs once with each deploy: it has no count, no check and no volume")]
    ReleasePhase,
    /// More units than a type may have.
    #[error("`{process}` cannot have {count} units: the most is {most}")]
    TooMany {
        /// The type.
        process: ProcessType,
        /// What was asked for.
        count: u32,
        /// The limit.
        most: u32,
    },
    /// Nothing was named.
    #[error("nothing was named to {0}")]
    Nothing(&'static str),
    /// A variable that the platform sets.
    #[error("`{0}` is set by the platform")]
    Reserved(EnvKey),
    /// Not a variable's name.
    #[error("`{name}` is not a variable name: {rule}")]
    Key {
        /// What was given.
        name: String,
        /// What a name looks like.
        rule: &'static str,
    },
    /// Set and unset in one request.
    #[error("`{0}` is both set and unset")]
    Contradiction(EnvKey),
    /// A value no program could receive.
    #[error("the value of `{0}` holds a NUL byte, which no environment can carry")]
    Nul(EnvKey),
    /// A value beyond its limit.
    #[error("the value of `{key}` is {size} bytes: the most is {most}")]
    ValueTooLarge {
        /// Whose.
        key: EnvKey,
        /// How large.
        size: usize,
        /// How large it may be.
        most: usize,
    },
    /// All together beyond the limit.
    #[error("the configuration would be {size} {unit}: the most is {most}")]
    ConfigTooLarge {
        /// How large it would be.
        size: usize,
        /// How large it may be.
        most: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A number or word that breaks its rule.
    #[error("{what} `{given}` {rule}")]
    Value {
        /// Which field.
        what: String,
        /// What was given.
        given: String,
        /// What it must be.
        rule: &'static str,
    },
    /// No such release.
    #[error("there is no release {0}")]
    UnknownRelease(ReleaseNumber),
    /// There is nothing to go back to.
    #[error("there is no earlier release that succeeded")]
    NoEarlier,
    /// A release from before the first push.
    #[error("{0} holds no build: it was made before the first push")]
    NoBuild(ReleaseNumber),
    /// Its image was cleaned up.
    #[error("the image of {0} is no longer kept")]
    ImageGone(ReleaseNumber),
    /// No such volume.
    #[error("the app has no volume `{0}`")]
    UnknownVolume(VolumeName),
    /// There is one of the name.
    #[error("the app has a volume `{0}` already")]
    VolumeExists(VolumeName),
    /// As many as there may be.
    #[error("the app has {0} volumes, which is the most")]
    TooManyVolumes(usize),
    /// Types mount it.
    #[error("volume `{volume}` is mounted by {}", types.join(", "))]
    Mounted {
        /// Which volume.
        volume: VolumeName,
        /// Which types.
        types: Vec<String>,
    },
    /// A unit cannot be on two nodes.
    #[error("`{process}` cannot mount volumes of different nodes: {}", volumes.join(", "))]
    Apart {
        /// The type.
        process: ProcessType,
        /// Where each volume is.
        volumes: Vec<String>,
    },
    /// Two volumes at one place.
    #[error("`{process}` mounts another volume at `{path}`")]
    PathTaken {
        /// The type.
        process: ProcessType,
        /// Where.
        path: MountPath,
    },
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Busy { .. } => Code::Busy,
            Refusal::NothingDeployed => Code::NothingDeployed,
            Refusal::UnknownRelease(_) | Refusal::UnknownVolume(_) => Code::NotFound,
            Refusal::VolumeExists(_) => Code::Exists,
            Refusal::Mounted { .. } | Refusal::Apart { .. } | Refusal::PathTaken { .. } => {
                Code::InUse
            }
            Refusal::TooManyVolumes(_) => Code::TooMany,
            Refusal::NoEarlier | Refusal::NoBuild(_) | Refusal::ImageGone(_) => {
                Code::NothingDeployed
            }
            Refusal::ValueTooLarge { .. } | Refusal::ConfigTooLarge { .. } => Code::TooLarge,
            Refusal::UnknownType { .. }
            | Refusal::ReleasePhase
            | Refusal::TooMany { .. }
            | Refusal::Nothing(_)
            | Refusal::Reserved(_)
            | Refusal::Key { .. }
            | Refusal::Contradiction(_)
            | Refusal::Nul(_)
            | Refusal::Value { .. } => Code::Invalid,
        }
    }

    fn hint(&self) -> String {
        match self {
            Refusal::Busy { .. } => "wait until it is live or given up, then try again".to_owned(),
            Refusal::NothingDeployed => "push first: `git push deis master`".to_owned(),
            Refusal::UnknownType { known, .. } if known.is_empty() => {
                "the release in force has no process types; add them to its Procfile".to_owned()
            }
            Refusal::UnknownType { known, .. } => format!("it has: {}", known.join(", ")),
            Refusal::Reserved(_) => "use another name; `PORT` and `TRIREME_*` are taken".to_owned(),
            Refusal::ValueTooLarge { .. } | Refusal::ConfigTooLarge { .. } => {
                "keep large data in a store of its own and configure its address".to_owned()
            }
            Refusal::UnknownRelease(_)
            | Refusal::NoEarlier
            | Refusal::NoBuild(_)
            | Refusal::ImageGone(_) => {
                "`paasctl releases` lists them; name one that succeeded".to_owned()
            }
            Refusal::Contradiction(_) => "name it once".to_owned(),
            Refusal::UnknownVolume(_) => "`paasctl volumes` lists them".to_owned(),
            Refusal::VolumeExists(_) => "mount it, or choose another name".to_owned(),
            Refusal::Mounted { .. } => "first `paasctl volumes:unmount`".to_owned(),
            Refusal::Apart { .. } => {
                "make the volume anew where the other is: `paasctl volumes:create --node`"
                    .to_owned()
            }
            Refusal::PathTaken { .. } => "choose another path".to_owned(),
            Refusal::ReleasePhase
            | Refusal::TooMany { .. }
            | Refusal::TooManyVolumes(_)
            | Refusal::Nothing(_)
            | Refusal::Key { .. }
            | Refusal::Nul(_)
            | Refusal::Value { .. } => String::new(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::new(refusal.code(), refusal.to_string()).hint(refusal.hint())
    }
}
