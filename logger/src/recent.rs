//! Which batches an app's log holds already, so that a batch sent twice is stored once. Pure.

use std::collections::VecDeque;

use crate::record::RecentSource;

/// Senders remembered per app; the one that was silent longest is forgotten first.
const MAX_SOURCES: usize = 32;
/// Batches remembered per sender: more than one has under way at once.
const MAX_SEQUENCES: usize = 64;

/// The last batches of the last senders, oldest first.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Recent(VecDeque<RecentSource>);

impl Recent {
    /// As a segment's first record tells it.
    pub fn restore(sources: Vec<RecentSource>) -> Recent {
        Recent(sources.into())
    }

    /// For a segment's first record.
    pub fn save(&self) -> Vec<RecentSource> {
        self.0.iter().cloned().collect()
    }

    /// Whether this batch is stored. Batches of no source are never the same.
    pub fn contains(&self, source: &str, sequence: u64) -> bool {
        self.0.iter().any(|known| known.source == source && known.sequences.contains(&sequence))
    }

    /// Remembers a stored batch.
    pub fn note(&mut self, source: &str, sequence: u64) {
        if source.is_empty() {
            return;
        }
        let place = self.0.iter().position(|known| known.source == source);
        let mut entry = place
            .and_then(|place| self.0.remove(place))
            .unwrap_or_else(|| RecentSource { source: source.to_owned(), sequences: Vec::new() });
        if entry.sequences.len() == MAX_SEQUENCES {
            entry.sequences.remove(0);
        }
        entry.sequences.push(sequence);
        if self.0.len() == MAX_SOURCES {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_remembered_per_sender_and_survive_a_new_segment() {
        let mut recent = Recent::default();
        recent.note("a", 1);
        recent.note("a", 3);
        recent.note("", 1);
        let recent = Recent::restore(recent.save());
        assert!(recent.contains("a", 1) && recent.contains("a", 3));
        assert!(!recent.contains("a", 2) && !recent.contains("b", 1) && !recent.contains("", 1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stays() {
        let mut recent = Recent::default();
        for sequence in 0..1000 {
            recent.note("busy", sequence);
        }
        assert!(recent.contains("busy", 999) && !recent.contains("busy", 999 - 64));
        for source in 0..40 {
            recent.note(&format!("s{source}"), 1);
        }
        assert!(!recent.contains("busy", 999) && recent.contains("s39", 1));
        assert_eq!(recent.save().len(), MAX_SOURCES);
    }
}
