//! The real `clusterctl` with stand-ins for the programs and for Docker: up, kills of everything, up again, down.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

#[path = "cluster/ground.rs"]
mod ground;

use std::fs;

use ground::{Ground, PROGRAMS, Pid, until};

#[test]
fn up_starts_everything_once_and_down_stops_it() {
    let ground = Ground::new();
    let first = ground.clusterctl(&["up"]);
    assert!(first.ok, "{first:?}");
    assert!(first.out.contains("paasctl register https://deis.apps.localhost:"), "{first:?}");
    let programs = ground.programs();
    assert_eq!(programs.len(), PROGRAMS.len());

    let second = ground.clusterctl(&["up"]);
    assert!(second.ok && second.out.contains("running already"), "{second:?}");
    assert_eq!(ground.programs(), programs, "a second up starts no twins");
    assert!(ground.clusterctl(&["status"]).ok);
    let json: serde_json::Value =
        serde_json::from_str(&ground.clusterctl(&["status", "--json"]).out).unwrap();
    assert_eq!(json["programs"].as_array().unwrap().len(), PROGRAMS.len());

    let down = ground.clusterctl(&["down"]);
    assert!(down.ok && down.out.contains("data is kept"), "{down:?}");
    assert!(programs.iter().all(|(_, pid)| !pid.is_alive()), "down stops all");
    assert!(ground.processes().is_empty(), "nothing of the cluster is left");
    assert_eq!(ground.clusterctl(&["status"]).code, 3);
    assert!(ground.docker_was_asked("POST /containers/c1/stop?t=10"), "containers are stopped");
    assert!(ground.docker_was_asked("DELETE /containers/c1?force=true&v=true"));

    let again = ground.clusterctl(&["up"]);
    assert!(again.ok, "{again:?}");
    let restarts = ground.status();
    assert!(restarts.iter().all(|(_, _, restarts)| *restarts == 0), "{restarts:?}");
}

#[test]
fn a_killed_program_comes_back_and_the_others_are_left_alone() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let before = ground.programs();
    let (name, pid) = before[2].clone();
    pid.kill();
    until("the program is back", || ground.pid(&name).is_some_and(|now| now != pid));
    let after = ground.programs();
    let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    let status = ground.status();
    assert_eq!(status.iter().map(|(_, _, restarts)| *restarts).sum::<u64>(), 1, "{status:?}");
}

#[test]
fn a_killed_supervisor_comes_back_and_adopts_the_programs() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let programs = ground.programs();
    for role in ["supervisor", "guardian", "supervisor"] {
        let killed = ground.role(role).unwrap();
        killed.kill();
        until("the role is filled again", || ground.role(role).is_some_and(|now| now != killed));
    }
    assert_eq!(ground.programs(), programs, "adopted, not started again");
    // The one that came back does its work: an adopted program that ends is started again.
    let (name, pid) = programs[5].clone();
    pid.kill();
    until("the adopted program is back", || ground.pid(&name).is_some_and(|now| now != pid));
    assert!(ground.clusterctl(&["down"]).ok);
    assert!(ground.processes().is_empty());
}

#[test]
fn a_program_the_supervisor_could_not_write_down_is_found_and_adopted() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let programs = ground.programs();
    let (supervisor, guardian) =
        (ground.role("supervisor").unwrap(), ground.role("guardian").unwrap());
    guardian.kill();
    supervisor.kill();
    until("both have ended", || !supervisor.is_alive() && !guardian.is_alive());
    fs::remove_file(ground.data().join("run/router.json")).unwrap();
    let up = ground.clusterctl(&["up"]);
    assert!(up.ok, "{up:?}");
    assert_eq!(ground.programs(), programs);
}

#[test]
fn after_a_power_cut_one_up_brings_everything_back_with_the_same_data() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let (seal, ca) = (ground.data().join("controller/seal.key"), ground.data().join("ca/ca.pem"));
    let (seal_before, ca_before) = (fs::read(&seal).unwrap(), fs::read(&ca).unwrap());
    ground.cut_power();
    // Another process has been given a program's old id: this test itself.
    let record = ground.data().join("run/router.json");
    let text = fs::read_to_string(&record).unwrap();
    let old: serde_json::Value = serde_json::from_str(&text).unwrap();
    let old = old["document"]["state"]["running"]["pid"].to_string();
    let own = std::process::id().to_string();
    let recycled = text.replace(&format!("\"pid\":{old}"), &format!("\"pid\":{own}"));
    assert_ne!(recycled, text);
    fs::write(&record, recycled).unwrap();

    let up = ground.clusterctl(&["up"]);
    assert!(up.ok, "{up:?}");
    assert_eq!(ground.programs().len(), PROGRAMS.len());
    assert_ne!(ground.pid("router"), Some(Pid::own()));
    assert_eq!((fs::read(&seal).unwrap(), fs::read(&ca).unwrap()), (seal_before, ca_before));
}

