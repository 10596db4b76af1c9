//! What the router counts.

use http::StatusCode;
use service::{Counter, Gauge, Metrics};

/// The router's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Numbers {
    answers: [Counter; 5],
    /// Requests that were sent to another unit or again.
    pub retries: Counter,
    /// Open client connections.
    pub connections: Gauge,
    /// Open websockets and other upgraded connections.
    pub tunnels: Gauge,
    /// Requests in flight to units.
    pub in_flight: Gauge,
    /// Units left alone after failed connections.
    pub ejected: Gauge,
    /// The table version in force.
    pub table_version: Gauge,
}

impl Numbers {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Numbers {
        let answers = [
            ("router_answers_1xx_total", "Answers with a status from 100: changed protocols."),
            ("router_answers_2xx_total", "Answers with a status from 200."),
            ("router_answers_3xx_total", "Answers with a status from 300."),
            ("router_answers_4xx_total", "Answers with a status from 400."),
            ("router_answers_5xx_total", "Answers with a status from 500."),
        ];
        Numbers {
            answers: answers.map(|(name, help)| metrics.counter(name, help)),
            retries: metrics
                .counter("router_retries_total", "Requests sent to another unit or again."),
            connections: metrics.gauge("router_connections", "Open client connections."),
            tunnels: metrics
                .gauge("router_tunnels", "Open websockets and other upgraded connections."),
            in_flight: metrics.gauge("router_in_flight", "Requests in flight to units."),
            ejected: metrics
                .gauge("router_ejected_units", "Units left alone after failed connections."),
            table_version: metrics
                .gauge("router_table_version", "Version of the route table in force."),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|class| self.answers.get(class)) {
            counter.add(1);
        }
    }
}
