//! The same agent on an engine in memory, in paused time: what cannot be done to a shared real engine.

use std::{sync::Arc, time::Duration};

use agent::{
    engine::{Engine, Handle, Parts},
    fence::{self, Fence},
    logs::NoLines,
    orders::{Order, Orders},
    room::Room,
    runtime::{Container, State, fake::FakeRuntime},
};
use model::{
    name::{ReleaseNumber, UnitId},
    release::{Check, Probe},
    time::Time,
    unit::{Desired, Phase, Unit, UnitKind, UnitStatus},
};
use service::{ManualClock, Stop, Tasks};
use tokio::sync::Notify;

const TICK: Duration = Duration::from_millis(10);

struct Node {
    runtime: FakeRuntime,
    clock: ManualClock,
    fence: Fence,
    handle: Handle,
    stop: Stop,
    orders: Orders,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Node {
    fn new() -> Node {
        Node::on(FakeRuntime::new())
    }

    /// A node whose engine has containers already.
    fn on(runtime: FakeRuntime) -> Node {
        let (clock, stop) = (ManualClock::new(1_000_000), Stop::new());
        let kick = Arc::new(Notify::new());
        let fence = Fence::new(clock.clock(), kick.clone());
        let parts = Parts {
            runtime: Arc::new(runtime.clone()),
            lines: Arc::new(NoLines),
            room: Room::new(1 << 30),
            clock: clock.clock(),
            fence: fence.clone(),
            kick,
        };
        let (engine, handle) = Engine::new(parts, Tasks::new(stop.clone()));
        tokio::spawn(engine.run(stop.clone()));
        let orders = Orders { incarnation: "i".to_owned().into(), ..Orders::default() };
        Node { runtime, clock, fence, handle, stop, orders }
    }

    fn order(&mut self, id: &str, desired: Desired) -> UnitId {
        let order = order(id, desired);
        let id = order.unit.id.clone();
        self.orders.units.insert(id.clone(), order);
        self.orders.version += 1;
        self.handle.give(self.orders.clone(), true);
        id
    }

    async fn pass(&self, time: Duration) {
        let mut left = time;
        while left > Duration::ZERO {
            self.clock.advance(TICK);
            tokio::time::sleep(TICK).await;
            left = left.saturating_sub(TICK);
        }
    }

    fn status(&self, unit: &UnitId) -> UnitStatus {
        self.handle.told().borrow().statuses[unit].clone()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        for _ in 0..20_000 {
            if is_so(self) {
                return;
            }
            self.pass(TICK).await;
        }
        panic!("waited in vain for: {what}; {:?}", self.handle.told().borrow());
    }

    async fn until_phase(&self, unit: &UnitId, phase: Phase) {
        self.until(&format!("{phase:?}"), |node| {
            node.handle.told().borrow().statuses.get(unit).is_some_and(|s| s.phase == phase)
        })
        .await;
    }
}

pub fn order(id: &str, desired: Desired) -> Order {
    Order {
        unit: Unit {
            exclusive: false,
            mounts: std::collections::BTreeMap::new(),
            id: id.parse().unwrap(),
            app: "shop".parse().unwrap(),
            process: "web".parse().unwrap(),
            ordinal: 1,
            release: ReleaseNumber(1),
            epoch: 0,
            kind: UnitKind::Service,
            node: "n1".parse().unwrap(),
            memory_bytes: 64 << 20,
            created: Time(1),
            desired,
        },
        image: "image".to_owned(),
        command: Vec::new(),
        env: Default::default(),
        port: 5000,
        cpu_millis: 0,
        check: Check {
            probe: Probe::Tcp,
            grace_ms: 60_000,
            period_ms: 1_000,
            timeout_ms: 1_000,
            rise: 1,
            fall: 3,
        },
        stop_grace_seconds: 5,
        spec: "spec".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_is_told_and_nothing_is_stopped() {
    let mut node = Node::new();
    let unit = node.order("a", Desired::Run);
    node.until_phase(&unit, Phase::Ready).await;
    node.runtime.set_down(true);
    node.until("trouble", |node| node.handle.told().borrow().trouble.is_some()).await;
    node.pass(Duration::from_secs(30)).await;
    assert_eq!(node.status(&unit).phase, Phase::Ready, "it serves on");
    let second = node.order("b", Desired::Run);
    node.pass(Duration::from_secs(5)).await;
    node.runtime.set_down(false);
    node.until_phase(&second, Phase::Ready).await;
    assert_eq!(node.handle.told().borrow().trouble, None);
    assert_eq!(node.status(&second).restarts, 0, "it was not its fault");
    assert_eq!(node.runtime.calls(), ["start a 1", "start b 1"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_everything_ordered_runs_again() {
    let mut node = Node::new();
    let units: Vec<UnitId> = (0..9).map(|n| node.order(&format!("u{n}"), Desired::Run)).collect();
    for unit in &units {
        node.until_phase(unit, Phase::Ready).await;
    }
    node.runtime.power_cycle();
    node.until("all back", |node| {
        units.iter().all(|unit| {
            let status = node.status(unit);
            status.phase == Phase::Ready && status.restarts == 1
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pauses_between_crashes_grow_and_shrink_again_after_a_steady_minute() {
    let mut node = Node::new();
    let unit = node.order("a", Desired::Run);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        node.until_phase(&unit, Phase::Ready).await;
        node.runtime.crash(&unit, 1, false);
        node.until_phase(&unit, Phase::Backoff).await;
        let since = node.status(&unit).since;
        node.until_phase(&unit, Phase::Ready).await;
        pauses.push(node.status(&unit).since.since_ms(since) / 1_000);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    node.pass(Duration::from_secs(61)).await;
    node.runtime.crash(&unit, 1, false);
    node.until_phase(&unit, Phase::Backoff).await;
    let since = node.status(&unit).since;
    node.until_phase(&unit, Phase::Ready).await;
    assert!(node.status(&unit).since.since_ms(since) < 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_falls_ill_is_restarted_after_its_third_failure() {
    let mut node = Node::new();
    let unit = node.order("a", Desired::Run);
    node.until_phase(&unit, Phase::Ready).await;
    node.runtime.set_unhealthy(&unit, true);
    node.pass(Duration::from_millis(1_900)).await;
    assert_eq!(node.status(&unit).phase, Phase::Ready);
    node.until_phase(&unit, Phase::Backoff).await;
    let trouble = node.status(&unit).trouble.unwrap();
    assert_eq!(
        (trouble.code.as_str(), trouble.last_lines),
        ("unhealthy", vec!["a says this".to_owned()])
    );
    node.runtime.set_unhealthy(&unit, false);
    node.until_phase(&unit, Phase::Ready).await;
    assert_eq!(node.runtime.calls(), ["start a 1", "stop a 1", "start a 2", "remove a 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_while_a_unit_cannot_start_ends_it() {
    let mut node = Node::new();
    node.runtime.set_unstartable("image", true);
    let unit = node.order("a", Desired::Run);
    node.until_phase(&unit, Phase::Backoff).await;
    assert_eq!(node.status(&unit).trouble.unwrap().code, "cannot-start");
    node.order("a", Desired::Stop { since: Time(9) });
    node.until_phase(&unit, Phase::Gone).await;
    assert_eq!(node.runtime.containers(), []);
}

#[tokio::test(start_paused = true)]
async fn a_full_node_serves_what_it_served_before() {
    let mut node = Node::new();
    let units: Vec<UnitId> =
        (0..20).map(|n| node.order(&format!("u{n:02}"), Desired::Run)).collect();
    node.pass(Duration::from_secs(5)).await;
    let ready = units.iter().filter(|unit| node.status(unit).phase == Phase::Ready).count();
    assert_eq!(ready, 16, "1 GiB holds 16 units of 64 MiB");
    let waiting = units.iter().find(|unit| node.status(unit).phase != Phase::Ready).unwrap();
    assert_eq!(node.status(waiting).trouble.unwrap().code, "no-room");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_tells_nothing_before_it_asked_what_runs() {
    let mut first = Node::new();
    let unit = first.order("a", Desired::Run);
    first.until_phase(&unit, Phase::Ready).await;
    first.stop.set();

    let second = Node::on(first.runtime.clone());
    second.handle.give(first.orders.clone(), false);
    let mut told = second.handle.told();
    // A task of its own sees every value; the test itself is polled only when all tasks rest.
    let first_told =
        tokio::spawn(async move { told.wait_for(|told| told.is_settled).await.unwrap().clone() });
    let settled = first_told.await.unwrap();
    assert_eq!(settled.statuses[&unit].phase, Phase::Ready);
    assert_eq!(second.runtime.calls(), ["start a 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_with_its_containers_is_told_and_everything_runs_again_when_it_is_back()
{
    let mut node = Node::new();
    let units: Vec<UnitId> = (0..4).map(|n| node.order(&format!("u{n}"), Desired::Run)).collect();
    for unit in &units {
        node.until_phase(unit, Phase::Ready).await;
    }
    node.runtime.set_down(true);
    node.runtime.power_cycle();
    node.until("trouble", |node| node.handle.told().borrow().trouble.is_some()).await;
    node.pass(Duration::from_secs(60)).await;
    node.runtime.set_down(false);
    for unit in &units {
        node.until(&format!("{unit} back"), |node| {
            let status = node.status(unit);
            status.phase == Phase::Ready && status.restarts == 1
        })
        .await;
    }
    assert_eq!(node.handle.told().borrow().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_unit_published_elsewhere_tells_so() {
    let mut node = Node::new();
    let unit = node.order("a", Desired::Run);
    node.until_phase(&unit, Phase::Ready).await;
    node.runtime.publish(&unit, "10.77.0.1:49160");
    node.until("the new port", |node| {
        node.status(&unit).published.as_deref() == Some("10.77.0.1:49160")
    })
    .await;
    assert_eq!((node.status(&unit).phase, node.status(&unit).restarts), (Phase::Ready, 0));
}

impl Node {
    /// An exclusive unit, which runs because a leader is heard.
    async fn exclusive(&mut self, id: &str) -> UnitId {
        let mut order = order(id, Desired::Run);
        order.unit.exclusive = true;
        let unit = order.unit.id.clone();
        self.orders.units.insert(unit.clone(), order);
        self.handle.give(self.orders.clone(), true);
        self.hear_a_leader();
        self.until_phase(&unit, Phase::Ready).await;
        unit
    }

    /// A beat sent now is acknowledged, and orders come on a stream opened after that.
    fn hear_a_leader(&self) {
        let now = self.clock.clock().monotonic();
        self.fence.acknowledged(now);
        self.fence.ordered(now);
    }

    fn running(&self, unit: &UnitId) -> usize {
        let containers = self.runtime.containers();
        let is_running =
            |container: &&Container| container.unit == *unit && container.state == State::Running;
        containers.iter().filter(is_running).count()
    }
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_unit_ends_in_time_and_comes_back_with_a_leaders_orders() {
    let mut node = Node::new();
    let other = node.order("a", Desired::Run);
    let unit = node.exclusive("x").await;
    let sent = node.clock.clock().monotonic();
    node.fence.acknowledged(sent);
    node.pass(fence::FALLS_AFTER - TICK).await;
    assert_eq!((node.running(&unit), node.status(&unit).phase), (1, Phase::Ready));
    node.pass(TICK * 3).await;
    assert_eq!((node.running(&unit), node.running(&other)), (0, 1), "only it ends");
    node.until("the reason", |node| node.status(&unit).trouble.is_some()).await;
    let status = node.status(&unit);
    assert_eq!((status.phase, status.trouble.unwrap().code.as_str()), (Phase::Assigned, "fenced"));

    node.fence.acknowledged(node.clock.clock().monotonic());
    node.pass(Duration::from_secs(1)).await;
    assert_eq!(node.running(&unit), 0, "what it was ordered before the silence may be old");
    node.hear_a_leader();
    node.until_phase(&unit, Phase::Ready).await;
    assert_eq!(node.status(&unit).trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_ends_an_exclusive_unit_it_finds_until_a_leader_orders_it() {
    let mut first = Node::new();
    let unit = first.exclusive("x").await;
    first.stop.set();
    let second = Node::on(first.runtime.clone());
    second.handle.give(first.orders.clone(), false);
    second.until("its end", |node| node.running(&unit) == 0).await;
    second.handle.give(first.orders.clone(), true);
    second.hear_a_leader();
    second.until_phase(&unit, Phase::Ready).await;
    assert_eq!(second.running(&unit), 1);
}
