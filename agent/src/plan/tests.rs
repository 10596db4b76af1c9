//! Tables of situations and steps, and the laws that hold in all of them.

use model::{
    release::{Check, Probe},
    unit::{Unit, UnitKind},
};
use proptest::prelude::*;

use super::*;
use crate::{orders::OrdersError, runtime::Reach};

const NOW: Time = Time(1_000_000);
const MIB: u64 = 1 << 20;

fn order(id: &str, desired: Desired) -> Order {
    Order {
        unit: Unit {
            exclusive: false,
            mounts: BTreeMap::new(),
            id: id.parse().unwrap(),
            app: "shop".parse().unwrap(),
            process: "web".parse().unwrap(),
            ordinal: 1,
            release: model::name::ReleaseNumber(1),
            epoch: 0,
            kind: UnitKind::Service,
            node: "n1".parse().unwrap(),
            memory_bytes: 100 * MIB,
            created: Time(1),
            desired,
        },
        image: "image".to_owned(),
        command: Vec::new(),
        env: BTreeMap::new(),
        port: 5000,
        cpu_millis: 0,
        check: Check {
            probe: Probe::Tcp,
            grace_ms: 0,
            period_ms: 1_000,
            timeout_ms: 1_000,
            rise: 1,
            fall: 1,
        },
        stop_grace_seconds: 7,
        spec: "spec".to_owned(),
    }
}

fn container(unit: &str, attempt: u32, state: State) -> Container {
    Container {
        id: format!("{unit}-{attempt}"),
        unit: unit.parse().unwrap(),
        app: "shop".to_owned(),
        name: "web.1".to_owned(),
        attempt,
        spec: "spec".to_owned(),
        memory_bytes: 100 * MIB,
        state,
        is_exclusive: false,
        reach: Reach {
            ip: (state == State::Running).then(|| format!("10.0.0.{attempt}")),
            published: None,
        },
        created: Time(0),
    }
}

#[derive(Debug)]
struct Case {
    orders: Orders,
    containers: Vec<Container>,
    memory: BTreeMap<UnitId, Memory>,
    is_live: bool,
    is_fence_up: bool,
    is_drained: bool,
    capacity_bytes: u64,
}

impl Case {
    fn new(orders: Vec<Order>, containers: Vec<Container>) -> Case {
        let units: BTreeMap<UnitId, Order> =
            orders.into_iter().map(|order| (order.unit.id.clone(), order)).collect();
        let memory = units.keys().map(|id| (id.clone(), Memory::new(NOW))).collect();
        Case {
            orders: Orders {
                incarnation: "i".to_owned().into(),
                epoch: 1,
                version: 1,
                units,
                quarantine: BTreeMap::new(),
            },
            containers,
            memory,
            is_live: true,
            is_fence_up: true,
            is_drained: true,
            capacity_bytes: 1_000 * MIB,
        }
    }

    fn remember(mut self, unit: &str, change: impl FnOnce(&mut Memory)) -> Case {
        change(self.memory.get_mut(&unit.parse().unwrap()).unwrap());
        self
    }

    fn plan(&self) -> Plan {
        plan(&View {
            orders: &self.orders,
            is_live: self.is_live,
            containers: &self.containers,
            memory: &self.memory,
            is_drained: &|_| self.is_drained,
            capacity_bytes: self.capacity_bytes,
            sessions_bytes: 0,
            is_fence_up: self.is_fence_up,
            now: NOW,
        })
    }

    /// The steps in short: `start a 1`.
    fn steps(&self) -> Vec<String> {
        self.plan().steps.iter().map(short).collect()
    }
}

fn short(step: &Step) -> String {
    let of = |what: &str, container: &Container| {
        format!("{what} {} {}", container.unit, container.attempt)
    };
    match step {
        Step::Adopt(container) => of("adopt", container),
        Step::Lost(unit) => format!("lost {unit}"),
        Step::Gone(unit) => format!("gone {unit}"),
        Step::Wait { unit, code, .. } => format!("wait {unit} {code}"),
        Step::Start { unit, attempt } => format!("start {unit} {attempt}"),
        Step::Examine(container) => of("examine", container),
        Step::Stop { container, .. } => of("stop", container),
        Step::Fence(container) => of("fence", container),
        Step::Remove(container) => of("remove", container),
    }
}

fn stop() -> Desired {
    Desired::Stop { since: NOW }
}

fn drain() -> Desired {
    Desired::Drain { since: NOW }
}

fn settled(container: &Container) -> impl FnOnce(&mut Memory) + use<> {
    let container = container.clone();
    move |memory| memory.runs(&container, 5000, NOW)
}

