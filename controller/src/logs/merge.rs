//! Lines of several loggers as one log: by time, none twice, the newest. Pure.

use std::collections::{HashSet, VecDeque};

use proto::logger::Line;

/// Lines remembered by their ids, so that none shows twice.
const REMEMBERED: usize = 20_000;

/// The newest lines of all, oldest first. Each logger's own order stays as it is.
pub fn newest(mut logs: Vec<VecDeque<Line>>, count: usize, shown: &mut Shown) -> VecDeque<Line> {
    let mut merged = VecDeque::new();
    loop {
        let heads = logs.iter().enumerate().filter_map(|(at, log)| Some((log.front()?.at_ms, at)));
        let Some((_, earliest)) = heads.min() else { return merged };
        let line = logs[earliest].pop_front().expect("it has a first line");
        if !shown.is_new(&line) {
            continue;
        }
        if merged.len() == count {
            merged.pop_front();
        }
        merged.push_back(line);
    }
}

/// Which lines were shown.
#[derive(Debug, Default)]
pub struct Shown {
    order: VecDeque<u64>,
    ids: HashSet<u64>,
}

impl Shown {
    /// Whether a line was not shown yet; from now on it was.
    pub fn is_new(&mut self, line: &Line) -> bool {
        if line.id == 0 {
            return true;
        }
        if !self.ids.insert(line.id) {
            return false;
        }
        self.order.push_back(line.id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(u64, u64)]) -> VecDeque<Line> {
        lines.iter().map(|(at_ms, id)| Line { at_ms: *at_ms, id: *id, ..Line::default() }).collect()
    }

    #[test]
    fn lines_stand_in_the_order_of_time_and_the_newest_stay() {
        let logs = vec![log(&[(1, 1), (4, 2), (9, 3)]), log(&[(2, 4), (4, 5), (8, 6)]), log(&[])];
        let merged = newest(logs, 4, &mut Shown::default());
        let ids: Vec<u64> = merged.iter().map(|line| line.id).collect();
        assert_eq!(ids, [2, 5, 6, 3]);
    }

    #[test]
    fn a_line_two_nodes_have_shows_once_and_one_without_id_each_time() {
        let logs = vec![log(&[(1, 7), (2, 0)]), log(&[(1, 7), (2, 0)])];
        assert_eq!(newest(logs, 10, &mut Shown::default()).len(), 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut shown = Shown::default();
        for id in 1..=2 * REMEMBERED as u64 {
            assert!(shown.is_new(&Line { id, ..Line::default() }));
        }
        assert_eq!((shown.ids.len(), shown.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!shown.is_new(&Line { id: 2 * REMEMBERED as u64, ..Line::default() }));
    }
}
