//! Counters and gauges with fixed names, printed as Prometheus text.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// A number that only grows. Cheap to clone and to bump.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Cheap to clone and to set.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Moves it up, or down by a negative number.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Where it stands.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All metrics of one program. Asking twice for one name gives the same number.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, (&'static str, Metric)>>>);

#[derive(Debug, Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
}

impl Metrics {
    /// None yet.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// The counter `name`; by custom it ends in `_total`. Panics if the name is a gauge's.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        let mut all = self.lock();
        match all.entry(name).or_insert_with(|| (help, Metric::Counter(Counter::default()))) {
            (_, Metric::Counter(counter)) => counter.clone(),
            (_, Metric::Gauge(_)) => panic!("metric `{name}` is a gauge"),
        }
    }

    /// The gauge `name`. Panics if the name is a counter's.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        let mut all = self.lock();
        match all.entry(name).or_insert_with(|| (help, Metric::Gauge(Gauge::default()))) {
            (_, Metric::Gauge(gauge)) => gauge.clone(),
            (_, Metric::Counter(_)) => panic!("metric `{name}` is a counter"),
        }
    }

    /// The Prometheus text format, sorted by name.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, (help, metric)) in self.lock().iter() {
            let (kind, value) = match metric {
                Metric::Counter(counter) => ("counter", counter.value().to_string()),
                Metric::Gauge(gauge) => ("gauge", gauge.value().to_string()),
            };
            let written =
                write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
            written.expect("writing to a string cannot fail");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, (&'static str, Metric)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_printed_sorted_and_shared_by_name() {
        let metrics = Metrics::new();
        metrics.gauge("units", "Units running.").add(-2);
        metrics.counter("beats_total", "Beats sent.").add(2);
        metrics.counter("beats_total", "Beats sent.").add(1);
        assert_eq!(
            metrics.text(),
            "# HELP beats_total Beats sent.\n# TYPE beats_total counter\nbeats_total 3\n\
             # HELP units Units running.\n# TYPE units gauge\nunits -2\n"
        );
    }
}
