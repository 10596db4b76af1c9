//! The rules of changes as tables, and their laws.

use std::collections::BTreeMap;

use model::app::{Outcome, Settled};
use model::name::VolumeName;
use model::release::{Check, Command, Limits};
use model::volume::Volume;
use proptest::prelude::*;

use super::config::{Difference, MAX_CONFIG_BYTES, configure, difference};
use super::release::{deploy, rollback};
use super::scale::{MAX_UNITS, restart, scale, set_stopped};
use super::settings::{Limit, LimitsPatch, set_check, set_limits};
use super::volumes::{create, destroy, mount};
use super::*;

/// An app with its releases; the hand of the planner ends each change.
#[derive(Debug, Clone)]
struct World {
    app: App,
    releases: Vec<Release>,
}

fn process(name: &str) -> ProcessType {
    name.parse().unwrap()
}

fn build(commit: &str, types: &[&str]) -> Build {
    let processes = types.iter().map(|name| (process(name), Some(Command(vec!["run".to_owned()]))));
    Build {
        image: format!("registry/shop@sha256:{commit}"),
        commit: Some(commit.to_owned()),
        processes: processes.collect(),
        exposed_port: None,
    }
}

impl World {
    fn new() -> World {
        let app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(1));
        World { app, releases: Vec::new() }
    }

    fn deployed(types: &[&str]) -> World {
        let mut world = World::new();
        world.apply(|asked, _| deploy(asked, build("c0ffee", types))).unwrap();
        world.settle(true);
        world
    }

    fn apply(&mut self, act: impl Fn(Asked<'_>, &[Release]) -> Decision) -> Result<bool, Refusal> {
        let by = "olga".parse().unwrap();
        let current = self.app.current;
        let asked = Asked {
            app: &self.app,
            current: self.releases.iter().find(|release| Some(release.number) == current),
            by: &by,
            now: Time(self.app.generation + 100),
        };
        let Some(next) = act(asked, &self.releases)? else { return Ok(false) };
        self.app = next.app;
        self.releases.extend(next.release);
        Ok(true)
    }

    fn settle(&mut self, well: bool) {
        let outcome = match well {
            true => Outcome::Live,
            false => Outcome::Failed {
                code: "crashed".to_owned(),
                reason: "it ended".to_owned(),
                last_lines: Vec::new(),
            },
        };
        self.app.settled = Settled { generation: self.app.generation, outcome };
        let Some(deploy) = self.app.target.take() else { return };
        let release = self.releases.last_mut().unwrap();
        assert_eq!(release.number, deploy.release);
        if well {
            self.app.current = Some(deploy.release);
            release.state = ReleaseState::Succeeded;
        } else {
            release.state = ReleaseState::Failed { reason: "it ended".to_owned() };
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<bool, Refusal> {
        self.apply(|asked, _| {
            let open = open(asked.current);
            let set = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            configure(asked, difference(&open, &set, &[])?.map(|_, value| Sealed(value)))
        })
    }

    fn config(&self) -> BTreeMap<EnvKey, String> {
        open(self.releases.iter().find(|release| Some(release.number) == self.app.current))
    }
}

/// In these tests a sealed value is the value.
fn open(release: Option<&Release>) -> BTreeMap<EnvKey, String> {
    let config = release.iter().flat_map(|release| &release.config);
    config.map(|(key, sealed)| (key.clone(), sealed.0.clone())).collect()
}

#[test]
fn the_first_build_gets_one_web_unit_and_later_ones_keep_the_formation() {
    let mut world = World::deployed(&["web", "worker"]);
    assert_eq!(world.app.formation.len(), 1);
    assert_eq!(world.app.formation[&process("web")].wanted(), 1);
    let none = BTreeMap::from([(process("web"), 0)]);
    world.apply(|asked, _| scale(asked, &none)).unwrap();
    world.apply(|asked, _| deploy(asked, build("beef", &["web"]))).unwrap();
    assert_eq!(world.app.formation[&process("web")].wanted(), 0);
    assert!(World::deployed(&["worker"]).app.formation.is_empty());
}

#[test]
fn while_a_release_is_on_its_way_everything_is_busy() {
    let mut world = World::deployed(&["web"]);
    world.set("A", "1").unwrap();
    let before = world.app.clone();
    let busy = Err(Refusal::Busy { release: ReleaseNumber(2) });
    let counts = BTreeMap::from([(process("web"), 2)]);
    let limits = BTreeMap::from([(
        process("web"),
        LimitsPatch { memory_bytes: Limit::Set(1 << 30), cpu_millis: Limit::Leave },
    )]);
    assert_eq!(world.set("A", "2"), busy);
    assert_eq!(world.apply(|asked, _| deploy(asked, build("beef", &["web"]))), busy);
    assert_eq!(world.apply(|asked, all| rollback(asked, all, None)), busy);
    assert_eq!(world.apply(|asked, _| scale(asked, &counts)), busy);
    assert_eq!(world.apply(|asked, _| restart(asked, &[])), busy);
    assert_eq!(world.apply(|asked, _| set_stopped(asked, &[], true)), busy);
    assert_eq!(world.apply(|asked, _| set_limits(asked, &limits)), busy);
    assert_eq!(world.apply(|asked, _| set_check(asked, &process("web"), None)), busy);
    assert_eq!(world.app, before);
}

#[test]
fn configuration_after_a_failed_release_merges_from_the_one_in_force() {
    let mut world = World::deployed(&["web"]);
    world.set("A", "1").unwrap();
    world.settle(true);
    world.set("B", "bad").unwrap();
    world.settle(false);
    world.set("C", "3").unwrap();
    world.settle(true);
    let names: Vec<String> = world.config().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["A", "C"]);
    assert_eq!(world.app.current, Some(ReleaseNumber(4)));
}

#[test]
fn a_rollback_without_a_name_skips_failures_and_releases_without_a_build() {
    let mut world = World::new();
    world.set("A", "0").unwrap();
    world.settle(true); // v1, no build
    let back = |world: &mut World, to| world.apply(|asked, all| rollback(asked, all, to));
    assert_eq!(back(&mut world, None), Err(Refusal::NoEarlier));
    world.apply(|asked, _| deploy(asked, build("one", &["web"]))).unwrap();
    world.settle(true); // v2
    assert_eq!(back(&mut world, None), Err(Refusal::NoEarlier));
    world.apply(|asked, _| deploy(asked, build("two", &["web"]))).unwrap();
    world.settle(false); // v3
    world.apply(|asked, _| deploy(asked, build("three", &["web"]))).unwrap();
    world.settle(true); // v4
    assert_eq!(back(&mut world, None), Ok(true));
    let made = world.releases.last().unwrap().build.as_ref().unwrap();
    assert_eq!(made.commit.as_deref(), Some("one"));
}

#[test]
fn a_rollback_to_a_name_needs_a_kept_image() {
    let mut world = World::deployed(&["web"]);
    for n in 0..21 {
        world.set("A", &n.to_string()).unwrap();
        world.settle(n != 20);
    }
    let back = |number| {
        world.clone().apply(|asked, all| rollback(asked, all, Some(ReleaseNumber(number))))
    };
    assert_eq!(back(2), Err(Refusal::ImageGone(ReleaseNumber(2))));
    assert_eq!(back(3), Ok(true));
    assert_eq!(back(22), Ok(true), "a failed release that is named and kept");
    assert_eq!(back(21), Ok(false), "the one in force");
    assert_eq!(back(99), Err(Refusal::UnknownRelease(ReleaseNumber(99))));
}

#[test]
fn a_scale_with_one_bad_part_changes_nothing() {
    let mut world = World::deployed(&["web", "worker", "release"]);
    let before = world.app.clone();
    let mut scale_to = |pairs: &[(&str, u32)]| {
        let counts = pairs.iter().map(|(name, count)| (process(name), *count)).collect();
        world.apply(|asked, _| scale(asked, &counts))
    };
    let known = vec!["web".to_owned(), "worker".to_owned()];
    let unknown = Refusal::UnknownType { process: process("wroker"), known };
    assert_eq!(scale_to(&[("web", 2), ("wroker", 1)]), Err(unknown));
    assert_eq!(scale_to(&[("release", 1), ("web", 2)]), Err(Refusal::ReleasePhase));
    assert!(matches!(
        scale_to(&[("web", 2), ("worker", MAX_UNITS + 1)]),
        Err(Refusal::TooMany { .. })
    ));
    assert_eq!(scale_to(&[]), Err(Refusal::Nothing("scale")));
    assert_eq!(scale_to(&[("web", 1)]), Ok(false));
    assert_eq!(world.app, before);
}

#[test]
fn a_scaled_type_runs_again_and_an_untouched_one_keeps_its_time() {
    let mut world = World::deployed(&["web", "worker"]);
    let counts = BTreeMap::from([(process("worker"), 2)]);
    world.apply(|asked, _| scale(asked, &counts)).unwrap();
    world.apply(|asked, _| set_stopped(asked, &[process("web")], true)).unwrap();
    let worker = world.app.formation[&process("worker")].clone();
    let two = BTreeMap::from([(process("web"), 2)]);
    world.apply(|asked, _| scale(asked, &two)).unwrap();
    assert_eq!(world.app.formation[&process("web")].wanted(), 2);
    assert_eq!(world.app.formation[&process("worker")], worker);
}

#[test]
fn settings_may_be_made_before_the_first_push_and_outlive_builds() {
    let mut world = World::new();
    let check = Check { grace_ms: 5, ..Check::default_for(&process("web")) };
    world.apply(|asked, _| set_check(asked, &process("web"), Some(check.clone()))).unwrap();
    world.settle(true);
    world.apply(|asked, _| deploy(asked, build("one", &["web"]))).unwrap();
    world.settle(true);
    assert_eq!(world.releases.last().unwrap().check(&process("web")), check);
    let unknown = world.apply(|asked, _| set_check(asked, &process("nope"), None));
    assert!(matches!(unknown, Err(Refusal::UnknownType { .. })));
    assert!(world.apply(|asked, _| set_check(asked, &process("web"), None)).unwrap());
    assert!(world.releases.last().unwrap().settings.is_empty());
}

#[test]
fn one_off_commands_have_the_limits_of_run_else_of_web() {
    let mut world = World::new();
    world.apply(|asked, _| deploy(asked, build("one", &["web", "worker"]))).unwrap();
    world.settle(true);
    let set = |process: &str, memory_bytes, cpu_millis| {
        BTreeMap::from([(self::process(process), LimitsPatch { memory_bytes, cpu_millis })])
    };
    for (patch, memory_bytes, cpu_millis) in [
        (set("worker", Limit::Set(1 << 30), Limit::Set(100)), None, None),
        (set("web", Limit::Set(2 << 30), Limit::Set(200)), Some(2 << 30), Some(200)),
        (set("run", Limit::Set(3 << 30), Limit::Leave), Some(3 << 30), Some(200)),
        (set("run", Limit::Remove, Limit::Set(300)), Some(2 << 30), Some(300)),
    ] {
        assert!(world.apply(|asked, _| set_limits(asked, &patch)).unwrap());
        world.settle(true);
        let limits = world.releases.last().unwrap().one_off_limits();
        assert_eq!(limits, Limits { memory_bytes, cpu_millis }, "{patch:?}");
    }
}

#[test]
fn a_large_configuration_is_refused_where_it_crosses_the_limit() {
    let value = "x".repeat(60_000);
    let names = |n: usize| (0..n).map(|n| (format!("V{n}"), value.clone())).collect();
    let fits = MAX_CONFIG_BYTES / 60_002;
    assert!(difference(&BTreeMap::new(), &names(fits), &[]).is_ok());
    let now = difference(&BTreeMap::new(), &names(fits), &[]).unwrap().set;
    let more = BTreeMap::from([("MORE".to_owned(), value.clone())]);
    assert!(matches!(difference(&now, &more, &[]), Err(Refusal::ConfigTooLarge { .. })));
    assert!(difference(&now, &more, &["V0".to_owned()]).is_ok());
    let many = (0..1001).map(|n| (format!("V{n}"), String::new())).collect();
    assert!(difference(&BTreeMap::new(), &many, &[]).is_err());
}

#[test]
fn a_summary_names_variables_and_never_values() {
    let set = (0..7).map(|n| (format!("V{n}"), "secret".to_owned())).collect();
    let now = BTreeMap::from([("OLD".parse().unwrap(), "secret".to_owned())]);
    let summary = difference(&now, &set, &["OLD".to_owned()]).unwrap().summary();
    assert_eq!(summary, "set V0, V1, V2, V3, V4 and 2 more; unset OLD");
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8),
    Deploy(u8),
    Rollback(u32),
    Scale(u32),
    Restart,
    Stop(bool),
    Settle(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8, 0..3u8).prop_map(|(key, value)| Step::Set(key, value)),
        (0..3u8).prop_map(Step::Deploy),
        (1..12u32).prop_map(Step::Rollback),
        (0..3u32).prop_map(Step::Scale),
        Just(Step::Restart),
        any::<bool>().prop_map(Step::Stop),
        any::<bool>().prop_map(Step::Settle),
        any::<bool>().prop_map(Step::Settle),
    ]
}