#[test]
fn down_stops_programs_that_nobody_keeps_any_more() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let (supervisor, guardian) =
        (ground.role("supervisor").unwrap(), ground.role("guardian").unwrap());
    guardian.kill();
    supervisor.kill();
    until("both have ended", || !supervisor.is_alive() && !guardian.is_alive());
    let down = ground.clusterctl(&["down"]);
    assert!(down.ok, "{down:?}");
    assert!(ground.processes().is_empty());
}

#[test]
fn everything_in_the_way_is_told_at_once_and_nothing_is_changed() {
    let ground = Ground::new();
    fs::remove_file(ground.programs_folder().join("trireme-agent")).unwrap();
    let held = std::net::TcpListener::bind(("0.0.0.0", ground.port(0))).unwrap();
    let up = ground.clusterctl(&["up", "--domain", "Bad_Name", "--docker-socket", "/nowhere.sock"]);
    assert_eq!(up.code, 1, "{up:?}");
    let holder = format!("(process {})", std::process::id());
    for told in [
        "Bad_Name",
        "trireme-agent not found",
        "no socket at `/nowhere.sock`",
        "nothing was changed",
    ] {
        assert!(up.err.contains(told), "{told}: {}", up.err);
    }
    let up = ground.clusterctl(&["up"]);
    assert!(up.err.contains(&holder) && up.err.contains("--http-port"), "{}", up.err);
    assert!(!ground.data().exists());
    drop(held);
}

#[test]
fn a_program_that_cannot_run_is_named_with_its_last_lines() {
    let ground = Ground::new();
    let agent = ground.programs_folder().join("trireme-agent");
    fs::remove_file(&agent).unwrap();
    fs::write(&agent, "#!/bin/sh\necho 'no such luck' >&2\nexit 64\n").unwrap();
    ground::make_executable(&agent);
    let up = ground.clusterctl(&["up"]);
    assert_eq!(up.code, 1, "{up:?}");
    for told in
        ["`agent` does not get well", "exit status: 64", "no such luck", "clusterctl doctor"]
    {
        assert!(up.err.contains(told), "{told}: {}", up.err);
    }
    let doctor = ground.clusterctl(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("PROBLEM  agent"), "{doctor:?}");
    let logs = ground.clusterctl(&["logs", "agent", "-n", "1"]);
    assert_eq!(logs.out, "no such luck\n");
}

#[test]
fn wipe_asks_and_then_leaves_nothing() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let programs = ground.programs();
    for refused in [&["down", "--wipe"][..], &["down", "--wipe", "--confirm", "other"]] {
        let down = ground.clusterctl(refused);
        assert_eq!(down.code, 1, "{down:?}");
        assert_eq!(ground.programs(), programs, "nothing was stopped");
    }
    let down = ground.clusterctl(&["down", "--wipe", "--confirm", "n1"]);
    assert!(down.ok, "{down:?}");
    assert!(!ground.data().exists() && !ground.ca().exists() && ground.processes().is_empty());
}

#[test]
fn other_settings_are_refused_while_the_cluster_runs_and_taken_when_it_is_stopped() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let other = ground.clusterctl(&["up", "--domain", "example.org"]);
    assert!(other.code == 1 && other.err.contains("clusterctl down"), "{other:?}");
    assert!(ground.clusterctl(&["down"]).ok);
    let other = ground.clusterctl(&["up", "--domain", "example.org"]);
    assert!(other.ok && other.out.contains("https://deis.example.org:"), "{other:?}");
    let node = ground.clusterctl(&["down"]);
    assert!(node.ok);
    let node = ground.clusterctl(&["up", "--node", "n2"]);
    assert!(node.code == 1 && node.err.contains("`n1`"), "{node:?}");
}
