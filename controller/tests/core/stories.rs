//! Changes from the store to their end, with agent and router at work.

use model::app::Outcome;
use model::name::ReleaseNumber;
use model::release::ReleaseState;
use model::unit::Phase;

use crate::cluster::{Cluster, eventually, now};
use crate::parts::{Agent, Router};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_app_becomes_live_and_scales_up_and_down() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let agent = Agent::start(&cluster, &controller.gateway, "n1");
    let router = Router::start(&cluster, &controller.gateway, "n1");
    controller.create("shop").await;
    let deployed = controller.deploy("shop").await;
    assert_eq!(controller.settled("shop", deployed).await, Outcome::Live);
    let app = controller.app("shop").await.value;
    assert_eq!((app.current, app.target), (Some(ReleaseNumber(1)), None));
    let release = controller.records.release(&app.name, ReleaseNumber(1)).await.unwrap().unwrap();
    assert_eq!(release.value.state, ReleaseState::Succeeded);
    assert_eq!(router.routed("shop"), 1);

    let before = agent.sets.lock().unwrap().len();
    let scaled = controller.scale("shop", "web", 10).await;
    assert_eq!(controller.settled("shop", scaled).await, Outcome::Live);
    assert_eq!(router.routed("shop"), 10);
    // All nine come in one step.
    assert_eq!(agent.sets.lock().unwrap()[before].units.len(), 10);

    let scaled = controller.scale("shop", "web", 2).await;
    assert_eq!(controller.settled("shop", scaled).await, Outcome::Live);
    eventually("eight units to be forgotten", async || {
        (controller.units().await.len() == 2 && router.routed("shop") == 2).then_some(())
    })
    .await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_restarted_in_the_middle_of_a_rollout_completes_it() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    controller.create("shop").await;
    {
        let _agent = Agent::start(&cluster, &controller.gateway, "n1");
        let _router = Router::start(&cluster, &controller.gateway, "n1");
        let first = controller.deploy("shop").await;
        assert_eq!(controller.settled("shop", first).await, Outcome::Live);
    }
    // The new unit starts and does not get ready; then the controller dies.
    let second = {
        let _agent = SlowToSecond::start(&cluster, &controller.gateway);
        let second = controller.deploy("shop").await;
        eventually("the new unit", async || (controller.units().await.len() == 2).then_some(()))
            .await;
        second
    };
    let before: Vec<_> = controller.units().await.into_iter().map(|unit| unit.value.id).collect();
    controller.stop().await;

    let controller = cluster.start().await;
    let agent = Agent::start(&cluster, &controller.gateway, "n1");
    let router = Router::start(&cluster, &controller.gateway, "n1");
    assert_eq!(controller.settled("shop", second).await, Outcome::Live);
    eventually("the old unit to go", async || (controller.units().await.len() == 1).then_some(()))
        .await;
    // Nothing was started twice, and the agent was never told to run nothing.
    assert!(before.contains(&controller.units().await[0].value.id));
    assert!(agent.sets.lock().unwrap().iter().all(|set| !set.units.is_empty()));
    assert!(router.tables.lock().unwrap().iter().all(|table| !table.apps[0].units.is_empty()));
    controller.stop().await;
}

/// Tells of units that are there but not ready. What an agent says of others' readiness does not matter here.
struct SlowToSecond;

impl SlowToSecond {
    fn start(cluster: &Cluster, gateway: &str) -> Agent {
        Agent::with_phase(cluster, gateway, "n1", Phase::Running)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_app_stops_and_vanishes_with_all_it_owned() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let _agent = Agent::start(&cluster, &controller.gateway, "n1");
    let router = Router::start(&cluster, &controller.gateway, "n1");
    controller.create("shop").await;
    let deployed = controller.deploy("shop").await;
    controller.settled("shop", deployed).await;
    controller.change("shop", |app| app.destroyed = Some(now())).await;
    eventually("the app to vanish", async || {
        let listing = controller.records.store().list("").await.unwrap();
        let left: Vec<_> = listing.entries.into_iter().map(|entry| entry.key).collect();
        // No logger and no registry answers here, so it is remembered that they are to let go of it.
        let staying = ["cluster/incarnation", "leader", "leftovers/shop", "nodes/n1"];
        (left == staying).then_some(())
    })
    .await;
    eventually("the row to vanish", async || {
        router
            .tables
            .lock()
            .unwrap()
            .last()
            .is_some_and(|table| table.apps.is_empty())
            .then_some(())
    })
    .await;
    controller.stop().await;
}
