//! What agents and routers are sent.

use std::collections::BTreeSet;

use model::app::Outcome;
use proto::gateway::{AssignmentsRequest, RoutesRequest};

use crate::cluster::{Cluster, eventually};
use crate::parts::{Agent, Router, client, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_its_slice_at_once_and_after_each_change_and_no_other_nodes() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let first = Agent::start(&cluster, &controller.gateway, "n1");
    let second = Agent::start(&cluster, &controller.gateway, "n2");
    let _router = Router::start(&cluster, &controller.gateway, "n1");
    eventually("both to be heard", async || {
        let is_told = |agent: &Agent| agent.last().is_some_and(|set| set.units.is_empty());
        (is_told(&first) && is_told(&second)).then_some(())
    })
    .await;
    controller.create("shop").await;
    let deployed = controller.deploy("shop").await;
    assert_eq!(controller.settled("shop", deployed).await, Outcome::Live);
    let scaled = controller.scale("shop", "web", 4).await;
    assert_eq!(controller.settled("shop", scaled).await, Outcome::Live);

    let mut seen = BTreeSet::new();
    for (agent, name) in [(&first, "n1"), (&second, "n2")] {
        let sets = agent.sets.lock().unwrap();
        let versions: Vec<u64> = sets.iter().map(|set| set.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        let units = read(sets.last().unwrap());
        assert!(units.iter().all(|unit| unit.node.as_str() == name));
        seen.extend(units.into_iter().map(|unit| unit.display_name()));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["web.1", "web.2", "web.3", "web.4"]);
    let set = if first.last().unwrap().units.is_empty() { second.last() } else { first.last() };
    let assignment = &set.unwrap().units[0];
    assert_eq!(assignment.command, ["/bin/sh", "-c", "serve"]);
    assert_eq!((assignment.port, assignment.stop_grace_seconds), (5000, 10));
    let said = |key: &str| assignment.env[key].as_str();
    assert_eq!((said("GREETING"), said("PORT")), ("häl\nlo", "5000"));
    assert_eq!((said("TRIREME_APP"), said("TRIREME_RELEASE")), ("shop", "v1"));
    assert_eq!(said("TRIREME_PROCESS"), "web");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_sends_the_same_orders_under_the_same_incarnation() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let last = {
        let agent = Agent::start(&cluster, &controller.gateway, "n1");
        let _router = Router::start(&cluster, &controller.gateway, "n1");
        controller.create("shop").await;
        let deployed = controller.deploy("shop").await;
        controller.settled("shop", deployed).await;
        agent.last().unwrap()
    };
    controller.stop().await;
    let controller = cluster.start().await;
    let mut client = client(&cluster, &controller.gateway, "agent", "n1");
    let request = AssignmentsRequest { node: "n1".to_owned() };
    let mut stream = client.assignments(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.units, last.units);
    assert_eq!(first.incarnation, last.incarnation);
    assert!(first.version > last.version);
    controller.stop().await;
    // The stream ends with the controller.
    assert!(!matches!(stream.message().await, Ok(Some(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_get_no_table_before_the_agents_of_units_were_heard() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let version = {
        let _agent = Agent::start(&cluster, &controller.gateway, "n1");
        let router = Router::start(&cluster, &controller.gateway, "n1");
        controller.create("shop").await;
        let deployed = controller.deploy("shop").await;
        controller.settled("shop", deployed).await;
        router.tables.lock().unwrap().last().unwrap().version
    };
    controller.stop().await;
    let controller = cluster.start().await;
    let mut client = client(&cluster, &controller.gateway, "router", "n1");
    let request = RoutesRequest { node: "n1".to_owned() };
    let answered = client.routes(request);
    // Longer than the grace after a start.
    let mut stream = answered.await.unwrap().into_inner();
    let early = tokio::time::timeout(std::time::Duration::from_secs(7), stream.message()).await;
    assert!(early.is_err(), "a table was sent without any knowledge of the units");
    let _agent = Agent::start(&cluster, &controller.gateway, "n1");
    let table = stream.message().await.unwrap().unwrap();
    let table: model::route::RouteTable = serde_json::from_str(&table.table_json).unwrap();
    assert!(table.version > version);
    assert_eq!(table.apps[0].units.len(), 1);
    controller.stop().await;
}
