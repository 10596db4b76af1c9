//! Whatever is killed comes back by itself, apps go on serving, and a power cut loses nothing.

use std::process::Command;

use tests::cluster::PROGRAMS;
use tests::{Cluster, DEMO, Load, Person, Repository, rows, run, step, until};

#[test]
fn everything_that_is_killed_comes_back() {
    let cluster = Cluster::up("alive", 21400);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    app.paasctl(&olga, &["config:set", "GREETING=Still here"]).ok();
    app.paasctl(&olga, &["scale", "web=2"]).ok();
    let host = format!("app.{}", cluster.domain());
    let units = || {
        let ps = app.paasctl(&olga, &["ps", "--json"]).ok().json();
        let rows = ps["units"].as_array().unwrap().clone();
        rows.into_iter()
            .map(|row| (row["name"].clone(), row["since"].clone(), row["state"].clone()))
            .collect::<Vec<_>>()
    };
    let before = units();

    for name in PROGRAMS {
        step(&format!("{name} is killed"));
        let load = (name != "router")
            .then(|| Load::start(cluster.http_port(), &host, &["/", "/", "/slow?ms=500"]));
        let pid = cluster.kill(name);
        until(&format!("{name} runs again"), || cluster.pid(name).filter(|new| *new != pid));
        until(&format!("all is well after {name}"), || cluster.is_well().then_some(()));
        until("the app answers", || (cluster.get(&host, "/").0 == 200).then_some(()));
        if let Some(load) = load {
            let seen = load.stop();
            assert_eq!(seen.failed, 0, "{name}: {seen:#?}");
        }
    }
    until("ps tells both units ready", || {
        units().iter().all(|(_, _, state)| state == "ready").then_some(())
    });
    assert_eq!(units().len(), 2);
    let names = |rows: &[(serde_json::Value, serde_json::Value, serde_json::Value)]| {
        rows.iter().map(|(name, _, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&units()), names(&before));

    step("without the controller apps serve, and the command line says what is wrong");
    let keepers: Vec<String> = cluster.keepers().iter().map(u64::to_string).collect();
    assert_eq!(keepers.len(), 2);
    run(Command::new("kill").arg("-STOP").args(&keepers)).ok();
    cluster.kill("controller");
    assert_eq!(cluster.get(&host, "/").0, 200);
    app.paasctl(&olga, &["ps"]).fails_with("clusterctl status");
    run(Command::new("kill").arg("-CONT").args(&keepers)).ok();
    until("the controller is back", || (app.paasctl(&olga, &["ps"]).code == Some(0)).then_some(()));

    step("the power is cut: every process and container dies at once");
    cut_power(&cluster);
    assert_eq!(cluster.get(&host, "/").0, 0, "nothing runs");
    cluster.start().ok();
    until("the app is back", || cluster.get(&host, "/").1.contains("Still here").then_some(()));
    until("both units are ready", || {
        let rows = units();
        (rows.len() == 2 && rows.iter().all(|(_, _, state)| state == "ready")).then_some(())
    });
    step("and it can be pushed to again");
    app.commit(&[("version.txt", "2")]);
    app.push(&olga, "master").ok();
}

/// Kills the supervisor and all programs in one go, then all containers of the node.
fn cut_power(cluster: &Cluster) {
    let status = cluster.status();
    let mut pids: Vec<String> = Vec::new();
    for row in rows(&status["programs"]) {
        pids.extend(row["pid"].as_u64().map(|pid| pid.to_string()));
    }
    pids.extend(cluster.keepers().iter().map(u64::to_string));
    // Stopped first, so that nobody restarts anybody in between.
    run(Command::new("kill").arg("-STOP").args(&pids)).ok();
    run(Command::new("kill").arg("-KILL").args(&pids)).ok();
    let label = format!("label=trireme.node={}", cluster.name);
    let listed = run(Command::new("docker").args(["ps", "-q", "--filter", &label])).ok();
    let containers: Vec<&str> = listed.stdout.split_whitespace().collect();
    assert!(!containers.is_empty(), "the app's containers run");
    run(Command::new("docker").arg("kill").args(containers)).ok();
}
