//! Configuration, scaling, limits, checks, releases and the way back.

use proto::problem::Code;
use serde_json::{Value, json};

use crate::harness::{Platform, crashed};
use model::app::Outcome;

const CONFIG: &str = "/v1/apps/shop/config";

#[tokio::test]
async fn configuration_before_the_first_push_makes_a_release() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let patch = |body| platform.call(&olga, "PATCH", CONFIG, body);
    let change = patch(json!({"set": {"GREETING": "hi"}})).await.ok(202);
    assert_eq!(change, json!({"generation": 1, "release": "v1", "changed": true}));
    patch(json!({"set": {"GREETING": "ho"}})).await.problem(Code::Busy);
    platform.settle("shop", Outcome::Live).await;
    let same = patch(json!({"set": {"GREETING": "hi"}, "unset": ["NEVER_SET"]})).await.ok(202);
    assert_eq!(same, json!({"generation": 1, "release": null, "changed": false}));
    let other = patch(json!({"set": {"GREETING": "ho"}, "unset": []})).await.ok(202);
    assert_eq!(other["release"], "v2");
}

#[tokio::test]
async fn values_of_every_kind_come_back_as_they_were_and_are_masked_unless_asked() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let values = json!({
        "LINES": "one\ntwo\r\n", "QUOTES": "\"'`$HOME", "EQUALS": "a=b=c", "UNICODE": "żółw 🐢",
        "LARGE": "x".repeat(64 * 1024), "EMPTY": ""
    });
    platform.call(&olga, "PATCH", CONFIG, json!({"set": values})).await.ok(202);
    platform.settle("shop", Outcome::Live).await;
    let masked = platform.get(&olga, CONFIG).await.ok(200);
    assert!(masked["values"].as_object().unwrap().values().all(Value::is_null));
    assert_eq!(masked["values"].as_object().unwrap().len(), 6);
    let revealed = platform.get(&olga, &format!("{CONFIG}?reveal=true")).await.ok(200);
    assert_eq!(revealed["values"], values);
    let read = platform.store_token("olga", model::account::Scope::Read).await;
    platform.get(&read, CONFIG).await.ok(200);
    let refused = platform.get(&read, &format!("{CONFIG}?reveal=true")).await;
    refused.problem(Code::ScopeTooSmall);
    let stored = platform.context.records.store().list("releases/").await.unwrap();
    for entry in stored.entries {
        assert!(!String::from_utf8_lossy(&entry.value).contains("a=b=c"));
    }
}

#[tokio::test]
async fn a_patch_with_one_bad_part_changes_nothing() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    for (body, code) in [
        (json!({}), Code::Invalid),
        (json!({"set": {"GOOD": "1", "BAD-NAME": "2"}}), Code::Invalid),
        (json!({"set": {"GOOD": "1", "PORT": "80"}}), Code::Invalid),
        (json!({"set": {"GOOD": "1", "TRIREME_APP": "x"}}), Code::Invalid),
        (json!({"set": {"GOOD": "1"}, "unset": ["GOOD"]}), Code::Invalid),
        (json!({"set": {"GOOD": "1"}, "unset": ["1BAD"]}), Code::Invalid),
        (json!({"set": {"GOOD": "a\u{0}b"}}), Code::Invalid),
        (json!({"set": {"GOOD": 1}}), Code::Invalid),
        (json!({"set": {"LARGE": "x".repeat(64 * 1024 + 1)}}), Code::TooLarge),
    ] {
        platform.call(&olga, "PATCH", CONFIG, body).await.problem(code);
    }
    let many: serde_json::Map<String, Value> =
        (0..9).map(|n| (format!("V{n}"), json!("x".repeat(60_000)))).collect();
    platform.call(&olga, "PATCH", CONFIG, json!({"set": many})).await.problem(Code::TooLarge);
    assert_eq!(platform.app("shop").await.value.next_release, 1);
}

#[tokio::test]
async fn nothing_scales_or_restarts_before_the_first_push() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let post = |path: &'static str, body| platform.call(&olga, "POST", path, body);
    post("/v1/apps/shop/scale", json!({"counts": {"web": 1}})).await.problem(Code::NothingDeployed);
    for path in ["/v1/apps/shop/restart", "/v1/apps/shop/stop", "/v1/apps/shop/start"] {
        post(path, Value::Null).await.problem(Code::NothingDeployed);
    }
    post("/v1/apps/shop/rollback", Value::Null).await.problem(Code::NothingDeployed);
}