#[test]
fn a_new_unit_is_started() {
    assert_eq!(Case::new(vec![order("a", Desired::Run)], vec![]).steps(), ["start a 1"]);
}

#[test]
fn a_running_container_is_adopted_and_then_left_alone() {
    let running = container("a", 3, State::Running);
    let case = Case::new(vec![order("a", Desired::Run)], vec![running.clone()]);
    assert_eq!(case.steps(), ["adopt a 3"]);
    assert_eq!(case.remember("a", settled(&running)).steps(), Vec::<String>::new());
}

#[test]
fn a_container_with_a_new_address_is_adopted_anew() {
    let running = container("a", 1, State::Running);
    let ip = Some("10.0.0.1".to_owned());
    let published = Some("10.77.0.1:49153".to_owned());
    for reach in [
        Reach { ip: Some("10.0.9.9".to_owned()), published: None },
        // The engine was restarted and chose another port.
        Reach { ip, published },
    ] {
        let moved = Container { reach, ..running.clone() };
        let case = Case::new(vec![order("a", Desired::Run)], vec![moved.clone()]);
        let case = case.remember("a", settled(&running));
        assert_eq!(case.steps(), ["adopt a 1"]);
        assert_eq!(case.remember("a", settled(&moved)).steps(), Vec::<String>::new());
    }
}

/// A node that hears no leader, with an exclusive unit `x` in this state.
fn fenced(desired: Desired, states: &[State]) -> Case {
    let mut order = order("x", desired);
    order.unit.exclusive = true;
    let attempts = states.iter().zip(1..);
    let containers = attempts.map(|(state, attempt)| Container {
        is_exclusive: true,
        ..container("x", attempt, *state)
    });
    let mut case = Case::new(vec![order], containers.collect());
    case.is_fence_up = false;
    case
}

#[test]
fn an_exclusive_unit_ends_whatever_is_being_done_with_it_and_others_run_on() {
    let mut case = fenced(Desired::Run, &[State::Running, State::Running]);
    let other = order("a", Desired::Run);
    case.memory.insert(other.unit.id.clone(), Memory::new(NOW));
    case.orders.units.insert(other.unit.id.clone(), other);
    let running = container("a", 1, State::Running);
    case.containers.push(running.clone());
    let case = case.remember("a", settled(&running)).remember("x", |memory| memory.pending = 1);
    assert_eq!(case.steps(), ["fence x 1", "fence x 2"]);
    let is_ending = |memory: &mut Memory| memory.fencing = ["x-1", "x-2"].map(str::to_owned).into();
    assert_eq!(case.remember("x", is_ending).steps(), Vec::<String>::new());
    // Long graces do not count, and no order is needed.
    assert_eq!(fenced(stop(), &[State::Running]).steps(), ["fence x 1"]);
    let mut case = fenced(Desired::Run, &[State::Running]);
    (case.orders, case.is_live) = (Orders::default(), false);
    assert_eq!(case.steps(), ["fence x 1"]);
    case.is_fence_up = true;
    assert_eq!(case.steps(), Vec::<String>::new());
}

#[test]
fn an_exclusive_unit_does_not_start_while_no_leader_is_heard() {
    let mut case = fenced(Desired::Run, &[]);
    assert_eq!(case.steps(), ["wait x fenced"]);
    case.is_fence_up = true;
    assert_eq!(case.steps(), ["start x 1"]);
    case.is_fence_up = false;
    let told = |memory: &mut Memory| memory.waits(FENCED, "waits".to_owned(), NOW);
    let mut case = case.remember("x", told);
    assert_eq!(case.steps(), Vec::<String>::new());
    case.is_fence_up = true;
    assert_eq!(case.steps(), ["start x 1"]);
}

#[test]
fn an_ended_container_is_examined_once_and_stays_until_the_next_runs() {
    let ended = container("a", 2, State::Exited);
    let case = Case::new(vec![order("a", Desired::Run)], vec![ended.clone()]);
    assert_eq!(case.steps(), ["examine a 2"]);
    let case = case.remember("a", |memory| {
        memory.ended_attempt = 2;
        memory.retry_at = Some(NOW.plus_ms(1));
    });
    assert_eq!(case.steps(), Vec::<String>::new());
    assert_eq!(case.plan().wake_at, Some(NOW.plus_ms(1)));
    let case = case.remember("a", |memory| memory.retry_at = Some(NOW));
    assert_eq!(case.steps(), ["start a 3"]);
    let next = container("a", 3, State::Running);
    let mut case = case.remember("a", settled(&next));
    case.containers = vec![ended, next];
    assert_eq!(case.steps(), ["remove a 2"]);
    case.is_drained = false;
    assert_eq!(case.steps(), Vec::<String>::new(), "its output is not delivered yet");
}

