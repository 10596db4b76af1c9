//! Joining, over real HTTP: what a machine gets, and every reason for which it gets nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller::admission::{Authorities, SealedAuthority};
use controller::records::Write;
use model::node::{Addresses, Duty, Node, NodeSpec};
use model::snapshot::Versioned;
use model::time::Time;
use proto::problem::{Code, Problem};
use serde_json::{Value, json};
use service::Authority;
use service::identity::{KeyRequest, operator_token};

use crate::harness::{Platform, START_MS};

/// A cluster of several nodes, and its operator's token.
async fn cluster() -> (Platform, String) {
    let platform = Platform::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sealed = |name: &str| {
        let authority = Authority::create(&folder.path().join(name)).unwrap();
        SealedAuthority::seal(&platform.context.seal, &authority)
    };
    let authorities = Authorities {
        parts: sealed("parts"),
        store_peers: sealed("peers"),
        store_clients: sealed("clients"),
    };
    platform.context.records.commit(Write::new().create(&authorities)).await.unwrap();
    let operator = operator_token(platform.context.seal.key());
    (platform, operator)
}

async fn token(platform: &Platform, operator: &str) -> String {
    let made = platform.call(operator, "POST", "/v1/cluster/tokens", json!({})).await.ok(201);
    made["secret"].as_str().unwrap().to_owned()
}

struct Machine(BTreeMap<&'static str, KeyRequest>);

impl Machine {
    fn new() -> Machine {
        let names = ["agent", "logger", "registry-proxy", "router", "platform"];
        Machine(names.map(|name| (name, KeyRequest::new().unwrap())).into())
    }

    fn request(&self, secret: &str, node: &str) -> Value {
        let requests: BTreeMap<_, _> =
            self.0.iter().map(|(name, key)| (*name, key.csr_pem.as_str())).collect();
        json!({
            "secret": secret, "node": node, "address": "10.0.0.2", "now_ms": START_MS,
            "addresses": {"agent": "10.0.0.2:7401", "logger": "10.0.0.2:7402", "registry": "10.0.0.2:7403"},
            "requests": requests,
        })
    }
}

async fn join(platform: &Platform, request: Value) -> crate::harness::Answer {
    platform.call("", "POST", "/v1/cluster/join", request).await
}

fn said(problem: &Problem) -> String {
    format!("{}. {}", problem.message, problem.hint)
}

#[tokio::test]
async fn a_machine_joins_once_and_may_ask_again_for_a_lost_answer() {
    let (platform, operator) = cluster().await;
    let secret = token(&platform, &operator).await;
    let machine = Machine::new();
    let joined = join(&platform, machine.request(&secret, "n2")).await.ok(200);
    let certificates = joined["certificates"].as_object().unwrap();
    assert_eq!(certificates.len(), 5);
    assert!(joined["control"].is_null(), "{joined}");
    let nodes = platform.get(&operator, "/v1/nodes").await.ok(200);
    assert_eq!((&nodes[0]["name"], &nodes[0]["state"]), (&json!("n2"), &json!("silent")));

    join(&platform, machine.request(&secret, "n2")).await.ok(200);
    let refused = join(&platform, Machine::new().request(&secret, "n3")).await;
    let problem = refused.problem(Code::Forbidden);
    assert!(said(&problem).contains("used already, by node `n2`"), "{problem:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_join_is_said() {
    let (platform, operator) = cluster().await;
    let machine = Machine::new();
    let wrong = join(&platform, machine.request("no-such-secret", "n2")).await;
    assert!(said(&wrong.problem(Code::Forbidden)).contains("not one of this cluster"));

    let secret = token(&platform, &operator).await;
    let mut late = machine.request(&secret, "n2");
    late["now_ms"] = json!(START_MS + 2 * 3_600_000);
    let problem = join(&platform, late).await.problem(Code::Invalid);
    assert!(said(&problem).contains("clocks differ too much"), "{problem:?}");

    let mut greedy = machine.request(&secret, "n2");
    greedy["requests"]["controller"] = greedy["requests"]["agent"].clone();
    let problem = join(&platform, greedy).await.problem(Code::Invalid);
    assert!(said(&problem).contains("no certificate `controller`"), "{problem:?}");

    platform.clock.advance(std::time::Duration::from_secs(3_601));
    let problem = join(&platform, machine.request(&secret, "n2")).await.problem(Code::Forbidden);
    assert!(said(&problem).contains("has expired"), "{problem:?}");
}

#[tokio::test]
async fn a_living_nodes_name_is_taken_and_a_removed_ones_is_free() {
    let (platform, operator) = cluster().await;
    let first = token(&platform, &operator).await;
    join(&platform, Machine::new().request(&first, "n2")).await.ok(200);
    let stored: Versioned<NodeSpec> =
        platform.context.records.get("nodes/n2").await.unwrap().unwrap();
    platform
        .edit_view(|view| {
            let snapshot = Arc::make_mut(&mut view.snapshot);
            view.as_of = Time(START_MS);
            let name = stored.value.name.clone();
            snapshot.nodes.insert(name.clone(), heard(&stored.value, START_MS));
            snapshot.specs.insert(name, stored.clone());
        })
        .await;
    let second = token(&platform, &operator).await;
    let taken = join(&platform, Machine::new().request(&second, "n2")).await;
    let problem = taken.problem(Code::Exists);
    assert!(said(&problem).contains("choose another with --name"), "{problem:?}");

    platform.edit_view(|view| view.as_of = Time(START_MS + 120_000)).await;
    let silent = join(&platform, Machine::new().request(&second, "n2")).await;
    assert!(said(&silent.problem(Code::Exists)).contains("nodes:replace n2"));
    platform.call(&operator, "DELETE", "/v1/nodes/n2", Value::Null).await;
    join(&platform, Machine::new().request(&second, "n2")).await.ok(200);
    let again: Versioned<NodeSpec> =
        platform.context.records.get("nodes/n2").await.unwrap().unwrap();
    assert_eq!(again.value.duty, Duty::Open);
    assert_ne!(again.value.admission, stored.value.admission);
}

fn heard(spec: &NodeSpec, at: u64) -> Node {
    serde_json::from_value(json!({
        "name": spec.name, "addresses": Addresses::default(), "memory_bytes": 1, "cpu_millis": 1,
        "disk_free_bytes": 1, "trouble": null, "heard": at,
    }))
    .unwrap()
}

#[tokio::test]
async fn a_machine_alone_takes_nobody_in() {
    let platform = Platform::start().await;
    let operator = operator_token(platform.context.seal.key());
    let refused = platform.call(&operator, "POST", "/v1/cluster/tokens", json!({})).await;
    assert!(said(&refused.problem(Code::Unsupported)).contains("clusterctl store:migrate"));
}
