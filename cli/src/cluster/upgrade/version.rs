//! Versions of the platform, and which may follow which.

use std::{fmt, str::FromStr};

/// `major.minor.patch`. What is stored and sent changes with the minor version only, and is understood by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// What is no version.
#[derive(Debug, thiserror::Error)]
#[error("read a version: `{0}` is none")]
pub struct VersionError(String);

impl Version {
    /// Whether a node may go from `present` to this: within a minor version, or to the next.
    pub fn may_follow(self, present: Version) -> bool {
        self.major == present.major
            && (self.minor == present.minor || self.minor == present.minor.saturating_add(1))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Version, VersionError> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major, minor, patch]) => {
                Ok(Version { major: *major, minor: *minor, patch: *patch })
            }
            Some(_) | None => Err(VersionError(text.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minor_version_is_left_out_and_none_is_gone_back() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let may = |to: &str, from: &str| version(to).may_follow(version(from));
        assert!(may("0.1.1", "0.1.0") && may("0.1.0", "0.1.1") && may("0.2.0", "0.1.9"));
        assert!(!may("0.3.0", "0.1.0") && !may("0.1.0", "0.2.0") && !may("1.0.0", "0.9.0"));
        assert!("1.2".parse::<Version>().is_err() && "v1.2.3".parse::<Version>().is_err());
    }
}
