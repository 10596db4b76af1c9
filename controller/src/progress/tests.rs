//! Two snapshots in, the lines a waiting user reads out.

use std::sync::Arc;

use model::app::{Deploy, Scale, Settled};
use model::name::ProcessType;
use model::snapshot::{Snapshot, Versioned};
use model::unit::Trouble;

use super::*;
use crate::plan::Waiting;
use crate::view::Lead;

fn deploying() -> App {
    let mut app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(1));
    app.current = Some(ReleaseNumber(1));
    app.target = Some(Deploy { release: ReleaseNumber(2), started: Time(100) });
    app.generation = 7;
    app.settled.generation = 6;
    app.formation.insert(ProcessType::web(), Scale { count: 1, ..Scale::default() });
    app
}

fn unit(id: &str, release: u32, created: u64, desired: Desired) -> Unit {
    Unit {
        exclusive: false,
        mounts: std::collections::BTreeMap::new(),
        id: id.parse().unwrap(),
        app: "shop".parse().unwrap(),
        process: ProcessType::web(),
        ordinal: 1,
        release: ReleaseNumber(release),
        epoch: 0,
        kind: UnitKind::Service,
        node: "node1".parse().unwrap(),
        memory_bytes: 1,
        created: Time(created),
        desired,
    }
}

fn status(phase: Phase) -> UnitStatus {
    let trouble = (phase == Phase::Backoff).then(|| Trouble {
        reason: "exited with code 1".to_owned(),
        code: "exited".to_owned(),
        at: Time(120),
        last_lines: vec!["boom".to_owned()],
    });
    UnitStatus { published: None, phase, address: None, restarts: 0, since: Time(120), trouble }
}

fn view(app: &App, units: &[(Unit, Phase)]) -> View {
    let mut snapshot = Snapshot::default();
    snapshot.apps.insert(app.name.clone(), Versioned { value: app.clone(), revision: 1 });
    for (unit, phase) in units {
        snapshot.units.insert(unit.id.clone(), Versioned { value: unit.clone(), revision: 1 });
        snapshot.statuses.insert(unit.id.clone(), status(*phase));
    }
    View {
        lead: Some(Lead { epoch: 1, only: None }),
        snapshot: Arc::new(snapshot),
        is_warm: true,
        ..View::default()
    }
}

#[test]
fn each_step_of_a_new_unit_is_said_once() {
    let app = deploying();
    let old = unit("shop-web-old", 1, 50, Desired::Run);
    let new = unit("shop-web-new", 2, 110, Desired::Run);
    let mut story = Story::new(&app, 7);
    let mut said = Vec::new();
    for phase in [Phase::Assigned, Phase::Starting, Phase::Running, Phase::Ready, Phase::Ready] {
        let view = view(&app, &[(old.clone(), Phase::Ready), (new.clone(), phase)]);
        said.extend(story.news(&view));
        said.extend(story.news(&view));
    }
    let leaving = unit("shop-web-old", 1, 50, Desired::Drain { since: Time(130) });
    said.extend(story.news(&view(&app, &[(leaving, Phase::Ready), (new, Phase::Ready)])));
    assert_eq!(
        said,
        ["web.1 is starting on node1", "web.1 is ready", "web.1 of v1 finishes its requests"]
    );
}

#[test]
fn trouble_and_waiting_are_said() {
    let app = deploying();
    let new = unit("shop-web-new", 2, 110, Desired::Run);
    let mut view = view(&app, &[(new, Phase::Backoff)]);
    view.waiting = Arc::new(vec![Waiting {
        app: app.name.clone(),
        process: Some(ProcessType::web()),
        unit: None,
        code: "no-room",
        reason: "no node has 512 MiB of memory free".to_owned(),
    }]);
    assert_eq!(
        Story::new(&app, 7).news(&view),
        [
            "web.1 exited with code 1; it will be started again",
            "waiting: no node has 512 MiB of memory free"
        ]
    );
}

#[test]
fn a_view_from_before_the_change_says_nothing() {
    let mut before = deploying();
    before.generation = 6;
    let new = unit("shop-web-new", 2, 110, Desired::Run);
    let mut story = Story::new(&deploying(), 7);
    assert_eq!(story.news(&view(&before, &[(new, Phase::Ready)])), Vec::<String>::new());
    assert_eq!(story.end(&before), None);
}

#[test]
fn the_end_is_what_the_app_settled_on() {
    let mut app = deploying();
    let story = Story::new(&app, 7);
    assert_eq!(story.end(&app), None);
    app.settled = Settled { generation: 7, outcome: Outcome::Live };
    app.current = Some(ReleaseNumber(2));
    assert_eq!(story.end(&app), Some(End::Live { release: Some(ReleaseNumber(2)) }));
    let outcome = Outcome::Failed {
        code: "crashed".to_owned(),
        reason: "web.1 exited with code 1".to_owned(),
        last_lines: vec!["boom".to_owned()],
    };
    app.settled = Settled { generation: 8, outcome };
    let Some(End::Failed(problem)) = story.end(&app) else { panic!("it failed") };
    assert_eq!((problem.code, problem.details), (Code::Crashed, vec!["boom".to_owned()]));
    assert!(!problem.hint.is_empty());
}

#[test]
fn what_serves_on_after_a_failed_deploy_is_no_news() {
    let mut app = deploying();
    let old = unit("shop-web-old", 1, 50, Desired::Run);
    let new = unit("shop-web-new", 2, 110, Desired::Run);
    let mut story = Story::new(&app, 7);
    story.news(&view(&app, &[(old.clone(), Phase::Ready), (new.clone(), Phase::Backoff)]));
    let outcome = Outcome::Failed {
        code: "unhealthy".to_owned(),
        reason: "web.1 failed its health check".to_owned(),
        last_lines: Vec::new(),
    };
    app.settled = Settled { generation: 7, outcome };
    app.target = None;
    let ended = view(&app, &[(old, Phase::Ready), (new, Phase::Ready)]);
    assert_eq!(story.news(&ended), Vec::<String>::new());
    assert_eq!(Story::new(&app, 7).news(&ended), Vec::<String>::new(), "nor to a late follower");
}

#[test]
fn what_is_left_of_the_old_release_after_a_deploy_is_no_news() {
    let mut app = deploying();
    let old = unit("shop-web-old", 1, 50, Desired::Run);
    let new = unit("shop-web-new", 2, 110, Desired::Run);
    let mut story = Story::new(&app, 7);
    story.news(&view(&app, &[(old.clone(), Phase::Ready), (new.clone(), Phase::Ready)]));
    app.settled = Settled { generation: 7, outcome: Outcome::Live };
    (app.current, app.target) = (Some(ReleaseNumber(2)), None);
    let ended = view(&app, &[(old, Phase::Backoff), (new, Phase::Ready)]);
    assert_eq!(story.news(&ended), Vec::<String>::new());
}

#[test]
fn an_app_made_anew_under_the_name_is_another() {
    let app = deploying();
    let again = App { created: Time(500), ..app.clone() };
    let mut story = Story::new(&app, 7);
    assert!(!story.is_about(&again));
    let new = unit("shop-web-new", 2, 510, Desired::Run);
    assert!(story.news(&view(&again, &[(new, Phase::Ready)])).is_empty());
}
