//! Which unit takes a request, and how long one that refused connections is left alone. Pure.

use std::time::Duration;

/// How long a unit is left alone after its first failed connection; it doubles with each further one.
pub const FIRST_HOLD: Duration = Duration::from_millis(500);
/// How long others wait for the outcome when a unit that was left alone is tried again.
pub const TRIAL: Duration = Duration::from_secs(1);
/// The longest time a unit is left alone.
pub const MAX_HOLD: Duration = Duration::from_secs(15);

/// What the choice knows of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Requests it is working on.
    pub in_flight: u32,
    /// Left alone after failed connections.
    pub is_ejected: bool,
    /// This request has failed there already.
    pub is_tried: bool,
}

/// The less busy of two units drawn by `random`, among those that are neither tried nor ejected; when all untried ones
/// are ejected, among them anyway. None: all are tried.
pub fn choose(
    count: usize,
    candidate: impl Fn(usize) -> Candidate,
    random: [u32; 2],
) -> Option<usize> {
    let is_good = |index: &usize| {
        let candidate = candidate(*index);
        !candidate.is_tried && !candidate.is_ejected
    };
    let is_last_resort = |index: &usize| !candidate(*index).is_tried;
    draw(count, is_good, &candidate, random)
        .or_else(|| draw(count, is_last_resort, &candidate, random))
}

fn draw(
    count: usize,
    is_eligible: impl Fn(&usize) -> bool,
    candidate: &impl Fn(usize) -> Candidate,
    random: [u32; 2],
) -> Option<usize> {
    let eligible = (0..count).filter(&is_eligible).count();
    let nth = |place: usize| (0..count).filter(&is_eligible).nth(place);
    if eligible < 2 {
        return nth(0);
    }
    let first = random[0] as usize % eligible;
    // Drawn from the others, so that two different units are compared.
    let second = (first + 1 + random[1] as usize % (eligible - 1)) % eligible;
    // Loads change while this runs; should fewer be eligible now, the first that is will do.
    let (first, second) = (nth(first).or_else(|| nth(0))?, nth(second).or_else(|| nth(0))?);
    let is_second_freer = candidate(second).in_flight < candidate(first).in_flight;
    Some(if is_second_freer { second } else { first })
}

/// How long a unit is left alone after this many failed connections in a row.
pub fn hold(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_HOLD.saturating_mul(1 << doublings).min(MAX_HOLD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FREE: Candidate = Candidate { in_flight: 0, is_ejected: false, is_tried: false };
    const EJECTED: Candidate = Candidate { is_ejected: true, ..FREE };
    const TRIED: Candidate = Candidate { is_tried: true, ..FREE };

    fn choice(candidates: &[Candidate], random: [u32; 2]) -> Option<usize> {
        choose(candidates.len(), |index| candidates[index], random)
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        (0..5_u32, any::<bool>(), any::<bool>()).prop_map(|(in_flight, is_ejected, is_tried)| {
            Candidate { in_flight, is_ejected, is_tried }
        })
    }

    #[test]
    fn of_two_units_the_less_busy_one_takes_the_request() {
        let busy = Candidate { in_flight: 3, ..FREE };
        for random in [[0, 0], [1, 0], [7, 9]] {
            assert_eq!(choice(&[busy, FREE], random), Some(1), "{random:?}");
        }
    }

    #[test]
    fn an_ejected_unit_is_used_only_when_there_is_no_other() {
        assert_eq!(choice(&[EJECTED, FREE, EJECTED], [5, 5]), Some(1));
        assert_eq!(choice(&[EJECTED, TRIED], [5, 5]), Some(0));
    }

    #[test]
    fn when_all_are_tried_there_is_no_choice() {
        assert_eq!(choice(&[TRIED, TRIED], [0, 0]), None);
        assert_eq!(choice(&[], [0, 0]), None);
    }

    #[test]
    fn holds_grow_to_their_limit() {
        let seconds: Vec<f32> =
            [1, 2, 3, 5, 6, 7, u32::MAX].map(|n| hold(n).as_secs_f32()).to_vec();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 8.0, 15.0, 15.0, 15.0]);
    }

    proptest! {
        #[test]
        fn the_choice_is_never_worse_than_what_is_there(
            candidates in proptest::collection::vec(any_candidate(), 0..8),
            random in any::<[u32; 2]>(),
        ) {
            match choice(&candidates, random) {
                Some(index) => {
                    prop_assert!(!candidates[index].is_tried);
                    let is_better = |other: &Candidate| !other.is_tried && !other.is_ejected;
                    prop_assert!(!candidates[index].is_ejected || !candidates.iter().any(is_better));
                }
                None => prop_assert!(candidates.iter().all(|candidate| candidate.is_tried)),
            }
        }

        #[test]
        fn the_busiest_of_several_units_gets_nothing(
            loads in proptest::collection::vec(0..5_u32, 1..8),
            random in any::<[u32; 2]>(),
        ) {
            let mut candidates: Vec<Candidate> =
                loads.iter().map(|in_flight| Candidate { in_flight: *in_flight, ..FREE }).collect();
            candidates.push(Candidate { in_flight: 9, ..FREE });
            prop_assert_ne!(choice(&candidates, random), Some(loads.len()));
        }
    }
}
