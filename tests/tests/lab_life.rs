//! The life of a lab: three hosts become a cluster, every node sees every other, and nothing of it is left behind.

use std::path::Path;
use std::process::Command;

use tests::lab::Lab;
use tests::{run, step};

/// Of this test alone.
const NUMBER: u8 = 41;

/// Clears the lab whatever happens.
struct Down(Lab);

impl Drop for Down {
    fn drop(&mut self) {
        let down = self.0.down();
        assert!(down.is_ok() || std::thread::panicking(), "{down:?}");
    }
}

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
    let folder = tempfile::Builder::new().prefix("lab-").tempdir_in("/var/tmp").unwrap();
    let clusterctl = tests::program("clusterctl");
    let lab = Lab {
        number: NUMBER,
        nodes: 3,
        data: folder.path().join("lab"),
        programs: clusterctl.parent().unwrap().to_owned(),
    };
    let down = Down(lab.clone());
    step("up");
    Lab::up(lab.clone()).unwrap();

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

    step("labels are set, and a node that is not there is told");
    let [first, second, ..] = &lab.hosts()[..] else { panic!("there are three hosts") };
    let label = ["nodes:label", "n2", "zone=b"];
    run(&mut first.clusterctl(&label)).ok();
    let info = run(&mut second.clusterctl(&["nodes:info", "n2", "--json"])).ok().json();
    assert_eq!(info["labels"]["zone"], "b");
    run(&mut first.clusterctl(&["cordon", "n3"])).ok();
    run(&mut first.clusterctl(&["nodes:remove", "n9"])).fails_with("no node `n9`");

    step("down");
    drop(down);
    assert_eq!(left_behind(), "");
    assert!(!lab.data.exists() && !Path::new("/run/tri-lab-41-n1").exists());
}
