//! Tags, classes, exclusive types, and what is foretold before it happens.

use controller::records::Write;
use controller::view::View;
use model::app::Class;
use model::node::{Addresses, Duty, Node, NodeSpec};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use proto::problem::Code;
use serde_json::{Value, json};

use crate::harness::Platform;

/// Lets nodes with room for so many units of 512 MiB be heard.
async fn hear_nodes(platform: &Platform, sizes: &[u64]) {
    let now = Time(platform.clock.clock().now_ms());
    let nodes = sizes.iter().enumerate().map(|(index, size)| Node {
        name: format!("n{}", index + 1).parse().unwrap(),
        addresses: Addresses::default(),
        memory_bytes: size * (512 << 20),
        sessions_bytes: 0,
        cpu_millis: 2000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        sights: std::collections::BTreeMap::new(),
        left_running: std::collections::BTreeMap::new(),
        heard: now,
    });
    let nodes = nodes.map(|node| (node.name.clone(), node)).collect();
    platform
        .edit_view(|view| {
            view.snapshot = Snapshot { nodes, ..Snapshot::clone(&view.snapshot) }.into();
        })
        .await;
}

#[tokio::test]
async fn tags_and_exclusive_types_are_set_for_known_types_and_replace_their_units() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web", "clock"]).await;
    let patch = async |types: Value| {
        let body = json!({"types": types});
        platform.call(&olga, "PATCH", "/v1/apps/shop/placement", body).await
    };
    patch(json!({"wbe": {"exclusive": true}})).await.problem(Code::Invalid);
    patch(json!({"web": {"tags": {"disk": "a b"}}})).await.problem(Code::Invalid);
    patch(json!({})).await.problem(Code::Invalid);
    let types =
        json!({"web": {"tags": {"disk": "ssd", "zone": "a"}}, "clock": {"exclusive": true}});
    assert_eq!(patch(types.clone()).await.ok(202)["changed"], true);
    assert_eq!(patch(types).await.ok(202)["changed"], false);
    let app = platform.app("shop").await.value;
    let epochs: Vec<u64> = app.formation.values().map(|scale| scale.epoch).collect();
    assert_eq!(epochs, [0, 1], "only units that run are replaced");
    patch(json!({"web": {"tags": {"zone": null}}})).await.ok(202);
    let shown = platform.get(&olga, "/v1/apps/shop/placement").await.ok(200);
    assert_eq!(
        shown,
        json!({"class": "standard", "types": {
            "clock": {"tags": {}, "exclusive": true},
            "web": {"tags": {"disk": "ssd"}, "exclusive": false}
        }})
    );
}

#[tokio::test]
async fn only_an_administrator_makes_an_app_a_production_one() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    let set = async |token: &str, class: &str| {
        platform.call(token, "PUT", "/v1/apps/shop/class", json!({"class": class})).await
    };
    set(&olga, "production").await.problem(Code::Forbidden);
    set(&olga, "gold").await.problem(Code::Invalid);
    assert_eq!(set(&olga, "preview").await.ok(200)["class"], "preview");
    assert_eq!(set(&root, "production").await.ok(200)["class"], "production");
    assert_eq!(platform.app("shop").await.value.class, Class::Production);
    assert_eq!(set(&olga, "standard").await.ok(200)["class"], "standard");
}

#[tokio::test]
async fn a_plan_tells_where_units_would_go_and_changes_nothing() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    hear_nodes(&platform, &[1, 1]).await;
    let before = platform.app("shop").await;
    let path = "/v1/apps/shop/scale/plan";
    let plan = platform.call(&olga, "POST", path, json!({"counts": {"web": 3}})).await.ok(200);
    let nodes: Vec<_> = plan["starts"].as_array().unwrap().iter().map(|it| &it["node"]).collect();
    assert_eq!(nodes, ["n1", "n2"]);
    assert!(plan["waits"][0].as_str().unwrap().contains("512 MiB"), "{plan}");
    let wrong = json!({"counts": {"wbe": 3}});
    platform.call(&olga, "POST", path, wrong).await.problem(Code::Invalid);
    assert_eq!(platform.app("shop").await, before);
}

