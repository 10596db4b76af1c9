//! The builders' side of the gateway: keys, permission, locks, releases of builds.

use std::time::Duration;

use futures_util::StreamExt;
use model::app::Outcome;
use proto::gateway::begin_build_answer::Answer;
use proto::gateway::deploy_event::Event;
use proto::gateway::{
    AuthorizeRequest, BeginBuildRequest, BuildRef, FinishBuildRequest, IdentifyRequest,
};
use proto::problem::{Code, Problem};
use serde_json::json;

use crate::harness::{PATIENCE, Platform, build, crashed};

async fn begin(platform: &Platform, user: &str, git_ref: &str, commit: &str, id: &str) -> Answer {
    let request = BeginBuildRequest {
        user: user.to_owned(),
        app: "shop".to_owned(),
        git_ref: git_ref.to_owned(),
        commit: commit.to_owned(),
        build_id: id.to_owned(),
    };
    platform.builds.begin_build(request).await.unwrap().answer.unwrap()
}

async fn begin_master(platform: &Platform, commit: &str, id: &str) -> Answer {
    begin(platform, "olga", "refs/heads/master", commit, id).await
}

#[track_caller]
fn refused(answer: Answer, code: Code) -> Problem {
    match answer {
        Answer::ProblemJson(json) => {
            let problem = Problem::from_json(&json);
            assert_eq!(problem.code, code, "{problem}");
            problem
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn reference(id: &str) -> BuildRef {
    BuildRef { app: "shop".to_owned(), build_id: id.to_owned() }
}

fn finish(id: &str, commit: &str, types: &[&str]) -> FinishBuildRequest {
    FinishBuildRequest {
        app: "shop".to_owned(),
        build_id: id.to_owned(),
        user: "olga".to_owned(),
        build_json: serde_json::to_string(&build("shop", commit, types)).unwrap(),
    }
}

/// All events of a finished build, settled by the hand that plays the planner.
async fn deployed(
    platform: &Platform,
    request: FinishBuildRequest,
    outcome: Outcome,
) -> Vec<Event> {
    let mut events = platform.builds.finish_build(request).await.unwrap();
    let mut all = Vec::new();
    let told = async {
        while let Some(event) = events.next().await {
            let event = event.unwrap().event.unwrap();
            let is_made = event == Event::Progress(format!("releasing v{}", all.len() + 1));
            all.push(event);
            if is_made || all.len() == 1 {
                platform.settle("shop", outcome.clone()).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    all
}

#[tokio::test]
async fn a_key_tells_its_user() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPDhYW1Z0pDwLF5F9C4IuSuJ9Q4NZMiLEVpKcehk49oV";
    let key = platform.call(&root, "POST", "/v1/keys", json!({"public_key": key})).await.ok(201);
    let fingerprint = key["fingerprint"].as_str().unwrap().to_owned();
    let whose = async |fingerprint: &str| {
        let request = IdentifyRequest { fingerprint: fingerprint.to_owned() };
        platform.builds.identify(request).await.unwrap().user
    };
    assert_eq!(whose(&fingerprint).await, "root");
    assert_eq!(whose("SHA256:nobody").await, "");
    assert_eq!(whose("").await, "");
}

#[tokio::test]
async fn who_may_not_operate_may_not_push() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    platform.register("sam").await;
    let may = async |user: &str, app: &str| {
        let request = AuthorizeRequest { user: user.to_owned(), app: app.to_owned() };
        platform.builds.authorize(request).await.unwrap()
    };
    let olga = may("olga", "shop").await;
    assert_eq!((olga.problem_json.as_str(), olga.app_created_ms), ("", crate::harness::START_MS));
    assert_eq!(may("root", "shop").await.problem_json, "");
    for (user, app) in [("sam", "shop"), ("olga", "none"), ("olga", "../x")] {
        let problem = Problem::from_json(&may(user, app).await.problem_json);
        assert_eq!(problem.code, Code::NotFound, "{user} {app}");
    }
    assert_eq!(
        Problem::from_json(&may("ghost", "shop").await.problem_json).code,
        Code::LoginNeeded
    );
    refused(begin(&platform, "sam", "refs/heads/master", "c1", "b1").await, Code::NotFound);
}

#[tokio::test]
async fn only_the_deploy_branch_deploys() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    for other in ["refs/heads/feature", "refs/tags/master", "master", "refs/heads/"] {
        let answer = begin(&platform, "olga", other, "c1", "b1").await;
        let problem = refused(answer, Code::WrongBranch);
        assert!(problem.message.contains("`master` or `main`"), "{problem}");
    }
    let branch = json!({"branch": "live"});
    platform.call(&olga, "PUT", "/v1/apps/shop/deploy-branch", branch).await.ok(200);
    let problem = refused(begin_master(&platform, "c1", "b1").await, Code::WrongBranch);
    assert!(problem.hint.contains("HEAD:live"), "{problem}");
    let answer = begin(&platform, "olga", "refs/heads/live", "c1", "b1").await;
    assert!(matches!(answer, Answer::Ticket(_)));
}

#[tokio::test]
async fn the_build_lock_lapses_and_is_taken_anew_after_a_restart() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    assert!(matches!(begin_master(&platform, "c1", "b1").await, Answer::Ticket(_)));
    refused(begin_master(&platform, "c2", "b2").await, Code::Busy);
    platform.clock.advance(Duration::from_secs(10));
    platform.builds.keep_build(reference("b1")).await.unwrap();
    platform.clock.advance(Duration::from_secs(10));
    refused(begin_master(&platform, "c2", "b2").await, Code::Busy);
    platform.clock.advance(Duration::from_secs(6));
    assert!(matches!(begin_master(&platform, "c2", "b2").await, Answer::Ticket(_)));
    let lost = platform.builds.keep_build(reference("b1")).await.unwrap_err();
    assert_eq!(lost.code(), tonic::Code::FailedPrecondition);
    let finished = deployed(&platform, finish("b1", "c1", &["web"]), Outcome::Live).await;
    let [Event::ProblemJson(json)] = finished.as_slice() else { panic!("{finished:?}") };
    assert_eq!(Problem::from_json(json).code, Code::Busy);
    platform.builds.abandon_build(reference("b1")).await.unwrap();
    platform.builds.abandon_build(reference("b2")).await.unwrap();
    platform.builds.keep_build(reference("b1")).await.unwrap();
}

#[tokio::test]
async fn a_build_becomes_a_release_and_the_pusher_hears_its_end() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let body = json!({"set": {"SECRET": "s3cret"}});
    platform.call(&olga, "PATCH", "/v1/apps/shop/config", body).await.ok(202);
    refused(begin_master(&platform, "c1", "b1").await, Code::Busy);
    platform.settle("shop", Outcome::Live).await;
    let Answer::Ticket(ticket) = begin_master(&platform, "c1", "b1").await else { panic!() };
    assert_eq!(ticket.config["SECRET"], "s3cret");

    let events = deployed(&platform, finish("b1", "c1", &["web", "worker"]), Outcome::Live).await;
    assert_eq!(events[0], Event::Progress("releasing v2".to_owned()));
    let Some(Event::Live(live)) = events.last() else { panic!("{events:?}") };
    assert_eq!((live.release, live.no_url), (2, false));
    assert_eq!(live.url, "http://shop.apps.localhost");
    let app = platform.get(&olga, "/v1/apps/shop").await.ok(200);
    assert_eq!((&app["release"], &app["formation"]), (&json!("v2"), &json!({"web": 1})));

    let answer = begin_master(&platform, "c1", "b2").await;
    assert!(matches!(answer, Answer::AlreadyDeployed(2)), "{answer:?}");
    assert!(matches!(begin_master(&platform, "c2", "b3").await, Answer::Ticket(_)));
}

#[tokio::test]
async fn a_failed_deploy_tells_the_reason_and_the_last_lines() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    begin_master(&platform, "c1", "b1").await;
    let events = deployed(&platform, finish("b1", "c1", &["worker"]), crashed()).await;
    let Some(Event::ProblemJson(json)) = events.last() else { panic!("{events:?}") };
    let problem = Problem::from_json(json);
    assert_eq!((problem.code, problem.details), (Code::Crashed, vec!["boom".to_owned()]));
    assert!(platform.app("shop").await.value.formation.is_empty(), "no web type, no unit");
    assert!(matches!(begin_master(&platform, "c1", "b2").await, Answer::Ticket(_)));
}