fn take(world: &mut World, step: &Step) -> Result<bool, Refusal> {
    match step {
        Step::Set(key, value) => world.set(&format!("K{key}"), &value.to_string()),
        Step::Deploy(n) => world.apply(|asked, _| deploy(asked, build(&n.to_string(), &["web"]))),
        Step::Rollback(n) => {
            world.apply(|asked, all| rollback(asked, all, Some(ReleaseNumber(*n))))
        }
        Step::Scale(n) => {
            let counts = BTreeMap::from([(process("web"), *n)]);
            world.apply(|asked, _| scale(asked, &counts))
        }
        Step::Restart => world.apply(|asked, _| restart(asked, &[])),
        Step::Stop(stopped) => world.apply(|asked, _| set_stopped(asked, &[], *stopped)),
        Step::Settle(well) => {
            world.settle(*well);
            Ok(false)
        }
    }
}

proptest! {
    #[test]
    fn numbers_only_grow_and_only_real_changes_bump_the_generation(
        steps in proptest::collection::vec(step(), 0..40)
    ) {
        let mut world = World::new();
        for step in steps {
            let before = world.clone();
            let changed = take(&mut world, &step);
            let numbers: Vec<u32> = world.releases.iter().map(|release| release.number.0).collect();
            prop_assert_eq!(&numbers, &(1..world.app.next_release).collect::<Vec<_>>());
            match changed {
                Ok(true) => prop_assert_eq!(world.app.generation, before.app.generation + 1),
                Ok(false) => prop_assert_eq!(world.app.generation, before.app.generation),
                Err(_) => prop_assert_eq!(&world.app, &before.app),
            }
        }
    }

    #[test]
    fn the_same_request_again_changes_nothing(
        steps in proptest::collection::vec(step(), 0..20), again in step()
    ) {
        let mut world = World::new();
        for step in &steps {
            let _ = take(&mut world, step);
        }
        world.settle(true);
        let is_idempotent = !matches!(again, Step::Deploy(_) | Step::Restart | Step::Settle(_));
        if is_idempotent && take(&mut world, &again).is_ok() {
            world.settle(true);
            prop_assert_eq!(take(&mut world, &again), Ok(false));
        }
    }

    #[test]
    fn a_patch_is_what_a_map_would_do(
        now in proptest::collection::btree_map("[A-C]", "[a-b]{0,2}", 0..4),
        set in proptest::collection::btree_map("[A-C]", "[a-b]{0,2}", 0..4),
        unset in proptest::collection::btree_set("[A-E]", 0..3),
    ) {
        let unset: Vec<String> = unset.into_iter().filter(|name| !set.contains_key(name)).collect();
        prop_assume!(!set.is_empty() || !unset.is_empty());
        let parse = |map: &BTreeMap<String, String>| -> BTreeMap<EnvKey, String> {
            map.iter().map(|(key, value)| (key.parse().unwrap(), value.clone())).collect()
        };
        let open = parse(&now);
        let Difference { set: changed, unset: removed } = difference(&open, &set, &unset).unwrap();
        let mut expected = now.clone();
        expected.extend(set);
        expected.retain(|name, _| !unset.contains(name));
        let mut merged = open.clone();
        merged.retain(|key, _| !removed.contains(key));
        merged.extend(changed.clone());
        prop_assert_eq!(merged, parse(&expected));
        prop_assert!(changed.iter().all(|(key, value)| open.get(key) != Some(value)));
        prop_assert!(removed.iter().all(|key| open.contains_key(key)));
    }
}

