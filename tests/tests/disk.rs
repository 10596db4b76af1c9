//! A disk that fills up: what needs room is refused early, what runs goes on, and nothing is lost.

use tests::{Cluster, DEMO, Disk, Person, Repository, rows, run, step, until};

const MIB: u64 = 1 << 20;

#[test]
fn a_full_disk_is_refused_early_and_loses_nothing() {
    let disk = Disk::new("6G");
    let cluster = Cluster::up_in("full", 22800, disk.path().join("data"));
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    let paas = |arguments: &[&str]| app.paasctl(&olga, arguments);
    let doctor = || run(&mut cluster.clusterctl(&["doctor"]));
    let host = format!("app.{}", cluster.domain());
    doctor().ok();

    step("a disk that grows full is said, and takes no more pushes");
    disk.fill(900 * MIB);
    doctor().fails_with("PROBLEM  registry-proxy: disk").says("warning  disk: 899 MiB free");
    app.commit(&[("version.txt", "2")]);
    app.push(&olga, "master").fails_with(" !     the platform's disk is too full to take a push");
    paas(&["config:set", "GREETING=Before"]).ok();

    step("a disk that is full takes no change at all");
    disk.fill(0);
    until("changes are refused", || {
        let made = olga.does(&["tokens:create", "more"]);
        made.stderr.contains("too full").then_some(())
    });
    doctor().fails_with("PROBLEM  disk: 0 MiB free").says("logger: ");
    paas(&["config:set", "GREETING=During"]).fails_with("too full");
    paas(&["scale", "web=2"]).fails_with("too full");
    app.push(&olga, "master").fails_with("too full");

    paas(&["config", "--reveal"]).ok().says("Before");

    step("what runs goes on, whichever program is killed now");
    for name in ["agent", "router", "builder", "registry-proxy", "logger", "controller"] {
        let pid = cluster.kill(name);
        until(&format!("{name} runs again"), || cluster.pid(name).filter(|new| *new != pid));
        until("the app answers", || cluster.get(&host, "/").1.contains("Before").then_some(()));
    }
    cluster.get(&host, "/asked-while-full");
    until("the controller answers again", || (paas(&["ps"]).code == Some(0)).then_some(()));
    paas(&["config:set", "GREETING=During"]).fails_with("too full");
    app.push(&olga, "master").fails_with("too full");

    step("with room again everything goes on by itself");
    disk.free();
    until("the doctor finds nothing", || (doctor().code == Some(0)).then_some(()));
    until("the log has what was said meanwhile", || {
        paas(&["logs", "-n", "5000"]).ok().stdout.contains("asked-while-full").then_some(())
    });
    app.push(&olga, "master").ok().says("app:v3 deployed");
    paas(&["config:set", "GREETING=After"]).ok();
    assert!(cluster.get(&host, "/").1.contains("After"));
    let releases = paas(&["releases", "--json"]).ok().json();
    let numbers: Vec<&str> =
        rows(&releases).iter().filter_map(|row| row["release"].as_str()).collect();
    assert_eq!(numbers, ["v4", "v3", "v2", "v1"]);
}
