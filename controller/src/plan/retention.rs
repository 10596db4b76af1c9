//! Which releases keep their image.

use std::collections::BTreeSet;

use model::app::App;
use model::name::ReleaseNumber;

/// How many of an app's newest releases keep their image.
pub const KEPT_RELEASES: usize = 20;

/// The newest [`KEPT_RELEASES`], the one in force and the one on its way.
pub fn retained(releases: &BTreeSet<ReleaseNumber>, app: &App) -> BTreeSet<ReleaseNumber> {
    let newest = releases.iter().rev().take(KEPT_RELEASES).copied();
    let target = app.target.as_ref().map(|deploy| deploy.release);
    let named = app.current.into_iter().chain(target);
    newest.chain(named.filter(|number| releases.contains(number))).collect()
}

#[cfg(test)]
mod tests {
    use model::app::Deploy;
    use model::time::Time;

    use super::*;

    #[test]
    fn the_newest_the_one_in_force_and_the_one_on_its_way_keep_their_image() {
        let mut app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(0));
        app.current = Some(ReleaseNumber(3));
        app.target = Some(Deploy { release: ReleaseNumber(5), started: Time(0) });
        let all: BTreeSet<_> = (1..=30).map(ReleaseNumber).collect();
        let kept: Vec<u32> = retained(&all, &app).into_iter().map(|number| number.0).collect();
        let expected: Vec<u32> = [3, 5].into_iter().chain(11..=30).collect();
        assert_eq!(kept, expected);
    }
}