fn volume(node: &str) -> Volume {
    Volume {
        id: format!("shop-on-{node}").parse().unwrap(),
        node: node.parse().unwrap(),
        created: Time(1),
        mounts: BTreeMap::new(),
    }
}

#[test]
fn a_type_mounts_volumes_of_one_node_at_places_of_their_own_and_its_units_are_replaced() {
    let mut world = World::deployed(&["web", "worker"]);
    let names: Vec<VolumeName> = ["data", "more", "away"].map(|name| name.parse().unwrap()).into();
    for (name, node) in names.iter().zip(["n1", "n1", "n2"]) {
        world.app = create(&world.app, name, volume(node)).unwrap();
    }
    assert_eq!(
        create(&world.app, &names[0], volume("n1")),
        Err(Refusal::VolumeExists(names[0].clone()))
    );
    let generation = world.app.generation;
    let mut at = |volume: usize, process_name: &str, path: Option<&str>| {
        let patch =
            BTreeMap::from([(process(process_name), path.map(|path| path.parse().unwrap()))]);
        let done = world.apply(|asked, _| mount(asked, &names[volume], &patch));
        (done, world.app.formation[&process("web")].epoch, world.app.generation - generation)
    };
    assert_eq!(at(0, "web", Some("/data")), (Ok(true), 1, 1));
    assert_eq!(at(0, "web", Some("/data")), (Ok(false), 1, 1));
    assert!(matches!(at(1, "web", Some("/data")).0, Err(Refusal::PathTaken { .. })));
    assert!(matches!(at(2, "web", Some("/away")).0, Err(Refusal::Apart { .. })));
    assert!(matches!(at(0, "wbe", Some("/data")).0, Err(Refusal::UnknownType { .. })));
    assert!(matches!(at(0, "release", Some("/data")).0, Err(Refusal::ReleasePhase)));
    assert_eq!(at(1, "web", Some("/more")), (Ok(true), 2, 2));
    assert_eq!(at(0, "web", None), (Ok(true), 3, 3));
    assert!(matches!(destroy(&world.app, &names[1]), Err(Refusal::Mounted { .. })));
    let (app, gone) = destroy(&world.app, &names[0]).unwrap();
    assert_eq!((app.volumes.len(), gone), (2, volume("n1")));
    assert!(matches!(destroy(&app, &names[0]), Err(Refusal::UnknownVolume(_))));
}

#[test]
fn before_the_first_push_any_type_may_mount() {
    let mut world = World::new();
    let data: VolumeName = "data".parse().unwrap();
    world.app = create(&world.app, &data, volume("n1")).unwrap();
    let patch = BTreeMap::from([(process("web"), Some("/data".parse().unwrap()))]);
    assert_eq!(world.apply(|asked, _| mount(asked, &data, &patch)), Ok(true));
    assert_eq!(world.app.mounts_of(&process("web")).len(), 1);
}
