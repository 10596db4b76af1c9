//! The life of a cluster's store: which orders are obeyed when the store was recovered or restored, and an older one of it
//! comes back.
//!
//! Everybody who obeys keeps the incarnation obeyed last and offers what comes to [`Incarnation::hear`]. Revisions, epochs
//! and versions are compared within one incarnation only: a store that was restored counts from lower ones.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One life of a store. Only recovering, restoring and moving begin another; the default one is before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Incarnation {
    /// Grows with each.
    pub counter: u64,
    /// Random: two that were begun at two places are told apart although both counted alike.
    pub id: String,
}

/// What is offered is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is the one obeyed already.
    Same,
    /// It is a later one: it replaces the other and all that was counted under it.
    Later,
}

/// What is offered is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is of an earlier life.
    #[error(
        "obey incarnation `{offered}`: the cluster was recovered or restored since, as `{known}`. Take the node it comes from out of the way: there `clusterctl down --wipe`, then join it anew"
    )]
    Earlier {
        /// The one obeyed.
        known: Incarnation,
        /// The one that came.
        offered: Incarnation,
    },
    /// It is of another life that counts alike: another cluster, or this one recovered twice.
    #[error(
        "obey incarnation `{offered}`: it is no later one of `{known}`, but of another cluster or of this one recovered at two places. Decide which is right, and on the nodes of the other `clusterctl down --wipe`, then join them anew"
    )]
    Other {
        /// The one obeyed.
        known: Incarnation,
        /// The one that came.
        offered: Incarnation,
    },
}

impl Incarnation {
    /// What somebody who obeys this one makes of another.
    pub fn hear(&self, offered: &Incarnation) -> Result<Heard, Refusal> {
        let (known, offered) = (self.clone(), offered.clone());
        match offered.counter.cmp(&known.counter) {
            Ordering::Greater => Ok(Heard::Later),
            Ordering::Equal if offered == known => Ok(Heard::Same),
            Ordering::Equal => Err(Refusal::Other { known, offered }),
            Ordering::Less => Err(Refusal::Earlier { known, offered }),
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.counter, self.id)
    }
}

impl FromStr for Incarnation {
    type Err = Infallible;

    /// What has no counter was written before there was one: it is a first. Nothing is before the first.
    fn from_str(text: &str) -> Result<Incarnation, Infallible> {
        let counted =
            text.split_once('.').and_then(|(counter, id)| Some((counter.parse().ok()?, id)));
        let (counter, id) = counted.unwrap_or((u64::from(!text.is_empty()), text));
        Ok(Incarnation { counter, id: id.to_owned() })
    }
}

impl From<String> for Incarnation {
    fn from(text: String) -> Incarnation {
        let Ok(incarnation) = text.parse();
        incarnation
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> String {
        incarnation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Incarnation {
        text.to_owned().into()
    }

    #[test]
    fn a_later_one_is_obeyed_and_no_other() {
        let known = of("2.a");
        assert_eq!(known.hear(&of("2.a")), Ok(Heard::Same));
        assert_eq!(known.hear(&of("3.b")), Ok(Heard::Later));
        assert!(matches!(known.hear(&of("1.c")), Err(Refusal::Earlier { .. })));
        assert!(matches!(known.hear(&of("2.b")), Err(Refusal::Other { .. })));
        assert_eq!(Incarnation::default().hear(&of("1.c")), Ok(Heard::Later));
    }

    #[test]
    fn one_without_a_counter_is_a_first() {
        assert_eq!(of("0af3"), Incarnation { counter: 1, id: "0af3".to_owned() });
        assert_eq!(of("").counter, 0);
        assert_eq!(of(&of("0af3").to_string()), of("0af3"));
        assert_eq!(of(&Incarnation::default().to_string()), Incarnation::default());
    }
}
