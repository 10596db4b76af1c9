//! Apps: names, visibility, sharing, handing over, destroying.

use model::account::Scope;
use proto::problem::Code;
use serde_json::{Value, json};

use crate::harness::Platform;

#[tokio::test]
async fn an_app_is_made_with_a_given_or_a_generated_name() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let make = |body| platform.call(&root, "POST", "/v1/apps", body);
    let shop = make(json!({"name": "shop"})).await.ok(201);
    assert_eq!(shop["url"], "http://shop.apps.localhost");
    assert_eq!(shop["git_remote"], "ssh://git@localhost:2222/shop.git");
    assert_eq!((&shop["owner"], &shop["release"]), (&json!("root"), &Value::Null));
    make(json!({"name": "shop"})).await.problem(Code::Exists);
    for bad in ["Shop", "s", "deis", "a.b", "shop-", "../x"] {
        make(json!({"name": bad})).await.problem(Code::Invalid);
    }
    let generated = make(Value::Null).await.ok(201);
    let names = platform.get(&root, "/v1/apps").await.ok(200);
    assert_eq!(names.as_array().unwrap().len(), 2);
    assert_eq!(generated["name"].as_str().unwrap().split('-').count(), 3);
}

#[tokio::test]
async fn an_app_that_is_not_yours_looks_like_none() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    let stranger = platform.register("sam").await;
    let hidden = platform.get(&stranger, "/v1/apps/shop").await.problem(Code::NotFound);
    let absent = platform.get(&stranger, "/v1/apps/none").await.problem(Code::NotFound);
    assert_eq!(hidden.message.replace("shop", "none"), absent.message);
    assert_eq!(hidden.hint, absent.hint);
    assert_eq!(platform.get(&stranger, "/v1/apps").await.ok(200), json!([]));
    platform.get(&stranger, "/v1/apps/Not%20a%20name").await.problem(Code::NotFound);
    platform.get("", "/v1/apps/shop").await.problem(Code::LoginNeeded);
    platform.get("", "/v1/apps/none").await.problem(Code::LoginNeeded);
}

#[tokio::test]
async fn a_collaborator_operates_until_removed() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let carl = platform.register("carl").await;
    let share =
        |user| platform.call(&olga, "POST", "/v1/apps/shop/perms", json!({"username": user}));
    share("nobody").await.problem(Code::NotFound);
    share("olga").await.problem(Code::Exists);
    assert_eq!(share("carl").await.ok(200), json!(["carl"]));
    assert_eq!(platform.get(&carl, "/v1/apps/shop/perms").await.ok(200), json!(["carl"]));
    let on = json!({"on": true});
    let info = platform.call(&carl, "PUT", "/v1/apps/shop/maintenance", on).await.ok(200);
    assert_eq!(info["maintenance"], true);
    let destroy = platform.call(&carl, "DELETE", "/v1/apps/shop?confirm=shop", Value::Null).await;
    destroy.problem(Code::Forbidden);
    platform.call(&olga, "DELETE", "/v1/apps/shop/perms/carl", Value::Null).await.ok(204);
    let again = platform.call(&olga, "DELETE", "/v1/apps/shop/perms/carl", Value::Null).await;
    again.problem(Code::NotFound);
    platform.get(&carl, "/v1/apps/shop").await.problem(Code::NotFound);
}

#[tokio::test]
async fn a_handed_over_app_is_the_new_owners_alone() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let carl = platform.register("carl").await;
    let hand = |to| platform.call(&olga, "POST", "/v1/apps/shop/transfer", json!({"to": to}));
    hand("nobody").await.problem(Code::NotFound);
    assert_eq!(hand("carl").await.ok(200)["owner"], "carl");
    platform.get(&olga, "/v1/apps/shop").await.problem(Code::NotFound);
    platform.get(&carl, "/v1/apps/shop").await.ok(200);
}

#[tokio::test]
async fn destroying_needs_the_name_and_hides_the_app_at_once() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let destroy = |path: &'static str| platform.call(&olga, "DELETE", path, Value::Null);
    destroy("/v1/apps/shop").await.problem(Code::Invalid);
    destroy("/v1/apps/shop?confirm=blog").await.problem(Code::Invalid);
    let deploy_token = platform.store_token("olga", Scope::Deploy).await;
    let path = "/v1/apps/shop?confirm=shop";
    platform.call(&deploy_token, "DELETE", path, Value::Null).await.problem(Code::ScopeTooSmall);
    assert_eq!(platform.app("shop").await.value.destroyed, None);
    assert_eq!(destroy(path).await.ok(202)["changed"], true);
    assert!(platform.app("shop").await.value.destroyed.is_some());
    platform.get(&olga, "/v1/apps/shop").await.problem(Code::NotFound);
    assert_eq!(platform.get(&olga, "/v1/apps").await.ok(200), json!([]));
    let again = platform.call(&olga, "POST", "/v1/apps", json!({"name": "shop"})).await;
    assert!(again.problem(Code::Exists).hint.contains("destroyed"));
}

#[tokio::test]
async fn the_deploy_branch_is_a_branch() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let set = |branch: Value| {
        platform.call(&olga, "PUT", "/v1/apps/shop/deploy-branch", json!({"branch": branch}))
    };
    for bad in ["", "a b", "-x", "a..b", "x/", "/x", ".x", "x.lock", "a\nb", "$(reboot)"] {
        set(json!(bad)).await.problem(Code::Invalid);
    }
    assert_eq!(set(json!("release/2")).await.ok(200)["deploy_branch"], "release/2");
    assert_eq!(set(Value::Null).await.ok(200)["deploy_branch"], Value::Null);
}
