//! Names for apps whose owners gave none: `calm-harbor-4821`.

use model::name::AppName;
use rand::RngExt;

const ADJECTIVES: [&str; 24] = [
    "amber", "bold", "brisk", "calm", "clear", "coral", "deep", "eager", "fair", "fresh", "gentle",
    "golden", "keen", "light", "lucky", "noble", "proud", "quick", "quiet", "silver", "steady",
    "sunny", "swift", "warm",
];
const NOUNS: [&str; 24] = [
    "anchor", "bay", "beacon", "breeze", "buoy", "cape", "coast", "cove", "current", "deck",
    "delta", "gull", "harbor", "helm", "island", "keel", "lagoon", "mast", "oar", "pier", "reef",
    "sail", "shore", "tide",
];

/// A random name.
pub(super) fn generate() -> AppName {
    let mut rng = rand::rng();
    let adjective = ADJECTIVES[rng.random_range(..ADJECTIVES.len())];
    let noun = NOUNS[rng.random_range(..NOUNS.len())];
    let number = rng.random_range(1000..10_000);
    let name = format!("{adjective}-{noun}-{number}");
    name.parse().expect("two short words and a number make an app name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_words_makes_a_name() {
        for adjective in ADJECTIVES {
            for noun in NOUNS {
                assert!(format!("{adjective}-{noun}-9999").parse::<AppName>().is_ok());
            }
        }
        assert_ne!(generate(), generate());
    }
}