#[tokio::test]
async fn a_finished_build_waits_for_a_change_that_came_first() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    begin_master(&platform, "c1", "b1").await;
    let body = json!({"set": {"A": "1"}});
    platform.call(&olga, "PATCH", "/v1/apps/shop/config", body).await.ok(202);
    let mut events = platform.builds.finish_build(finish("b1", "c1", &["web"])).await.unwrap();
    let first = events.next().await.unwrap().unwrap().event.unwrap();
    assert_eq!(first, Event::Progress("waiting: v1 is being rolled out".to_owned()));
    platform.settle("shop", Outcome::Live).await;
    let second = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.event.unwrap(), Event::Progress("releasing v2".to_owned()));
    let release = platform.app("shop").await.value.target.unwrap().release;
    let release =
        platform.context.records.release(&"shop".parse().unwrap(), release).await.unwrap().unwrap();
    assert!(release.value.config.contains_key(&"A".parse().unwrap()), "the change is in it");
}

#[tokio::test]
async fn an_unreadable_build_is_refused() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    let request =
        FinishBuildRequest { build_json: "{}".to_owned(), ..finish("b1", "c1", &["web"]) };
    let events = deployed(&platform, request, Outcome::Live).await;
    let [Event::ProblemJson(json)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(Problem::from_json(json).code, Code::Invalid);
}
