//! Domains and certificates.

use std::time::Duration;

use proto::problem::Code;
use serde_json::{Value, json};

use crate::harness::Platform;

const CERTS: &str = "/v1/apps/shop/certs";

#[tokio::test]
async fn a_host_name_belongs_to_one_app() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let carl = platform.register("carl").await;
    platform.call(&carl, "POST", "/v1/apps", json!({"name": "blog"})).await.ok(201);
    let add = async |token: &str, app: &str, host: &str| {
        let path = format!("/v1/apps/{app}/domains");
        platform.call(token, "POST", &path, json!({"host": host})).await
    };
    assert_eq!(add(&olga, "shop", "WWW.Example.com").await.ok(201)["host"], "www.example.com");
    add(&olga, "shop", "*.example.com").await.ok(201);
    add(&carl, "blog", "www.example.com").await.problem(Code::Exists);
    add(&olga, "shop", "www.example.com").await.problem(Code::Exists);
    for bad in
        ["localhost", "a..b", "*.com", "x_y.example.com", "blog.apps.localhost", "*.apps.localhost"]
    {
        add(&olga, "shop", bad).await.problem(Code::Invalid);
    }
    let list = platform.get(&olga, "/v1/apps/shop/domains").await.ok(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(platform.get(&carl, "/v1/apps/blog/domains").await.ok(200), json!([]));
    let foreign = "/v1/apps/blog/domains/www.example.com";
    platform.call(&carl, "DELETE", foreign, Value::Null).await.problem(Code::NotFound);
    let own = "/v1/apps/shop/domains/www.example.com";
    platform.call(&olga, "DELETE", own, Value::Null).await.ok(204);
    add(&carl, "blog", "www.example.com").await.ok(201);
}

#[tokio::test]
async fn a_certificate_is_taken_when_its_key_matches() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let names = ["www.example.com".to_owned(), "*.example.org".to_owned()];
    let one = platform.authority.issue_server(&names, &[], 3650).unwrap();
    let other = platform.authority.issue_server(&names, &[], 3700).unwrap();
    let add = async |name: &str, chain: &str, key: &str| {
        let body = json!({"name": name, "chain_pem": chain, "key_pem": key});
        platform.call(&olga, "POST", CERTS, body).await
    };
    let mixed = add("main", &one.cert_pem, &other.key_pem).await.problem(Code::Invalid);
    assert!(mixed.message.contains("does not belong"), "{mixed}");
    add("main", "", &one.key_pem).await.problem(Code::Invalid);
    add("main", &one.cert_pem, "nothing").await.problem(Code::Invalid);
    add("main", &one.key_pem, &one.key_pem).await.problem(Code::Invalid);
    add("a/b", &one.cert_pem, &one.key_pem).await.problem(Code::Invalid);
    let taken = add("main", &one.cert_pem, &one.key_pem).await.ok(201);
    assert_eq!(taken["hosts"], json!(["*.example.org", "www.example.com"]));

    let domain = json!({"host": "shop.example.org"});
    let bound = platform.call(&olga, "POST", "/v1/apps/shop/domains", domain).await.ok(201);
    assert_eq!(bound["certificate"], "main");
    let renewed = add("main", &other.cert_pem, &other.key_pem).await.ok(201);
    assert_ne!(renewed["not_after"], taken["not_after"]);
    assert_eq!(platform.get(&olga, CERTS).await.ok(200).as_array().unwrap().len(), 1);

    let stored = platform.context.records.store().list("certs/").await.unwrap();
    assert!(!String::from_utf8_lossy(&stored.entries[0].value).contains("PRIVATE KEY"));
    let stored = platform.context.records.all::<model::route::Certificate>().await.unwrap();
    let opened = platform.context.seal.open_text("certs/main", &stored[0].value.key).unwrap();
    assert_eq!(opened, other.key_pem);
    platform.call(&olga, "DELETE", &format!("{CERTS}/main"), Value::Null).await.ok(204);
    platform
        .call(&olga, "DELETE", &format!("{CERTS}/main"), Value::Null)
        .await
        .problem(Code::NotFound);
}

#[tokio::test]
async fn a_certificate_that_ended_or_is_anothers_is_refused() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let carl = platform.register("carl").await;
    platform.call(&carl, "POST", "/v1/apps", json!({"name": "blog"})).await.ok(201);
    let long = platform.authority.issue_server(&["a.example.com".to_owned()], &[], 3650).unwrap();
    let body = json!({"name": "main", "chain_pem": long.cert_pem, "key_pem": long.key_pem});
    platform.call(&olga, "POST", CERTS, body.clone()).await.ok(201);
    platform.call(&carl, "POST", "/v1/apps/blog/certs", body).await.problem(Code::Exists);
    platform
        .call(&carl, "DELETE", "/v1/apps/blog/certs/main", Value::Null)
        .await
        .problem(Code::NotFound);
    platform.clock.advance(Duration::from_secs(3650 * 86_400));
    let body = json!({"name": "old", "chain_pem": long.cert_pem, "key_pem": long.key_pem});
    let ended = platform.call(&olga, "POST", CERTS, body).await.problem(Code::Invalid);
    assert!(ended.message.contains("ended"), "{ended}");
}
