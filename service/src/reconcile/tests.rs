//! The driver in paused time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const OPTIONS: Options = Options {
    period: Duration::from_secs(10),
    min_gap: Duration::from_millis(50),
    backoff_max: Duration::from_secs(1),
};

/// A loop whose passes take a second, and the moments (ms) at which they started.
struct Loop {
    wake: Wake,
    stop: Stop,
    starts: Arc<Mutex<Vec<u64>>>,
    most_at_once: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

fn start(pass_time: Duration, fails: fn(u32) -> bool) -> Loop {
    let (wake, stop) = (Wake::new(), Stop::new());
    let starts: Arc<Mutex<Vec<u64>>> = Arc::default();
    let most_at_once: Arc<AtomicU32> = Arc::default();
    let began = Instant::now();
    let mut number = 0;
    let running = Arc::new(AtomicU32::new(0));
    let pass = {
        let (starts, most_at_once) = (starts.clone(), most_at_once.clone());
        async move || {
            starts.lock().unwrap().push(began.elapsed().as_millis() as u64);
            most_at_once.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(pass_time).await;
            running.fetch_sub(1, Ordering::SeqCst);
            number += 1;
            if fails(number) { Err("no answer") } else { Ok(()) }
        }
    };
    let task = tokio::spawn(drive("test", OPTIONS, wake.clone(), stop.clone(), pass));
    Loop { wake, stop, starts, most_at_once, task }
}

impl Loop {
    /// Advances to `at_ms` after the loop's start, then lets everything due happen.
    async fn run_for(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn finish(self) -> Vec<u64> {
        self.stop.set();
        self.task.await.unwrap();
        assert_eq!(self.most_at_once.load(Ordering::SeqCst), 1, "passes overlapped");
        Arc::into_inner(self.starts).unwrap().into_inner().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_runs_at_once_and_then_on_every_period() {
    let driven = start(Duration::ZERO, |_| false);
    driven.run_for(20_500).await;
    assert!(driven.wake.check().is_ok());
    let starts = driven.finish().await;
    assert_eq!(starts.len(), 3);
    assert!(starts[1].abs_diff(10_000) < 20 && starts[2].abs_diff(20_000) < 20, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn kicks_during_a_pass_lead_to_exactly_one_more_pass() {
    let driven = start(Duration::from_secs(1), |_| false);
    driven.run_for(500).await;
    for _ in 0..5 {
        driven.wake.kick();
    }
    driven.run_for(5_000).await;
    let starts = driven.finish().await;
    assert_eq!(starts.len(), 2);
    assert!(starts[1].abs_diff(1_050) < 20, "after the pass and the gap: {starts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_kick_wakes_an_idle_loop() {
    let driven = start(Duration::ZERO, |_| false);
    driven.run_for(3_000).await;
    driven.wake.kick();
    driven.run_for(100).await;
    let starts = driven.finish().await;
    assert_eq!(starts.len(), 2);
    assert!(starts[1].abs_diff(3_000) < 20, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_up_to_the_limit_and_kicks_do_not_shorten_that() {
    let driven = start(Duration::ZERO, |number| number <= 6);
    for _ in 0..60 {
        driven.wake.kick();
        driven.run_for(50).await;
        if driven.starts.lock().unwrap().len() == 6 {
            break;
        }
    }
    let status = driven.wake.status();
    assert_eq!((status.failures_in_row, status.last_error.as_deref()), (6, Some("no answer")));
    assert!(driven.wake.check().unwrap_err().contains("6 passes failed"));
    driven.run_for(1_100).await;
    assert!(driven.wake.check().is_ok());
    let starts = driven.finish().await;
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).take(6).collect();
    let expected = [100, 200, 400, 800, 1_000, 1_000];
    assert!(gaps.iter().zip(expected).all(|(gap, want)| gap.abs_diff(want) < 20), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_running_pass_end_and_starts_no_other() {
    let driven = start(Duration::from_secs(1), |_| false);
    driven.run_for(500).await;
    driven.wake.kick();
    driven.stop.set();
    let wake = driven.wake.clone();
    assert_eq!(driven.finish().await.len(), 1);
    assert_eq!(wake.status().passes, 1);
}