#[tokio::test]
async fn scaling_is_all_or_nothing() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web", "worker", "release"]).await;
    let formation = platform.get(&olga, "/v1/apps/shop").await.ok(200)["formation"].clone();
    assert_eq!(formation, json!({"web": 1}));
    let scale = |counts: Value| {
        platform.call(&olga, "POST", "/v1/apps/shop/scale", json!({"counts": counts}))
    };
    let unknown = scale(json!({"web": 2, "wroker": 1})).await.problem(Code::Invalid);
    assert!(unknown.hint.contains("web, worker"), "{unknown}");
    scale(json!({"web": 2, "release": 1})).await.problem(Code::Invalid);
    scale(json!({"web": 1001})).await.problem(Code::Invalid);
    scale(json!({"web": -1})).await.problem(Code::Invalid);
    scale(json!({"web": 2, "a b": 1})).await.problem(Code::Invalid);
    scale(json!({})).await.problem(Code::Invalid);
    assert_eq!(platform.app("shop").await.value.formation.len(), 1);
    let change = scale(json!({"web": 2, "worker": 1})).await.ok(202);
    assert_eq!((&change["release"], &change["changed"]), (&Value::Null, &json!(true)));
    assert_eq!(scale(json!({"web": 2})).await.ok(202)["changed"], false);
    let ps = platform.get(&olga, "/v1/apps/shop/ps").await.ok(200);
    assert_eq!(ps["formation"]["web"]["count"], 2);
    assert_eq!(ps["formation"]["web"]["command"], "serve web");
}

#[tokio::test]
async fn stop_remembers_the_count_and_start_brings_it_back() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web", "worker"]).await;
    let go = async |verb: &str, types: Value| {
        let path = format!("/v1/apps/shop/{verb}");
        platform.call(&olga, "POST", &path, json!({"processes": types})).await
    };
    go("restart", json!(["nope"])).await.problem(Code::Invalid);
    assert_eq!(go("restart", json!(["worker"])).await.ok(202)["changed"], false, "none runs");
    assert_eq!(go("restart", json!([])).await.ok(202)["changed"], true);
    assert_eq!(go("stop", json!(["web"])).await.ok(202)["changed"], true);
    assert_eq!(go("stop", json!([])).await.ok(202)["changed"], false);
    let formation = platform.get(&olga, "/v1/apps/shop/ps").await.ok(200)["formation"].clone();
    assert_eq!(
        (&formation["web"]["count"], &formation["web"]["stopped"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(go("start", json!([])).await.ok(202)["changed"], true);
    let web = &platform.app("shop").await.value.formation[&"web".parse().unwrap()];
    assert_eq!((web.wanted(), web.epoch), (1, 1));
}

#[tokio::test]
async fn a_failed_release_is_kept_and_its_number_is_never_reused() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    platform.call(&olga, "PATCH", CONFIG, json!({"set": {"A": "bad"}})).await.ok(202);
    platform.settle("shop", crashed()).await;
    let releases = platform.get(&olga, "/v1/apps/shop/releases").await.ok(200);
    assert_eq!(releases[0]["release"], "v2");
    assert_eq!((&releases[0]["state"], &releases[0]["current"]), (&json!("failed"), &json!(false)));
    assert_eq!(releases[0]["reason"], "web.1 exited with code 1");
    assert_eq!(
        (&releases[1]["state"], &releases[1]["current"]),
        (&json!("succeeded"), &json!(true))
    );
    assert_eq!(platform.get(&olga, CONFIG).await.ok(200)["values"], json!({}));
    let next = platform.call(&olga, "PATCH", CONFIG, json!({"set": {"A": "good"}})).await.ok(202);
    assert_eq!(next["release"], "v3");
    platform.get(&olga, "/v1/apps/shop/releases/v9").await.problem(Code::NotFound);
    platform.get(&olga, "/v1/apps/shop/releases/x").await.problem(Code::Invalid);
    let two = platform.get(&olga, "/v1/apps/shop/releases/2").await.ok(200);
    assert_eq!((&two["config_keys"], &two["summary"]), (&json!(["A"]), &json!("set A")));
}

#[tokio::test]
async fn a_rollback_is_a_new_release_and_configuration_merges_from_it() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let set = async |values: Value| {
        platform.call(&olga, "PATCH", CONFIG, json!({"set": values})).await.ok(202);
        platform.settle("shop", Outcome::Live).await;
    };
    set(json!({"A": "1"})).await; // v1, before the first push
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await; // v2
    set(json!({"A": "2", "B": "2"})).await; // v3
    let back =
        async |body: Value| platform.call(&olga, "POST", "/v1/apps/shop/rollback", body).await;
    back(json!({"to": "v99"})).await.problem(Code::NotFound);
    back(json!({"to": "v1"})).await.problem(Code::NothingDeployed);
    back(json!({"to": "nine"})).await.problem(Code::Invalid);
    assert_eq!(back(json!({"to": "v3"})).await.ok(202)["changed"], false);
    assert_eq!(back(Value::Null).await.ok(202)["release"], "v4");
    platform.settle("shop", Outcome::Live).await;
    let values = async || {
        platform.get(&olga, &format!("{CONFIG}?reveal=true")).await.ok(200)["values"].clone()
    };
    assert_eq!(values().await, json!({"A": "1"}));
    set(json!({"C": "3"})).await; // v5
    assert_eq!(values().await, json!({"A": "1", "C": "3"}));
    let releases = platform.get(&olga, "/v1/apps/shop/releases").await.ok(200);
    assert_eq!(releases[1]["summary"], "roll back to v2");
}