#[test]
fn a_container_that_was_never_started_is_removed() {
    let made = container("a", 1, State::Created);
    let case = Case::new(vec![order("a", Desired::Run)], vec![made]);
    assert_eq!(case.steps(), ["remove a 1", "start a 2"]);
}

#[test]
fn a_vanished_container_is_lost() {
    let running = container("a", 1, State::Running);
    let case = Case::new(vec![order("a", Desired::Run)], vec![]);
    assert_eq!(case.remember("a", settled(&running)).steps(), ["lost a"]);
}

#[test]
fn a_stopped_unit_ends_is_removed_and_gone() {
    let running = container("a", 1, State::Running);
    let mut case = Case::new(vec![order("a", stop())], vec![running]);
    assert_eq!(case.steps(), ["stop a 1"]);
    let Step::Stop { grace, .. } = &case.plan().steps[0] else { panic!("it stops") };
    assert_eq!(*grace, Duration::from_secs(7));
    case.containers = vec![container("a", 1, State::Exited)];
    assert_eq!(case.steps(), ["remove a 1"]);
    case.containers.clear();
    assert_eq!(case.steps(), ["gone a"]);
    let case = case.remember("a", |memory| memory.gone(NOW));
    assert_eq!(case.steps(), Vec::<String>::new());
}

#[test]
fn a_logger_that_is_down_does_not_hold_up_a_stop_for_long() {
    let mut case = Case::new(vec![order("a", stop())], vec![container("a", 1, State::Exited)]);
    case.is_drained = false;
    assert_eq!(case.steps(), Vec::<String>::new());
    let case = case.remember("a", |memory| {
        memory.enter(Phase::Stopping, Time(NOW.0 - GONE_AFTER_MS));
    });
    assert_eq!(case.steps(), ["gone a"]);
}

#[test]
fn draining_keeps_a_unit_running_and_starts_none() {
    let running = container("a", 1, State::Running);
    let case = Case::new(vec![order("a", drain())], vec![running.clone()]);
    assert_eq!(case.remember("a", settled(&running)).steps(), Vec::<String>::new());
    assert_eq!(Case::new(vec![order("a", drain())], vec![]).steps(), Vec::<String>::new());
}

#[test]
fn an_unhealthy_unit_is_stopped() {
    let running = container("a", 1, State::Running);
    let case = Case::new(vec![order("a", Desired::Run)], vec![running.clone()]);
    let case = case.remember("a", settled(&running));
    let case = case.remember("a", |memory| memory.unwell("no answer".to_owned(), Vec::new(), NOW));
    assert_eq!(case.steps(), ["stop a 1"]);
}

#[test]
fn a_finished_command_is_not_run_again() {
    let case = Case::new(vec![order("a", Desired::Run)], vec![container("a", 1, State::Exited)]);
    let case = case.remember("a", |memory| {
        memory.ended_attempt = 1;
        memory.phase = Phase::Finished;
    });
    assert_eq!(case.steps(), Vec::<String>::new());
}

#[test]
fn strangers_end_only_when_the_controller_was_heard() {
    let mut case = Case::new(vec![], vec![container("x", 1, State::Running)]);
    assert_eq!(case.steps(), ["stop x 1"]);
    case.is_live = false;
    assert_eq!(case.steps(), Vec::<String>::new());
    case.is_live = true;
    case.containers = vec![container("x", 1, State::Exited), container("x", 2, State::Created)];
    assert_eq!(case.steps(), ["remove x 1", "remove x 2"]);
}

#[test]
fn a_container_made_from_other_orders_is_replaced_only_when_the_controller_was_heard() {
    let running = Container { spec: "other".to_owned(), ..container("a", 1, State::Running) };
    let case = Case::new(vec![order("a", Desired::Run)], vec![running.clone()]);
    let mut case = case.remember("a", settled(&running));
    assert_eq!(case.steps(), ["stop a 1"]);
    case.is_live = false;
    assert_eq!(case.steps(), Vec::<String>::new());
}

#[test]
fn of_two_running_containers_the_newer_stays() {
    let containers = vec![container("a", 2, State::Running), container("a", 1, State::Running)];
    let case = Case::new(vec![order("a", Desired::Run)], containers);
    assert_eq!(case.steps(), ["stop a 1"]);
}

