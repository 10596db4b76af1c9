//! The nodes of the cluster as a gateway tells them, kept on disk for the time without one.

use std::path::{Path, PathBuf};

use model::incarnation::{Heard, Incarnation, Refusal};
use model::node::Member;
use proto::gateway::MemberSet;
use serde::{Deserialize, Serialize};
use service::durable::{self, DurableError};

const FILE: &str = "members.json";
const VERSION: u32 = 1;

/// All nodes that are in the cluster, silent ones included, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Whose they are: the life of the store they were read from.
    pub incarnation: Incarnation,
    /// The store's revision they were last changed at.
    pub revision: u64,
    /// The nodes.
    pub nodes: Vec<Member>,
}

impl Members {
    pub(crate) fn parse(set: &MemberSet) -> Result<Members, serde_json::Error> {
        let nodes = set.members_json.iter().map(|json| serde_json::from_str(json));
        Ok(Members {
            incarnation: set.incarnation.clone().into(),
            revision: set.revision,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether these are news to somebody who knows `known`: a controller that lags behind tells old ones, and each life of the
    /// store counts for itself.
    pub(crate) fn is_news_after(&self, known: &Members) -> Result<bool, Refusal> {
        Ok(match known.incarnation.hear(&self.incarnation)? {
            Heard::Later => true,
            Heard::Same => self.revision > known.revision,
        })
    }

    /// The gateways of all members.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().filter_map(|member| member.addresses.gateway.clone())
    }

    /// Those of the last run. A file that cannot be read is told and not used: a gateway will send others.
    pub(crate) fn kept(folder: &Path) -> Members {
        match durable::read_json(&path(folder), VERSION) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the kept members are not usable");
                Members::default()
            }
        }
    }

    /// Keeps them. Blocks.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), DurableError> {
        durable::write_json(&path(folder), VERSION, self, durable::PRIVATE)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(incarnation: &str, revision: u64) -> Members {
        Members { incarnation: incarnation.to_owned().into(), revision, nodes: Vec::new() }
    }

    #[test]
    fn a_controller_that_lags_behind_changes_nothing() {
        let known = members("2.a", 7);
        let is_news = |incarnation: &str, revision| {
            members(incarnation, revision).is_news_after(&known).map_err(|_| "refused")
        };
        assert_eq!(is_news("2.a", 6), Ok(false));
        assert_eq!(is_news("2.a", 7), Ok(false));
        assert_eq!(is_news("2.a", 8), Ok(true));
        // A restored store counts from a lower revision.
        assert_eq!(is_news("3.b", 2), Ok(true));
        assert_eq!(is_news("2.b", 9), Err("refused"));
        assert_eq!(is_news("1.c", 9), Err("refused"));
    }

    #[test]
    fn what_was_kept_is_read_again_and_what_is_broken_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Members::kept(folder.path()), Members::default());
        members("a", 7).keep(folder.path()).unwrap();
        assert_eq!(Members::kept(folder.path()), members("a", 7));
        std::fs::write(path(folder.path()), "{").unwrap();
        assert_eq!(Members::kept(folder.path()), Members::default());
    }
}
