//! Which app a host name leads to, and what is said when it leads nowhere.

use std::time::Duration;

use http::StatusCode;
use model::incarnation::Incarnation;
use model::route::{RouteTable, RouterStatus};

use super::{
    client::{self, SHOP, get, request},
    rig::{self, Rig, app, eventually},
    unit::Unit,
};

#[tokio::test]
async fn host_names_lead_to_their_apps() {
    let rig = Rig::start().await;
    let (shop, blog, all) =
        (Unit::saying("shop").await, Unit::saying("blog").await, Unit::saying("all").await);
    let apps = vec![
        app("shop", &[SHOP, "www.example.com"], &[shop.address]),
        app("blog", &["blog.apps.localhost"], &[blog.address]),
        app("all", &["*.example.com", "*.apps.localhost"], &[all.address]),
    ];
    rig.apply(RouteTable {
        incarnation: Incarnation::default(),
        epoch: 0,
        version: 3,
        apps,
        certificates: Vec::new(),
    })
    .await;
    for (host, expected) in [
        (SHOP, "shop"),
        ("SHOP.Apps.LocalHost:8080", "shop"),
        ("shop.apps.localhost.", "shop"),
        ("www.example.com", "shop"),
        ("api.example.com", "all"),
        ("blog.apps.localhost", "blog"),
        ("new.apps.localhost", "all"),
    ] {
        let answer = get(rig.router.http, host, "/").await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, expected), "{host}");
    }
    for unknown in
        ["example.com", "a.b.example.com", "deis.apps.localhost", "localhost", "[::1]:80"]
    {
        let answer = get(rig.router.http, unknown, "/").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{unknown}");
        assert!(answer.text.contains("No app answers to this name"), "{}", answer.text);
    }
}

#[tokio::test]
async fn an_app_without_units_is_unavailable_and_one_in_maintenance_says_so() {
    let rig = Rig::start().await;
    rig.serve(&[]).await;
    let answer = get(rig.router.http, SHOP, "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after") && answer.text.contains("not running"));

    let unit = Unit::saying("up").await;
    let mut table = rig::shop(9, &[unit.address]);
    table.apps[0].maintenance = true;
    rig.apply(table).await;
    let mut asking = request("GET", SHOP, "/", "");
    asking.headers_mut().insert("accept", "application/json".parse().unwrap());
    let mut client = client::Client::connect(rig.router.http).await;
    let answer = client::whole(client.send(asking).await.unwrap()).await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(json["code"], "maintenance");
    assert_eq!(json["request_id"], answer.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn a_restarted_router_serves_from_its_disk_without_a_gateway() {
    let mut rig = Rig::start().await;
    let unit = Unit::saying("still here").await;
    rig.serve(&[unit.address]).await;
    let path = rig.folder.path().join("router/table.json");
    eventually("the kept table", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.contains("unit-").then_some(())
    })
    .await;
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds private keys");

    rig.router.stop.set();
    rig.router.ended.take().unwrap().await.unwrap().unwrap();
    let nobody = rig::closed_port();
    let again = rig::start(rig::config(rig.folder.path(), nobody));
    assert_eq!(get(again.http, SHOP, "/").await.text, "still here");
}

#[tokio::test]
async fn a_restarted_router_answers_nobody_from_its_disk_while_a_gateway_may_know_better() {
    let mut rig = Rig::start().await;
    let gone = Unit::saying("of old").await;
    rig.serve(&[gone.address]).await;
    rig.router.stop.set();
    rig.router.ended.take().unwrap().await.unwrap().unwrap();

    // It is connected and has nothing to tell yet.
    let gateway = &rig.second_gateway;
    let again = rig::start(rig::config(rig.folder.path(), gateway.address));
    while !get(again.admin, "localhost", "/metrics").await.text.contains("router_table_version 1") {
        tokio::task::yield_now().await;
    }
    let http = again.http;
    let mut asked = tokio::spawn(async move { get(http, SHOP, "/").await.text });
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut asked).await;
    assert!(waited.is_err(), "{waited:?}");
    let unit = Unit::saying("of today").await;
    gateway.tables.send_replace(Some(rig::shop(2, &[unit.address])));
    assert_eq!(asked.await.unwrap(), "of today");
}

#[tokio::test]
async fn without_any_table_the_router_is_alive_but_not_well() {
    let rig = Rig::with(|config| config.gateways = vec![rig::closed_port().to_string()]).await;
    assert_eq!(get(rig.router.admin, "localhost", "/__lbheartbeat__").await.status, StatusCode::OK);
    let unwell = get(rig.router.admin, "localhost", "/__heartbeat__").await;
    assert_eq!(unwell.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(unwell.text.contains("no route table yet"), "{}", unwell.text);
    assert_eq!(get(rig.router.http, SHOP, "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn answers_and_the_table_are_counted() {
    let rig = Rig::start().await;
    let unit = Unit::saying("ok").await;
    rig.serve(&[unit.address]).await;
    get(rig.router.http, SHOP, "/").await;
    get(rig.router.http, "nobody.example", "/").await;
    let metrics = get(rig.router.admin, "localhost", "/metrics").await.text;
    for line in [
        "router_answers_2xx_total 1",
        "router_answers_4xx_total 1",
        "router_in_flight 0",
        "router_table_version 1",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_table_of_an_earlier_lead_is_left_out_and_every_controller_hears_the_version() {
    let rig = Rig::start().await;
    let (old, new) = (Unit::saying("old").await, Unit::saying("new").await);
    rig.serve(&[old.address]).await;
    // Another controller leads now, and counts from one.
    let table = RouteTable { epoch: 5, ..rig::shop(1, &[new.address]) };
    rig.second_gateway.tables.send_replace(Some(table));
    let is_applied = |report: &RouterStatus| (report.epoch, report.version) == (5, 1);
    rig.second_gateway.report(is_applied).await;
    rig.gateway.report(is_applied).await;
    // The first does not know yet that it leads no more.
    rig.gateway.tables.send_replace(Some(rig::shop(99, &[old.address])));
    let latest = RouteTable { epoch: 5, ..rig::shop(2, &[new.address]) };
    rig.second_gateway.tables.send_replace(Some(latest));
    rig.gateway.report(|report| (report.epoch, report.version) == (5, 2)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(get(rig.router.http, SHOP, "/").await.text, "new");
}

#[tokio::test]
async fn the_table_of_a_restored_store_is_served_and_those_of_the_store_before_it_never_again() {
    let rig = Rig::start().await;
    let (old, new) = (Unit::saying("old").await, Unit::saying("new").await);
    let of = |incarnation: &str, epoch, version, unit: &Unit| RouteTable {
        incarnation: incarnation.to_owned().into(),
        epoch,
        ..rig::shop(version, &[unit.address])
    };
    rig.gateway.tables.send_replace(Some(of("1.a", 900, 900, &old)));
    let is_at =
        |epoch, version| move |it: &RouterStatus| (it.epoch, it.version) == (epoch, version);
    rig.gateway.report(is_at(900, 900)).await;
    // Everything counts from lower numbers.
    rig.second_gateway.tables.send_replace(Some(of("2.b", 3, 1, &new)));
    rig.second_gateway.report(is_at(3, 1)).await;
    // A controller with the disk of before, and one that was recovered elsewhere.
    for foreign in ["1.a", "2.x"] {
        rig.gateway.tables.send_replace(Some(of(foreign, 901, 901, &old)));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(get(rig.router.http, SHOP, "/").await.text, "new");
    }
    rig.second_gateway.tables.send_replace(Some(of("2.b", 3, 2, &new)));
    rig.gateway.report(is_at(3, 2)).await;
}
