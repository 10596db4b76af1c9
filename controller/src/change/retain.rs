//! Which releases' images are kept.

use std::collections::BTreeSet;

use model::name::ReleaseNumber;

/// How many of the newest releases keep their image.
pub const KEPT_RELEASES: usize = 20;

/// The releases whose image is kept: the newest [`KEPT_RELEASES`] and the one in force.
pub fn retained(
    releases: impl IntoIterator<Item = ReleaseNumber>,
    current: Option<ReleaseNumber>,
) -> BTreeSet<ReleaseNumber> {
    let all: BTreeSet<ReleaseNumber> = releases.into_iter().collect();
    let newest = all.iter().rev().take(KEPT_RELEASES).copied();
    newest.chain(current.filter(|current| all.contains(current))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_one_in_force_are_kept() {
        let all = (1..=30).map(ReleaseNumber);
        let kept = retained(all.clone(), Some(ReleaseNumber(3)));
        assert_eq!(kept.len(), KEPT_RELEASES + 1);
        assert!(kept.contains(&ReleaseNumber(3)) && kept.contains(&ReleaseNumber(11)));
        assert!(!kept.contains(&ReleaseNumber(10)));
        assert_eq!(retained(all, Some(ReleaseNumber(99))).len(), KEPT_RELEASES);
    }
}