#[test]
fn a_full_node_starts_nothing_more_and_says_so_once() {
    let mut younger = order("a", Desired::Run);
    younger.unit.created = Time(2);
    let mut case = Case::new(vec![younger, order("b", Desired::Run)], vec![]);
    case.capacity_bytes = 150 * MIB;
    assert_eq!(case.steps(), ["start b 1", "wait a no-room"]);
    let Some(Step::Wait { reason, .. }) = case.plan().steps.pop() else { panic!("no room") };
    assert_eq!(reason, "needs 100 MiB of memory, the node has 50 MiB left");
    let case = case.remember("a", |memory| memory.waits(NO_ROOM, reason, NOW));
    assert_eq!(case.steps(), ["start b 1"]);
}

#[test]
fn strangers_and_starting_units_use_memory_too() {
    let mut case = Case::new(
        vec![order("a", Desired::Run), order("b", Desired::Run)],
        vec![container("x", 1, State::Running)],
    );
    case.is_live = false;
    case.capacity_bytes = 250 * MIB;
    let case = case.remember("a", |memory| {
        memory.pending = 1;
        memory.starts(NOW);
    });
    assert_eq!(case.steps(), ["wait b no-room"]);
}

/// What the engine and Docker make of a step.
fn carry_out(case: &mut Case, step: Step, clock: &mut u64) {
    *clock += 1;
    let now = Time(NOW.0 + *clock);
    let mut with = |unit: &UnitId, change: &mut dyn FnMut(&mut Memory)| {
        change(case.memory.entry(unit.clone()).or_insert_with(|| Memory::new(now)));
    };
    match step {
        Step::Adopt(container) => {
            with(&container.unit, &mut |memory| memory.runs(&container, 5000, now));
        }
        Step::Lost(unit) => with(&unit, &mut |memory| {
            memory.lost(now);
            memory.retry_at = None;
        }),
        Step::Gone(unit) => with(&unit, &mut |memory| memory.gone(now)),
        Step::Wait { unit, code, reason } => {
            with(&unit, &mut |memory| memory.waits(code, reason.clone(), now));
        }
        Step::Start { unit, attempt } => {
            let started = container(unit.as_str(), attempt, State::Running);
            with(&unit, &mut |memory| {
                memory.starts(now);
                memory.runs(&started, 5000, now);
            });
            case.containers.push(started);
        }
        Step::Examine(container) => with(&container.unit, &mut |memory| {
            let ending =
                crate::runtime::Ending { code: 1, out_of_memory: false, last_lines: Vec::new() };
            let end =
                crate::memory::End { attempt: container.attempt, ending: &ending, memory_bytes: 0 };
            memory.ended(UnitKind::Service, &end, now);
            // The pause is over.
            memory.retry_at = None;
        }),
        Step::Stop { container, .. } | Step::Fence(container) => {
            with(&container.unit, &mut |memory| memory.stopped(container.attempt, now));
            for other in &mut case.containers {
                if other.id == container.id {
                    other.state = State::Exited;
                    other.reach = Reach::default();
                }
            }
        }
        Step::Remove(container) => case.containers.retain(|other| other.id != container.id),
    }
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Created), Just(State::Running), Just(State::Exited)]
}

fn any_case() -> impl Strategy<Value = Case> {
    let desired = prop_oneof![Just(Desired::Run), Just(drain()), Just(stop())];
    let units = prop::collection::btree_map(0_u8..6, desired, 0..6);
    let containers = prop::collection::btree_map((0_u8..8, 1_u32..4), any_state(), 0..12);
    (units, containers, 0_u64..8, any::<bool>()).prop_map(
        |(units, containers, capacity, is_live)| {
            let orders = units.into_iter().map(|(id, desired)| order(&format!("u{id}"), desired));
            let containers = containers
                .into_iter()
                .map(|((id, attempt), state)| container(&format!("u{id}"), attempt, state));
            let mut case = Case::new(orders.collect(), containers.collect());
            case.capacity_bytes = capacity * 100 * MIB;
            case.is_live = is_live;
            case
        },
    )
}

fn running_bytes(case: &Case) -> u64 {
    let running = case.containers.iter().filter(|container| container.state == State::Running);
    running.map(|container| container.memory_bytes).sum()
}

