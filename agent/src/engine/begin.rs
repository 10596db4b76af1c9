//! What the engine does with a step of the plan: remembers at once, or has it carried out beside it.

use std::time::Duration;

use model::unit::Phase;
use service::Stop;

use super::Engine;
use crate::{fence, memory::Memory, orders::Orders, plan::Step, runtime::Container};

impl Engine {
    /// Carries a step out, or has it carried out in the background.
    pub(super) fn begin(&mut self, step: Step, orders: &Orders) {
        let now = self.now();
        match step {
            Step::Adopt(container) => {
                if !self.has_looked {
                    self.unasked.insert(container.id.clone());
                }
                self.runs(&container);
            }
            Step::Lost(unit) => self.with(&unit, |memory| memory.lost(now)),
            Step::Gone(unit) => self.with(&unit, |memory| memory.gone(now)),
            Step::Wait { unit, code, reason } => {
                tracing::warn!(%unit, code, reason, "a unit waits");
                self.with(&unit, |memory| memory.waits(code, reason, now));
            }
            Step::Start { unit, attempt } => {
                let Some(order) = orders.units.get(&unit) else { return };
                tracing::info!(%unit, attempt, app = %order.unit.app, "starting");
                let cancel = Stop::new();
                self.starting.insert(unit.clone(), cancel.clone());
                self.with(&unit, |memory| {
                    memory.pending += 1;
                    memory.starts(now);
                });
                let order = order.clone();
                let worker = self.worker.clone();
                self.work("start", async move { worker.start(order, attempt, cancel).await });
            }
            Step::Examine(container) => {
                self.with(&container.unit, |memory| memory.pending += 1);
                let worker = self.worker.clone();
                self.work("examine", async move { worker.examine(container).await });
            }
            Step::Stop { container, grace } => {
                tracing::info!(unit = %container.unit, attempt = container.attempt, "stopping");
                self.stop(container, grace, orders);
            }
            Step::Fence(container) => {
                tracing::warn!(unit = %container.unit, attempt = container.attempt, "no leading controller is heard: a unit that may run only once is ended");
                let (unit, id) = (container.unit.clone(), container.id.clone());
                self.stop(container, fence::GRACE, orders);
                self.with(&unit, |memory| memory.fencing.extend([id]));
            }
            Step::Remove(container) => {
                self.memory.entry(container.unit.clone()).or_insert_with(|| Memory::new(now));
                self.with(&container.unit, |memory| memory.pending += 1);
                let worker = self.worker.clone();
                self.work("remove", async move { worker.remove(container).await });
            }
        }
    }

    fn stop(&mut self, container: Container, grace: Duration, orders: &Orders) {
        let (now, unit) = (self.now(), container.unit.clone());
        self.watches.remove(&unit);
        self.memory.entry(unit.clone()).or_insert_with(|| Memory::new(now));
        let is_wanted = orders.units.get(&unit).is_some_and(|order| !order.shall_stop());
        self.with(&unit, |memory| {
            memory.pending += 1;
            memory.enter(if is_wanted { Phase::Backoff } else { Phase::Stopping }, now);
        });
        let worker = self.worker.clone();
        self.work("stop", async move { worker.stop(container, grace).await });
    }
}
