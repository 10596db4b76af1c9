//! Controllers over one store in memory, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::faults::{Fault, Way};
use store::{MemoryStore, Store};

use super::*;
use crate::records::{Records, Write};

/// One controller, and the switch of its way to the store.
struct Candidate {
    leader: Leader,
    is_cut: Arc<AtomicBool>,
    clock: Clock,
    stop: Stop,
    task: tokio::task::JoinHandle<()>,
}

fn candidate(store: &Arc<MemoryStore>, node: &str, clock_ms: u64) -> Candidate {
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = is_cut.clone();
    let fate = move || if cut.load(Ordering::SeqCst) { Fault::Cut } else { Fault::None };
    let way: Arc<dyn Store> = Arc::new(Way::new(store.clone(), fate));
    let leader = Leader::new(Records::new(way), node);
    let (clock, stop) = (Clock::steady_from(clock_ms), Stop::new());
    let running = campaign(leader.clone(), Rivals::Possible, clock.clone(), stop.clone());
    Candidate { leader, is_cut, clock, stop, task: tokio::spawn(running) }
}

fn leading(candidates: &[Candidate]) -> Vec<usize> {
    let all = candidates.iter().enumerate();
    all.filter(|(_, it)| it.leader.is_leading()).map(|(place, _)| place).collect()
}

/// Lets time pass in small steps; no two ever lead at once.
async fn pass(candidates: &[Candidate], time: Duration) {
    for _ in 0..time.as_millis() / 50 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(leading(candidates).len() <= 1, "two lead at once");
    }
}

async fn three() -> (Arc<MemoryStore>, Vec<Candidate>, usize) {
    let store = Arc::new(MemoryStore::new());
    let candidates: Vec<Candidate> =
        ["n1", "n2", "n3"].into_iter().map(|node| candidate(&store, node, 1_000_000)).collect();
    pass(&candidates, Duration::from_secs(2)).await;
    let leader = leading(&candidates);
    assert_eq!(leader.len(), 1);
    let leader = leader[0];
    (store, candidates, leader)
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_goes_on_leading() {
    let (_store, candidates, leader) = three().await;
    let epoch = candidates[leader].leader.revision();
    pass(&candidates, Duration::from_secs(60)).await;
    assert_eq!(leading(&candidates), [leader]);
    assert_eq!(candidates[leader].leader.revision(), epoch);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_within_five_seconds() {
    let (_store, candidates, dead) = three().await;
    candidates[dead].task.abort();
    candidates[dead].leader.step_down();
    pass(&candidates, Duration::from_secs(5)).await;
    let next = leading(&candidates);
    assert!(next.len() == 1 && next[0] != dead, "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_steps_down_before_another_leads_and_commits_nothing_after() {
    let (_store, candidates, old) = three().await;
    let old_leader = candidates[old].leader.clone();
    candidates[old].is_cut.store(true, Ordering::SeqCst);
    pass(&candidates, Duration::from_secs(2)).await;
    assert!(leading(&candidates).is_empty());
    pass(&candidates, Duration::from_secs(4)).await;
    assert_eq!(leading(&candidates).len(), 1);
    candidates[old].is_cut.store(false, Ordering::SeqCst);
    pass(&candidates, Duration::from_secs(10)).await;
    assert_ne!(leading(&candidates), [old]);
    assert!(matches!(old_leader.beat(1).await, Err(CommitError::Conflict)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let (_store, candidates, old) = three().await;
    candidates[old].stop.set();
    pass(&candidates, Duration::from_millis(1_000)).await;
    let next = leading(&candidates);
    assert!(next.len() == 1 && next[0] != old, "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_cluster_goes_on_evenly_whatever_the_next_leaders_clock_says() {
    let store = Arc::new(MemoryStore::new());
    let right = candidate(&store, "n1", 10_000_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // An hour ahead.
    let wrong = candidate(&store, "n2", 13_600_000);
    tokio::time::sleep(Duration::from_secs(3)).await;
    right.stop.set();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(wrong.leader.is_leading());
    let off = wrong.clock.now_ms().abs_diff(10_005_000);
    assert!(off <= 1_000, "{off} ms off");
}

#[tokio::test(start_paused = true)]
async fn a_write_under_the_old_lead_is_refused_after_it_was_renewed() {
    let (store, candidates, leader) = three().await;
    let leader = &candidates[leader].leader;
    let late = leader.guard(Write::new());
    leader.renew().await.unwrap();
    let records = Records::new(store.clone());
    assert!(matches!(records.commit(late).await, Err(CommitError::Conflict)));
    assert!(leader.is_leading());
}

#[tokio::test(start_paused = true)]
async fn an_epoch_written_anew_after_stepping_down_leads_nobody() {
    let (_store, candidates, old) = three().await;
    let leader = candidates[old].leader.clone();
    candidates[old].task.abort();
    leader.step_down();
    leader.renew().await.unwrap();
    assert!(!leader.is_leading());
    pass(&candidates, Duration::from_secs(5)).await;
    assert_eq!(leading(&candidates).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_written_anew_goes_on_leading() {
    let (_store, candidates, leader) = three().await;
    for _ in 0..20 {
        candidates[leader].leader.renew().await.unwrap();
        pass(&candidates, Duration::from_millis(350)).await;
        assert_eq!(leading(&candidates), [leader]);
    }
}
