//! The life of a lab: three hosts become a cluster, every node sees every other, and nothing of it is left behind.

use std::path::Path;
use std::process::Command;

use tests::lab::TemporaryLab;
use tests::{run, step};

/// Of this test alone.
const NUMBER: u8 = 41;

fn left_behind() -> String {
    let links = run(Command::new("ip").args(["-brief", "link"])).ok().stdout;
    let spaces = run(Command::new("ip").args(["netns", "list"])).ok().stdout;
    let rules = run(Command::new("iptables").args(["-w", "-S", "FORWARD"])).ok().stdout;
    let all = [links, spaces, rules].concat();
    let names = [format!("tri-lab-{NUMBER}"), format!("trilab{NUMBER}n")];
    let ours = all.lines().filter(|line| names.iter().any(|name| line.contains(name)));
    ours.collect::<Vec<_>>().join("\n")
}

#[test]
fn three_hosts_become_one_cluster_and_leave_nothing_behind() {
    step("up");
    let lab = TemporaryLab::up(NUMBER);

    step("every node is ready and controls");
    for host in lab.hosts() {
        let nodes = run(&mut host.clusterctl(&["nodes", "--json"])).ok().json();
        let nodes = tests::rows(&nodes);
        let seen: Vec<_> = nodes.iter().map(|node| (&node["name"], &node["state"])).collect();
        assert_eq!(format!("{seen:?}").matches("ready").count(), 3, "{seen:?}");
        assert!(nodes.iter().all(|node| node["control"] == true), "{nodes:?}");
        run(&mut host.clusterctl(&["status"])).ok();
    }

    step("what a loss would cost is told");
    let capacity = run(&mut lab.hosts()[0].clusterctl(&["capacity"])).ok().stdout;
    assert!(capacity.contains("without n1: all apps run"), "{capacity}");

    step("the doctor finds nothing");
    run(&mut lab.hosts()[0].clusterctl(&["doctor"])).ok().says("store: 3 members");

    step("labels are set, and a node that is not there is told");
    let [first, second, ..] = &lab.hosts()[..] else { panic!("there are three hosts") };
    let label = ["nodes:label", "n2", "zone=b"];
    run(&mut first.clusterctl(&label)).ok();
    let info = run(&mut second.clusterctl(&["nodes:info", "n2", "--json"])).ok().json();
    assert_eq!(info["labels"]["zone"], "b");
    run(&mut first.clusterctl(&["cordon", "n3"])).ok();
    run(&mut first.clusterctl(&["nodes:remove", "n9"])).fails_with("no node `n9`");

    step("down");
    let data = lab.data.clone();
    drop(lab);
    assert_eq!(left_behind(), "");
    assert!(!data.exists() && !Path::new("/run/tri-lab-41-n1").exists());
}