#[tokio::test]
async fn limits_are_set_for_known_types_and_removed() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    let patch = async |limits: Value| {
        platform.call(&olga, "PATCH", "/v1/apps/shop/limits", json!({"limits": limits})).await
    };
    patch(json!({"web": {"memory": "15M"}})).await.problem(Code::Invalid);
    patch(json!({"web": {"cpu": "0"}})).await.problem(Code::Invalid);
    patch(json!({"web": {"memory": "64M"}, "nope": {"cpu": "1"}})).await.problem(Code::Invalid);
    patch(json!({})).await.problem(Code::Invalid);
    assert_eq!(
        patch(json!({"web": {"memory": "1G", "cpu": "0.5"}})).await.ok(202)["release"],
        "v2"
    );
    platform.settle("shop", Outcome::Live).await;
    let shown = platform.get(&olga, "/v1/apps/shop/limits").await.ok(200);
    assert_eq!(shown, json!({"limits": {"web": {"memory": "1G", "cpu": "500m"}}}));
    assert_eq!(patch(json!({"web": {"memory": "1G"}})).await.ok(202)["changed"], false);
    assert_eq!(patch(json!({"web": {"memory": "none"}})).await.ok(202)["changed"], true);
    platform.settle("shop", Outcome::Live).await;
    let shown = platform.get(&olga, "/v1/apps/shop/limits").await.ok(200);
    assert_eq!(shown, json!({"limits": {"web": {"cpu": "500m"}}}));
}

#[tokio::test]
async fn checks_are_set_and_returned_to_the_default() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web", "worker"]).await;
    let shown = platform.get(&olga, "/v1/apps/shop/checks").await.ok(200)["checks"].clone();
    assert_eq!(
        (&shown["web"]["kind"], &shown["worker"]["kind"]),
        (&json!("tcp"), &json!("running"))
    );
    let path = "/v1/apps/shop/checks/web";
    let check = json!({"kind": "http", "path": "/health", "status": "200", "host": "shop.local"});
    platform
        .call(&olga, "PUT", "/v1/apps/shop/checks/nope", check.clone())
        .await
        .problem(Code::Invalid);
    platform
        .call(&olga, "PUT", path, json!({"kind": "http", "path": "x"}))
        .await
        .problem(Code::Invalid);
    assert_eq!(platform.call(&olga, "PUT", path, check.clone()).await.ok(202)["release"], "v2");
    platform.settle("shop", Outcome::Live).await;
    assert_eq!(platform.call(&olga, "PUT", path, check).await.ok(202)["changed"], false);
    let shown = platform.get(&olga, "/v1/apps/shop/checks").await.ok(200)["checks"].clone();
    assert_eq!(shown["web"]["path"], "/health");
    assert_eq!(platform.call(&olga, "DELETE", path, Value::Null).await.ok(202)["release"], "v3");
    platform.settle("shop", Outcome::Live).await;
    assert_eq!(platform.call(&olga, "DELETE", path, Value::Null).await.ok(202)["changed"], false);
}

#[tokio::test]
async fn changes_at_the_same_moment_are_all_made() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    let restart = || platform.call(&olga, "POST", "/v1/apps/shop/restart", Value::Null);
    let (a, b, c, d) = tokio::join!(restart(), restart(), restart(), restart());
    for answer in [a, b, c, d] {
        assert_eq!(answer.ok(202)["changed"], true);
    }
    let web = &platform.app("shop").await.value.formation[&"web".parse().unwrap()];
    assert_eq!(web.epoch, 4);
}
