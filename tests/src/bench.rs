//! Benchmarks: the real cluster beside plain Docker on the same machine at the same time.

pub mod deploy;
pub mod failover;
pub mod scheduler;
pub mod store;

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

/// A figure of ours, and the peer's when there is one. Lower is better in all of them.
pub struct Figure<'a> {
    /// What was measured.
    pub bench: &'a str,
    /// Of what: `s`, `MB`, `percent`.
    pub unit: &'a str,
    /// Ours.
    pub ours: f64,
    /// Who the peer is, and its figure.
    pub peer: Option<(&'a str, f64)>,
}

impl Figure<'_> {
    /// Prints it as one JSON line on standard output.
    pub fn print(&self) {
        let round = |figure: f64| (figure * 1000.0).round() / 1000.0;
        let mut line = json!({"bench": self.bench, "unit": self.unit, "better": "lower", "ours": round(self.ours)});
        // Figures are worth most of a release; one that is not says so.
        if cfg!(debug_assertions) {
            line["build"] = json!("debug");
        }
        if let Some((peer, theirs)) = self.peer {
            line["peer"] = json!(peer);
            line["theirs"] = json!(round(theirs));
            line["ratio"] = json!(round(self.ours / theirs));
        }
        let line = format!("{line}\n");
        std::io::stdout().write_all(line.as_bytes()).expect("standard output takes the figure");
    }
}

/// Says on standard error what is going on.
pub fn progress(text: &str) {
    crate::step(text);
}

/// How long something took.
pub fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// The middle one of several runs, in seconds.
pub fn median(mut runs: Vec<Duration>) -> f64 {
    runs.sort();
    runs[runs.len() / 2].as_secs_f64()
}
