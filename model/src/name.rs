//! Names: parsed once at the edge, valid ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name of its kind. Completes "failed to ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read `{text}` as {kind}: {rule}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

impl NameError {
    /// What a valid name looks like, in the user's words.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    return Ok(Self(text.to_owned()));
                }
                let shown: String = text.chars().take(80).collect();
                Err(NameError { kind: $kind, text: shown, rule: $rule })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// An app's name: a DNS label, because it becomes `<app>.<platform domain>`.
    AppName,
    "an app name",
    "2 to 40 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen; `deis`, `api` and `git` are taken",
    |text| (2..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !matches!(text, "deis" | "api" | "git")
);

name!(
    /// A process type as a Procfile names it: `web`, `worker`, `clock-2`.
    ProcessType,
    "a process type",
    "1 to 30 letters, digits, hyphens and underscores, starting with a letter",
    |text| (1..=30).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);

name!(
    /// The key of a configuration variable.
    EnvKey,
    "a variable name",
    "1 to 256 letters, digits and underscores, not starting with a digit",
    |text| (1..=256).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
);

name!(
    /// A person's or a robot's account name.
    Username,
    "a user name",
    "1 to 40 letters, digits, `.`, `-`, `_`, `@` and `+`, starting with a letter or digit",
    |text| (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@+".contains(&b))
);

name!(
    /// A machine of the cluster.
    NodeName,
    "a node name",
    "1 to 60 lower-case letters, digits, hyphens and dots, starting with a letter or digit",
    |text| (1..=60).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
);

name!(
    /// One unit, for its whole life: unique in the cluster, safe in a container name.
    UnitId,
    "a unit id",
    "1 to 120 lower-case letters, digits and hyphens",
    |text| (1..=120).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

name!(
    /// A volume's name within its app.
    VolumeName,
    "a volume name",
    "1 to 30 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen",
    |text| (1..=30).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

name!(
    /// One volume, for ever: unique in the cluster, safe as a folder's name.
    VolumeId,
    "a volume id",
    "1 to 120 lower-case letters, digits and hyphens, starting with a letter or digit",
    |text| (1..=120).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

name!(
    /// Where a container mounts something.
    MountPath,
    "a mount path",
    "`/` and one or more folders of letters, digits, `.`, `-` and `_`, at most 200 characters in all; `/proc`, `/sys` and `/dev` are taken",
    |text| text.len() <= 200
        && text.strip_prefix('/').is_some_and(|folders| {
            !["proc", "sys", "dev"].contains(&folders.split('/').next().unwrap_or_default())
                && folders.split('/').all(|folder| {
                    !["", ".", ".."].contains(&folder)
                        && folder.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                })
        })
);

name!(
    /// A host name an app answers to: exact (`www.example.com`) or with a first label of `*`.
    Hostname,
    "a host name",
    "lower-case DNS labels joined by dots, at least two of them; the first may be `*`",
    |text| {
        let labels: Vec<&str> = text.split('.').collect();
        text.len() <= 253
            && labels.len() >= 2
            && labels.iter().enumerate().all(|(place, label)| {
                (place == 0 && *label == "*" && labels.len() >= 3)
                    || ((1..=63).contains(&label.len())
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
            })
    }
);

impl ProcessType {
    /// The type that receives HTTP.
    pub fn web() -> ProcessType {
        ProcessType("web".to_owned())
    }

    /// The type of one-off commands. It has limits; an app need not have it.
    pub fn run() -> ProcessType {
        ProcessType("run".to_owned())
    }

    /// The type whose command runs once on each new image before the rollout.
    pub fn release() -> ProcessType {
        ProcessType("release".to_owned())
    }

    /// Whether units of this type receive HTTP.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }

    /// Whether this type is the release phase, which is run once and never scaled.
    pub fn is_release(&self) -> bool {
        self.0 == "release"
    }
}

impl Hostname {
    /// Whether the name stands for every host one label below its parent.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether this name, as a certificate has it, is good for a host: the same, or a wildcard one
    /// label above.
    pub fn covers(&self, host: &Hostname) -> bool {
        let parent = self.0.strip_prefix('*');
        let label = parent.and_then(|parent| host.0.strip_suffix(parent));
        self == host
            || label.is_some_and(|label| !label.is_empty() && !label.contains('.') && label != "*")
    }
}

/// A release's number within its app, shown as `v7`. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for ReleaseNumber {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        match digits.parse() {
            Ok(number) if number > 0 => Ok(ReleaseNumber(number)),
            _ => Err(NameError {
                kind: "a release number",
                text: text.chars().take(80).collect(),
                rule: "`v` and a number from 1, as `paasctl releases` shows it",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_are_dns_labels() {
        for good in ["ab", "shop", "shop-2", "a1-b2"] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in
            ["", "a", "Shop", "2shop", "shop-", "sh_op", "sh.op", "deis", "../x", "a b", "é1"]
        {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
        assert!("a".repeat(41).parse::<AppName>().is_err());
    }

    #[test]
    fn mount_paths_are_absolute_plain_and_not_the_systems() {
        for good in ["/data", "/app/var.d/x_1-2", "/device"] {
            assert!(good.parse::<MountPath>().is_ok(), "{good}");
        }
        for bad in
            ["", "/", "data", "/a/", "//a", "/a/../b", "/./a", "/a:ro", "/a b", "/proc/1", "/dev"]
        {
            assert!(bad.parse::<MountPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn wildcards_stand_only_first_and_above_a_domain() {
        for good in ["www.example.com", "*.example.com", "a.b"] {
            assert!(good.parse::<Hostname>().is_ok(), "{good}");
        }
        for bad in ["example", "*.com", "a.*.com", "-a.b", "a..b", "A.b", "a.b.", "*"] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label_only() {
        let covers = |name: &str, host: &str| {
            name.parse::<Hostname>().unwrap().covers(&host.parse().unwrap())
        };
        for (name, host) in [("a.b.c", "a.b.c"), ("*.b.c", "a.b.c"), ("*.b.c", "*.b.c")] {
            assert!(covers(name, host), "{name} {host}");
        }
        for (name, host) in
            [("*.b.c", "x.a.b.c"), ("*.b.c", "b.c"), ("a.b.c", "*.b.c"), ("*.a.b.c", "*.b.c")]
        {
            assert!(!covers(name, host), "{name} {host}");
        }
    }

    #[test]
    fn release_numbers_read_with_and_without_their_letter() {
        assert_eq!("v7".parse(), Ok(ReleaseNumber(7)));
        assert_eq!("7".parse(), Ok(ReleaseNumber(7)));
        for bad in ["v0", "0", "v", "-1", "vv1", "1.5"] {
            assert!(bad.parse::<ReleaseNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_name_is_checked_when_read() {
        assert!(serde_json::from_str::<AppName>("\"Shop\"").is_err());
        assert_eq!(serde_json::to_string(&"shop".parse::<AppName>().unwrap()).unwrap(), "\"shop\"");
    }
}
