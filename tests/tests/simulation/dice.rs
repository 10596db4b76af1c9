//! Everything random comes from one seed: each part has dice of its own, so that one more throw here changes nothing there.

use std::time::Duration;

use controller::plan::Ids;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Dice of one part.
pub struct Dice(StdRng);

impl Dice {
    /// Those of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// Those of a part, told apart by numbers.
    pub fn of(seed: u64, part: &str, numbers: &[u64]) -> Dice {
        // FNV-1a: the same on every machine.
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Dice::new(part.bytes().chain(bytes).fold(start, hash))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Yes, so many times in a hundred.
    pub fn percent(&mut self, yes: u64) -> bool {
        self.below(100) < yes
    }

    /// So many milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

impl Ids for Dice {
    fn next(&mut self) -> String {
        (0..8).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}