#[tokio::test]
async fn scaling_production_beyond_the_reserve_is_refused() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    hear_nodes(&platform, &[2, 2, 2]).await;
    let scale = async |count: u32| {
        let body = json!({"counts": {"web": count}});
        platform.call(&olga, "POST", "/v1/apps/shop/scale", body).await
    };
    scale(5).await.ok(202);
    platform.settle("shop", model::app::Outcome::Live).await;
    let class = json!({"class": "production"});
    platform.call(&root, "PUT", "/v1/apps/shop/class", class).await.ok(200);
    platform.look().await;
    let refused = scale(6).await.problem(Code::NoRoom);
    assert!(refused.message.contains("if n1 is lost"), "{refused}");
    scale(4).await.ok(202);
    platform.look().await;
    let capacity = platform.get(&root, "/v1/cluster/capacity").await.ok(200);
    let losses = capacity["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 6);
    assert_eq!(losses[0], json!({"nodes": ["n1"], "production": [], "others": []}));
    assert_eq!(losses[3]["production"], json!(["shop"]));
}

#[tokio::test]
async fn a_volume_is_made_on_a_node_mounted_and_destroyed_and_holds_its_node() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    platform.deploy("olga", "shop", "c0ffee", &["web"]).await;
    let make =
        async |body: Value| platform.call(&olga, "POST", "/v1/apps/shop/volumes", body).await;
    make(json!({"name": "data"})).await.problem(Code::NoRoom);
    know_nodes(&platform, &[1, 3, 2]).await;
    let made = make(json!({"name": "data"})).await.ok(201);
    assert_eq!((&made["node"], &made["state"]), (&json!("n2"), &json!("ready")));
    make(json!({"name": "data"})).await.problem(Code::Exists);
    make(json!({"name": "Data"})).await.problem(Code::Invalid);
    make(json!({"name": "more", "node": "n9"})).await.problem(Code::NotFound);
    assert_eq!(make(json!({"name": "more", "node": "n1"})).await.ok(201)["node"], "n1");

    let path = "/v1/apps/shop/volumes/data";
    let mount =
        async |mounts: Value| platform.call(&olga, "PATCH", path, json!({"mounts": mounts})).await;
    for bad in
        [json!({"web": "data"}), json!({"web": "/a/../b"}), json!({"wbe": "/data"}), json!({})]
    {
        mount(bad).await.problem(Code::Invalid);
    }
    mount(json!({"web": "/data"})).await.ok(202);
    let app = platform.app("shop").await.value;
    assert_eq!(app.formation.values().next().unwrap().epoch, 1);
    let shown = platform.get(&olga, "/v1/apps/shop/volumes").await.ok(200);
    assert_eq!(shown[0]["mounts"], json!({"web": "/data"}));

    let held = platform.call(&root, "DELETE", "/v1/nodes/n2", Value::Null).await;
    let held = held.problem(Code::InUse);
    assert!(held.message.contains("shop data"), "{held}");
    let destroy = async |query: &str| {
        platform.call(&olga, "DELETE", &format!("{path}{query}"), Value::Null).await
    };
    destroy("?confirm=data").await.problem(Code::InUse);
    mount(json!({"web": null})).await.ok(202);
    destroy("").await.problem(Code::Invalid);
    let id = platform.app("shop").await.value.volumes[&"data".parse().unwrap()].id.clone();
    destroy("?confirm=data").await.ok(204);
    destroy("?confirm=data").await.problem(Code::NotFound);
    let doomed = platform.context.records.all::<model::volume::Doomed>().await.unwrap();
    assert_eq!(doomed.iter().map(|it| it.value.id.clone()).collect::<Vec<_>>(), [id]);
    platform.call(&root, "DELETE", "/v1/nodes/n2", Value::Null).await.ok(204);
    platform.call(&root, "DELETE", "/v1/nodes/n1", Value::Null).await.problem(Code::InUse);
    platform.call(&olga, "DELETE", "/v1/apps/shop?confirm=shop", Value::Null).await.ok(202);
    platform.call(&root, "DELETE", "/v1/nodes/n1", Value::Null).await.ok(204);
}

/// Lets nodes be heard and known.
async fn know_nodes(platform: &Platform, sizes: &[u64]) {
    hear_nodes(platform, sizes).await;
    for index in 1..=sizes.len() {
        let spec = NodeSpec {
            name: format!("n{index}").parse().unwrap(),
            addresses: Addresses::default(),
            labels: std::collections::BTreeMap::new(),
            duty: Duty::Open,
            joined: Time(1),
            admission: String::new(),
        };
        platform.context.records.commit(Write::new().create(&spec)).await.unwrap();
        let document = Versioned { value: spec, revision: 1 };
        let add = |view: &mut View| {
            let mut snapshot = Snapshot::clone(&view.snapshot);
            snapshot.specs.insert(document.value.name.clone(), document);
            view.snapshot = snapshot.into();
        };
        platform.edit_view(add).await;
    }
}