proptest! {
    #[test]
    fn carrying_out_plans_comes_to_rest_where_the_orders_want_it(mut case in any_case()) {
        let mut clock = 0;
        let before = running_bytes(&case);
        let mut rounds = 0;
        loop {
            let steps = case.plan().steps;
            if steps.is_empty() {
                break;
            }
            for step in steps {
                carry_out(&mut case, step, &mut clock);
                prop_assert!(running_bytes(&case) <= before.max(case.capacity_bytes));
            }
            rounds += 1;
            prop_assert!(rounds < 20, "it does not come to rest");
        }
        for (id, order) in &case.orders.units {
            let running = case
                .containers
                .iter()
                .filter(|container| container.unit == *id && container.state == State::Running)
                .count();
            let memory = &case.memory[id];
            match order.unit.desired {
                Desired::Run => prop_assert!(running == 1 || memory.waits_for(NO_ROOM)),
                Desired::Drain { .. } => prop_assert!(running <= 1),
                Desired::Stop { .. } => {
                    prop_assert!(running == 0 && memory.phase == Phase::Gone);
                }
            }
        }
        let stranger = case.containers.iter().any(|container| !case.orders.units.contains_key(&container.unit));
        prop_assert!(!(case.is_live && stranger));
    }

    #[test]
    fn a_second_pass_begins_nothing_while_the_first_is_carried_out(mut case in any_case()) {
        for step in case.plan().steps {
            let unit = match &step {
                Step::Adopt(_) | Step::Lost(_) | Step::Gone(_) | Step::Wait { .. } => {
                    carry_out(&mut case, step, &mut 0);
                    continue;
                }
                Step::Start { unit, .. } => unit.clone(),
                Step::Examine(container)
                | Step::Stop { container, .. }
                | Step::Fence(container)
                | Step::Remove(container) => {
                    container.unit.clone()
                }
            };
            let is_start = matches!(step, Step::Start { .. });
            let memory = case.memory.entry(unit).or_insert_with(|| Memory::new(NOW));
            memory.pending += 1;
            if is_start {
                memory.starts(NOW);
            }
        }
        let again: Vec<Step> = case.plan().steps;
        // Memory that the steps will free or use is counted, so nothing else changes either, except that an
        // adopted container's predecessors can go now.
        let others: Vec<&Step> = again.iter().filter(|step| !matches!(step, Step::Remove(_))).collect();
        prop_assert!(others.is_empty(), "{others:?}");
    }
}

/// Orders of this lead for these units.
fn of(incarnation: &str, lead: (u64, u64), units: &[Order]) -> Orders {
    let units = units.iter().map(|order| (order.unit.id.clone(), order.clone())).collect();
    let incarnation = incarnation.to_owned().into();
    Orders { incarnation, epoch: lead.0, version: lead.1, units, quarantine: BTreeMap::new() }
}

#[test]
fn a_later_incarnation_is_obeyed_whatever_it_counts_and_an_earlier_one_never_again() {
    let known = of("2.b", (7, 70), &[]);
    let after = |incarnation, lead| of(incarnation, lead, &[]).after(&known, NOW);
    assert!(after("3.c", (1, 1)).is_ok());
    assert!(after("2.b", (7, 71)).is_ok());
    assert!(matches!(after("2.b", (7, 69)), Err(OrdersError::Stale { .. })));
    for foreign in ["1.a", "2.x", "old"] {
        let refused = after(foreign, (9, 99));
        assert!(matches!(refused, Err(OrdersError::Incarnation(_))), "{foreign}");
    }
}

#[test]
fn what_a_later_incarnation_does_not_know_runs_on_for_ten_minutes_unless_it_may_run_only_once() {
    let (known, unknown) = (order("a", Desired::Run), order("b", Desired::Run));
    let mut once = order("c", Desired::Run);
    once.unit.exclusive = true;
    let before = of("1.x", (9, 9), &[known.clone(), unknown, once]);
    let orders = of("2.y", (1, 1), std::slice::from_ref(&known)).after(&before, NOW).unwrap();
    let running = ["a", "b", "c", "d"].map(|unit| container(unit, 1, State::Running));
    let mut case = Case::new(Vec::new(), running.to_vec());
    case.memory.insert(known.unit.id.clone(), Memory::new(NOW));
    case.orders = orders.clone();
    assert_eq!(case.steps(), ["adopt a 1", "stop c 1", "stop d 1"]);
    assert_eq!(case.plan().wake_at, Some(NOW.plus_ms(600_000)));

    // The next orders of the same life change nothing in that, unless they name it.
    let next = of("2.y", (1, 2), std::slice::from_ref(&known))
        .after(&orders, NOW.plus_ms(599_999))
        .unwrap();
    assert_eq!(next.quarantine, orders.quarantine);
    let named = of("2.y", (1, 2), &[known, order("b", Desired::Run)]);
    assert!(named.after(&orders, NOW).unwrap().quarantine.is_empty());

    case.orders.quarantine.values_mut().for_each(|until| *until = NOW);
    assert_eq!(case.steps(), ["adopt a 1", "stop b 1", "stop c 1", "stop d 1"]);
}
