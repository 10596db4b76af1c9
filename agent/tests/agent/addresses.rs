//! Whose addresses and ports are, on a real engine.

use std::net::TcpListener;

use agent::runtime::Runtime;
use model::{
    time::Time,
    unit::{Desired, Phase, UnitStatus},
};

use crate::{
    lifecycle::get,
    rig::{IMAGE, SERVER, docker, docker_fails, engine, eventually, with_rig},
    simulated::order,
};

#[test]
fn a_unit_keeps_its_address_and_its_port_and_nobody_has_them_after_it() {
    with_rig(async |mut rig| {
        rig.kill_agent();
        rig.publish_on("127.0.0.1");
        rig.start_agent().await;
        let ways = |status: UnitStatus| {
            let published = status.published.expect("it is published");
            (status.address.expect("it has an address"), published)
        };
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        let first = ways(rig.until_phase("web-1", Phase::Ready).await);
        assert!(first.1.starts_with("127.0.0.1:"), "{first:?}");
        assert!(get(&first.0).await.expect("it answers").ends_with("ok"));
        assert!(get(&first.1).await.expect("it answers").ends_with("ok"));

        rig.kill_agent();
        rig.start_agent().await;
        assert_eq!(ways(rig.until_phase("web-1", Phase::Ready).await), first);
        let other = rig.unit("web-2", SERVER);
        rig.order(other);
        let second = ways(rig.until_phase("web-2", Phase::Ready).await);
        let again = |status: &UnitStatus| status.restarts == 1 && status.phase == Phase::Ready;
        // Both end, and the one that was the second is back first.
        let [one, two] = ["web-1", "web-2"].map(|id| rig.containers(id).remove(0));
        docker(&["kill", &two, &one]);
        assert_eq!(ways(rig.until("web-1", "started again", again).await), first);
        assert_eq!(ways(rig.until("web-2", "started again", again).await), second);

        rig.desire("web-1", Desired::Stop { since: Time(3) });
        rig.until_phase("web-1", Phase::Gone).await;
        let third = rig.unit("web-3", SERVER);
        rig.order(third);
        let third = ways(rig.until_phase("web-3", Phase::Ready).await);
        assert!(third.0 != first.0 && third.1 != first.1, "{third:?}");

        // Somebody else has the port when it is needed again.
        docker(&["kill", &rig.containers("web-3").remove(0)]);
        let _holder =
            eventually("the port is free", async || TcpListener::bind(&third.1).ok()).await;
        let moved = ways(rig.until("web-3", "started again", again).await);
        assert_ne!(moved, third);
        assert!(get(&moved.1).await.expect("it answers").ends_with("ok"));
    });
}

/// A network of this test alone; gone with it.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        let left = docker(&["ps", "-aq", "--filter", &format!("network={}", self.0)]);
        for container in left.lines() {
            docker_fails(&["rm", "-f", container]);
        }
        docker_fails(&["network", "rm", &self.0]);
    }
}

#[tokio::test]
async fn in_a_network_of_an_earlier_version_that_is_in_use_the_engine_gives_addresses() {
    let network = Network(format!("old-{:08x}", rand::random::<u32>()));
    docker(&["network", "create", &network.0]);
    docker(&["run", "-d", "--network", &network.0, IMAGE, "sleep", "60"]);
    let engine = engine(&network.0, &network.0);
    let mut order = order(&network.0, Desired::Run);
    (order.image, order.command) = (IMAGE.to_owned(), ["sleep", "60"].map(str::to_owned).to_vec());
    let container = engine.create(&order, 1).await.unwrap();
    assert!(engine.start(&container).await.unwrap().ip.is_some());
    let slot = "{{index .Config.Labels \"trireme.slot\"}}";
    assert_eq!(docker(&["inspect", "-f", slot, &container]), "");
}
