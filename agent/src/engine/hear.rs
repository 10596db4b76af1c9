//! What the engine hears of steps and health checks, and what it remembers of that.

use std::time::Duration;

use super::{
    Engine, Watch,
    work::{Event, Failure, What},
};
use crate::{
    health::{self, Patient},
    memory::End,
    runtime::Container,
};

impl Engine {
    /// Takes what a background step or a health check has to say. True: a pass is needed.
    pub(super) fn take(&mut self, event: Event) -> bool {
        let now = self.now();
        let Event { unit, what } = event;
        let order = self.given.borrow().orders.units.get(&unit).cloned();
        let kind = order.as_ref().map(|order| order.unit.kind);
        let Some(memory) = self.memory.get_mut(&unit) else { return false };
        match what {
            What::Phase(phase) => {
                memory.enter(phase, now);
                return false;
            }
            What::Ready { container } => {
                self.unasked.remove(&container);
                if memory.container.as_ref() == Some(&container) {
                    memory.healthy(now);
                }
                return false;
            }
            What::Unwell { container, reason, last_lines } => {
                self.unasked.remove(&container);
                if memory.container.as_ref() != Some(&container) {
                    return false;
                }
                tracing::warn!(%unit, reason, "a unit is unhealthy");
                memory.unwell(reason, last_lines, now);
            }
            What::Started(container) => {
                memory.pending -= 1;
                self.starting.remove(&unit);
                self.runs(&container);
            }
            What::NotStarted(failure) => {
                memory.pending -= 1;
                self.starting.remove(&unit);
                match failure {
                    Failure::Cancelled => {}
                    Failure::Engine => memory.interrupted(now),
                    Failure::Unit { code, reason } => {
                        tracing::warn!(%unit, code, reason, "a unit was not started");
                        if let Some(kind) = kind {
                            memory.not_started(kind, code, reason, now);
                        }
                    }
                }
            }
            What::Examined { container, ending } => {
                memory.pending -= 1;
                if let (Some(ending), Some(kind)) = (ending, kind) {
                    let (attempt, memory_bytes) = (container.attempt, container.memory_bytes);
                    tracing::info!(%unit, attempt, code = ending.code, out_of_memory = ending.out_of_memory, "ended");
                    if memory.unhealthy.is_some() {
                        memory.stopped_unhealthy(attempt, ending.last_lines, now);
                    } else {
                        memory.ended(kind, &End { attempt, ending: &ending, memory_bytes }, now);
                    }
                }
            }
            What::Stopped { container, last_lines } => {
                memory.pending -= 1;
                // One that was not ended is ended again.
                memory.fencing.remove(&container.id);
                match last_lines {
                    None => {}
                    Some(lines) if memory.unhealthy.is_some() => {
                        memory.stopped_unhealthy(container.attempt, lines, now);
                    }
                    Some(_) => memory.stopped(container.attempt, now),
                }
            }
            // What is gone is forgotten by the next look.
            What::Removed => memory.pending -= 1,
        }
        true
    }

    /// A container is the unit's life now: its status says so and its check begins.
    pub(super) fn runs(&mut self, container: &Container) {
        let (now, id) = (self.now(), container.unit.clone());
        let Some(order) = self.given.borrow().orders.units.get(&id).cloned() else { return };
        let Some(memory) = self.memory.get_mut(&id) else { return };
        memory.runs(container, order.port, now);
        let address = memory.address.clone().unwrap_or_default();
        let is_watched = self
            .watches
            .get(&id)
            .is_some_and(|watch| watch.container == container.id && watch.address == address);
        if is_watched {
            return;
        }
        let stop = self.tasks.stop().child();
        let patient = Patient {
            container: container.id.clone(),
            address: address.clone(),
            check: order.check.clone(),
            age: Duration::from_millis(now.since_ms(container.created)),
        };
        let watch = Watch { container: container.id.clone(), address, stop: stop.clone() };
        self.watches.insert(id.clone(), watch);
        let (worker, clock) = (self.worker.clone(), self.parts.clock.clone());
        self.tasks.spawn("health check", async move {
            let container = patient.container.clone();
            let mut watch = health::Watch::new(worker.runtime(), clock, patient);
            loop {
                let verdict = tokio::select! {
                    biased;
                    () = stop.wait() => return,
                    verdict = watch.next() => verdict,
                };
                let Some(verdict) = verdict else { return };
                worker.tell_verdict(&id, &container, verdict).await;
            }
        });
    }
}
