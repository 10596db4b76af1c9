//! A node is upgraded under load, to good programs and to a router that does not start: no request fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::{Cluster, DEMO, Load, Person, Repository, run, step};

#[test]
fn no_request_fails_while_a_node_is_upgraded_or_an_upgrade_fails() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    let built = tests::program("clusterctl");
    let built = built.parent().unwrap();
    tests::programs::place(built, &old).unwrap();
    tests::programs::place_newer(built, &new).unwrap();
    let cluster = Cluster::up_from("upgrade", 21700, old);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    app.paasctl(&olga, &["scale", "web=2"]).ok();
    let host = format!("app.{}", cluster.domain());
    let load = Load::start(cluster.http_port(), &host, &Load::MIXED);
    let from = new.to_str().unwrap();
    let upgrade = || run(&mut cluster.clusterctl(&["upgrade", "--from", from]));

    step("a router that does not start");
    let router = cluster.pid("router");
    let good = fs::read(new.join("trireme-router")).unwrap();
    let version =
        run(std::process::Command::new(new.join("trireme-router")).arg("--version")).ok().stdout;
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo {} && exit 0\nexit 1\n", version.trim());
    fs::write(new.join("trireme-router"), script).unwrap();
    upgrade().fails_with("the new router does not become well").says("The old programs are back");
    assert_eq!(cluster.pid("router"), router, "the old router serves on");
    assert!(cluster.is_well());

    step("good programs");
    fs::remove_file(new.join("trireme-router")).unwrap();
    fs::write(new.join("trireme-router"), good).unwrap();
    fs::set_permissions(new.join("trireme-router"), fs::Permissions::from_mode(0o755)).unwrap();
    upgrade().ok().says("router: well");
    assert_ne!(cluster.pid("router"), router);
    assert!(cluster.is_well());

    let before = load.answered();
    tests::until("the load goes on", || (load.answered() > before + 50).then_some(()));
    let seen = load.stop();
    assert_eq!(seen.failed, 0, "{seen:#?}");
    assert!(seen.answered > 500, "{seen:?}");
    app.paasctl(&olga, &["ps"]).ok();
}
