//! What must hold when the agent, the controller or both are gone.

use std::time::Duration;

use model::{
    time::Time,
    unit::{Desired, Phase},
};

use crate::{
    lifecycle::get,
    rig::{SERVER, change, docker, eventually, with_rig},
};

/// Long enough for a wrong agent to do harm: several passes and reports.
const WHILE: Duration = Duration::from_secs(2);

#[test]
fn a_restarted_agent_adopts_what_runs() {
    with_rig(async |mut rig| {
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        let before = rig.containers("web-1");
        rig.kill_agent();
        rig.start_agent().await;
        let status = eventually("the first report", async || rig.status("web-1")).await;
        assert_eq!(status.phase, Phase::Ready, "the first report already tells the truth");
        assert_eq!(rig.containers("web-1"), before);
        assert_eq!(status.restarts, 0);
    });
}

#[test]
fn units_are_seen_to_without_a_controller() {
    with_rig(async |mut rig| {
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        let status = rig.until_phase("web-1", Phase::Ready).await;
        let first = rig.containers("web-1");
        rig.kill_servers();
        rig.kill_agent();
        rig.start_agent().await;
        tokio::time::sleep(WHILE).await;
        assert_eq!(rig.containers("web-1"), first, "silence stops nothing");
        assert!(get(&status.address.expect("it was ready")).await.is_some());

        docker(&["kill", &first[0]]);
        eventually("another container", async || {
            let running = docker(&[
                "ps",
                "-q",
                "--no-trunc",
                "--filter",
                &format!("label=trireme.unit={}", rig.id("web-1")),
            ]);
            (!running.is_empty() && running != first[0]).then_some(())
        })
        .await;

        // The controller is back, leads anew and counts from one.
        rig.start_servers().await;
        let status = rig.until_phase("web-1", Phase::Ready).await;
        assert_eq!(status.restarts, 1);
        rig.begin_epoch(2);
        rig.kill_servers();
        rig.desire("web-1", Desired::Stop { since: Time(5) });
        rig.start_servers().await;
        rig.until_phase("web-1", Phase::Gone).await;
    });
}

#[test]
fn orders_of_another_incarnation_and_older_ones_are_refused() {
    with_rig(async |mut rig| {
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        let applied = rig.report().expect("it reported").applied_version;
        rig.desire("web-1", Desired::Stop { since: Time(5) });
        rig.until_phase("web-1", Phase::Gone).await;

        let second = rig.unit("web-2", SERVER);
        rig.order(second);
        rig.until_phase("web-2", Phase::Ready).await;
        // As if a late message of the same stream would end it.
        rig.desire_quietly("web-2", Desired::Stop { since: Time(5) });
        rig.publish_as(applied, "incarnation-1");
        tokio::time::sleep(WHILE).await;
        assert_eq!(rig.status("web-2").expect("it is known").phase, Phase::Ready);
        rig.publish_as(1_000, "incarnation-2");
        tokio::time::sleep(WHILE).await;
        assert_eq!(rig.status("web-2").expect("it is known").phase, Phase::Ready);
        rig.publish_as(1_001, "incarnation-1");
        rig.until_phase("web-2", Phase::Gone).await;
    });
}

#[test]
fn containers_no_order_names_end_when_the_controller_says_so() {
    with_rig(async |mut rig| {
        let first = rig.unit("web-1", SERVER);
        rig.order(first);
        rig.until_phase("web-1", Phase::Ready).await;
        let container = rig.containers("web-1").remove(0);
        rig.kill_servers();
        rig.kill_agent();
        // The kept orders are lost with the disk: nothing is known of the container.
        rig.remove_kept_orders();
        rig.start_agent().await;
        tokio::time::sleep(WHILE).await;
        let running = docker(&["inspect", "-f", "{{.State.Running}}", &container]);
        assert_eq!(running, "true", "not knowing is no reason to end it");
        rig.drop_order("web-1");
        rig.start_servers().await;
        eventually("the container to go", async || {
            rig.containers("web-1").is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn a_container_somebody_removed_is_replaced() {
    with_rig(async |mut rig| {
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        docker(&["rm", "-f", &rig.containers("web-1")[0]]);
        rig.until("web-1", "replaced", |status| {
            status.phase == Phase::Ready && status.restarts == 1
        })
        .await;
    });
}

#[test]
fn orders_of_an_earlier_lead_are_left_out_even_after_a_restart() {
    with_rig(async |mut rig| {
        rig.begin_epoch(7);
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        rig.kill_agent();
        // A controller that does not know yet that it leads no more; its versions are higher.
        rig.begin_epoch(6);
        rig.desire_quietly("web-1", Desired::Stop { since: Time(5) });
        rig.publish_as(1_000, "incarnation-1");
        rig.start_agent().await;
        rig.until_phase("web-1", Phase::Ready).await;
        tokio::time::sleep(WHILE).await;
        assert_eq!(rig.status("web-1").expect("it is known").phase, Phase::Ready);
        rig.begin_epoch(8);
        rig.publish();
        rig.until_phase("web-1", Phase::Gone).await;
    });
}

#[test]
fn a_mute_gateway_delays_neither_reports_nor_orders() {
    with_rig(async |mut rig| {
        rig.kill_agent();
        // Connections are taken and nothing is ever said.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        rig.add_gateway(mute.local_addr().expect("it listens").to_string());
        rig.start_agent().await;
        let unit = rig.unit("web-1", SERVER);
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        let reports = rig.count_reports(Duration::from_secs(5)).await;
        assert!(reports >= 4, "{reports} reports in 5 s");
    });
}

#[test]
fn an_exclusive_unit_ends_when_no_leader_acknowledges_and_comes_back_when_one_does() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("clock-1", SERVER);
        change(&mut unit, |unit| unit.exclusive = true);
        rig.order(unit);
        rig.until_phase("clock-1", Phase::Ready).await;
        rig.set_leads(false);
        let status = rig.until("clock-1", "fenced", |status| status.trouble.is_some()).await;
        assert_eq!(status.trouble.expect("it was asked for").code, "fenced");
        let label = format!("label=trireme.unit={}", rig.id("clock-1"));
        assert_eq!(docker(&["ps", "-q", "--filter", &label]), "");
        rig.set_leads(true);
        rig.until_phase("clock-1", Phase::Ready).await;
    });
}
