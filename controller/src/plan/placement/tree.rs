//! The most of many numbers, and the next position that holds at least so much, in logarithmic time.

/// A tree of maxima over a row of numbers.
#[derive(Debug, Clone)]
pub(super) struct MaxTree {
    /// The leaves begin at `width`; the children of `n` are `2n` and `2n + 1`.
    most: Vec<u64>,
    width: usize,
}

impl MaxTree {
    pub(super) fn of(row: &[u64]) -> MaxTree {
        let width = row.len().next_power_of_two();
        let mut most = vec![0; width * 2];
        most[width..width + row.len()].copy_from_slice(row);
        for node in (1..width).rev() {
            most[node] = most[2 * node].max(most[2 * node + 1]);
        }
        MaxTree { most, width }
    }

    pub(super) fn set(&mut self, position: usize, value: u64) {
        let mut node = self.width + position;
        self.most[node] = value;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
    }

    /// The most of all.
    pub(super) fn most(&self) -> u64 {
        self.most[1]
    }

    /// The first position from `from` on that holds `least` or more. `least` is above zero.
    pub(super) fn next(&self, from: usize, least: u64) -> Option<usize> {
        if from >= self.width {
            return None;
        }
        let mut node = self.width + from;
        // Up, until something to the right holds enough; then down to its first.
        while self.most[node] < least {
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
        while node < self.width {
            node *= 2;
            if self.most[node] < least {
                node += 1;
            }
        }
        Some(node - self.width)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_walk_finds(
            mut row in proptest::collection::vec(0..20_u64, 1..40),
            changes in proptest::collection::vec((0..40_usize, 0..20_u64), 0..20),
            least in 1..20_u64,
        ) {
            let mut tree = MaxTree::of(&row);
            for (position, value) in changes {
                let position = position % row.len();
                row[position] = value;
                tree.set(position, value);
            }
            prop_assert_eq!(tree.most(), row.iter().copied().max().unwrap());
            for from in 0..row.len() + 2 {
                let walked = (from..row.len()).find(|position| row[*position] >= least);
                prop_assert_eq!(tree.next(from, least), walked);
            }
        }
    }
}
