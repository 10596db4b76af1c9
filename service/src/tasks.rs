//! The background tasks of a program: named, waited for at the end, and fatal when they fail.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

use crate::Stop;

/// How long tasks may take to end after a stop; below the program's own deadline, so that the error can name them.
pub const FINISH_DEADLINE: Duration = Duration::from_secs(28);

/// A cheap handle on a program's tasks. The first error or panic sets the program's [`Stop`].
#[derive(Debug, Clone)]
pub struct Tasks {
    stop: Stop,
    tracker: TaskTracker,
    deadline: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<String, usize>,
    failure: Option<TaskError>,
}

/// Why a program's tasks ended it.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task returned an error.
    #[error("run task `{name}`")]
    Failed {
        /// The task's name.
        name: String,
        /// What it returned.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A task panicked.
    #[error("task `{name}` panicked: {message}")]
    Panicked {
        /// The task's name.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// Tasks were still running when the deadline passed.
    #[error("end within {deadline:?}: still running: {names}")]
    Unfinished {
        /// How long they were given.
        deadline: Duration,
        /// Their names.
        names: String,
    },
}

/// What a task may return: nothing, or a result.
pub trait Outcome: Send {
    /// The error, if it is one.
    fn into_error(self) -> Option<Box<dyn std::error::Error + Send + Sync>>;
}

impl Outcome for () {
    fn into_error(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        None
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>> + Send> Outcome for Result<(), E> {
    fn into_error(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.err().map(Into::into)
    }
}

impl Tasks {
    /// No tasks yet; a failure will set `stop`.
    pub fn new(stop: Stop) -> Tasks {
        Tasks::with_deadline(stop, FINISH_DEADLINE)
    }

    /// As [`Tasks::new`], with an own deadline for [`Tasks::finish`].
    pub fn with_deadline(stop: Stop, deadline: Duration) -> Tasks {
        Tasks { stop, tracker: TaskTracker::new(), deadline, state: Arc::default() }
    }

    /// The signal that ends these tasks.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Starts a task. It may end well at any time; an error or a panic ends the program.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let (tasks, name) = (self.clone(), name.into());
        *tasks.lock().running.entry(name.clone()).or_default() += 1;
        self.tracker.spawn(async move {
            let failure = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(outcome) => outcome
                    .into_error()
                    .map(|cause| TaskError::Failed { name: name.clone(), cause }),
                Err(panic) => {
                    Some(TaskError::Panicked { name: name.clone(), message: message_of(&*panic) })
                }
            };
            tasks.ended(&name, failure);
        });
    }

    /// Waits until stopping is asked for or a task fails, then until every task ended, up to the deadline.
    /// The first failure is the result.
    pub async fn finish(&self) -> Result<(), TaskError> {
        self.stop.wait().await;
        self.tracker.close();
        let ended = tokio::time::timeout(self.deadline, self.tracker.wait()).await;
        let mut state = self.lock();
        match (state.failure.take(), ended) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(_)) => Err(TaskError::Unfinished {
                deadline: self.deadline,
                names: state.running.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn ended(&self, name: &str, failure: Option<TaskError>) {
        let mut state = self.lock();
        if let Some(count) = state.running.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(name);
            }
        }
        if let Some(failure) = failure {
            tracing::error!(task = name, error = %failure, "task failed; stopping");
            state.failure.get_or_insert(failure);
            self.stop.set();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a panic, where it has one.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The failure that ends the program by itself; a failure that does not end it is a panic here.
    async fn failure(tasks: &Tasks) -> TaskError {
        let finished = tokio::time::timeout(Duration::from_secs(60), tasks.finish()).await;
        finished.expect("the failure sets the stop").expect_err("a task failed")
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_stops_the_program_and_names_the_task() {
        let tasks = Tasks::new(Stop::new());
        tasks.spawn("steady", {
            let stop = tasks.stop().clone();
            async move { stop.wait().await }
        });
        tasks.spawn("fragile", async {
            if true {
                panic!("glass");
            }
        });
        let error = failure(&tasks).await;
        assert!(tasks.stop().is_set());
        assert_eq!(error.to_string(), "task `fragile` panicked: glass");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_stops_the_program_and_keeps_its_cause() {
        let tasks = Tasks::new(Stop::new());
        tasks.spawn("reader", async { Err::<(), _>(std::io::Error::other("torn")) });
        let error = anyhow::Error::from(failure(&tasks).await);
        assert_eq!(format!("{error:#}"), "run task `reader`: torn");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_named_when_the_deadline_passes() {
        let tasks = Tasks::with_deadline(Stop::new(), Duration::from_secs(3));
        tasks.spawn("short", async {});
        tasks.spawn("endless", std::future::pending::<()>());
        tasks.stop().set();
        let started = tokio::time::Instant::now();
        let error = tasks.finish().await.expect_err("the task never ends");
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert_eq!(error.to_string(), "end within 3s: still running: endless");
    }

    #[tokio::test(start_paused = true)]
    async fn finishing_waits_for_the_stop_and_then_for_the_tasks() {
        let tasks = Tasks::new(Stop::new());
        let stop = tasks.stop().clone();
        tasks.spawn("worker", {
            let stop = stop.clone();
            async move {
                stop.wait().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        tasks.spawn("signal", async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.set();
        });
        let started = tokio::time::Instant::now();
        tasks.finish().await.expect("all tasks end well");
        assert_eq!(started.elapsed(), Duration::from_secs(6));
    }
}
