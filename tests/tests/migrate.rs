//! A machine alone becomes the first node of several under load, cut off at several steps: no request fails, nothing is lost.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::process::Command;

use tests::{Cluster, DEMO, Load, Person, Repository, kill_at, run, step, until};

/// What a move leaves as it is. Apps are not among it: a restart is noted there.
const KEPT: [&str; 8] =
    ["users/", "keys/", "tokens/", "releases/", "domains/", "certs/", "histories/", "settings/"];

/// An address of this machine that others could reach.
fn own_address() -> IpAddr {
    let listed = run(Command::new("hostname").arg("-I")).ok().stdout;
    let mut addresses = listed.split_whitespace().filter_map(|word| word.parse().ok());
    addresses.find(IpAddr::is_ipv4).expect("this machine has an address")
}

fn migrate(cluster: &Cluster, address: IpAddr) -> Command {
    cluster.clusterctl(&["store:migrate", "--address", &address.to_string()])
}

/// The stored documents that a move leaves as they are.
fn documents(cluster: &Cluster) -> BTreeMap<String, String> {
    let file = tempfile::NamedTempFile::new_in(cluster.scratch()).unwrap().into_temp_path();
    fs::remove_file(&file).unwrap();
    run(cluster.clusterctl(&["backup", "--without-images"]).arg(&file)).ok();
    let mut tar = Command::new("tar");
    tar.arg("-xOf").arg(&file).args(["--wildcards", "store/*"]);
    let lines = run(&mut tar).ok().stdout;
    let entries = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let entries = entries.map(|entry: serde_json::Value| {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        (text("key"), text("value"))
    });
    entries.filter(|(key, _)| KEPT.iter().any(|prefix| key.starts_with(prefix))).collect()
}

/// The choices, the settings and the processes.
fn state(cluster: &Cluster) -> [String; 3] {
    let file = |name: &str| fs::read_to_string(cluster.data().join(name)).unwrap();
    let pids = tests::cluster::PROGRAMS.map(|program| cluster.pid(program));
    [file("cluster.json"), file("trireme.toml"), format!("{pids:?}")]
}

fn nothing_is_begun_that_cannot_end(cluster: &Cluster, address: IpAddr) {
    let before = state(cluster);
    let refused = |address: &str, why: &str| {
        run(&mut migrate(cluster, address.parse().unwrap())).fails_with(why);
    };
    refused("127.0.0.1", "leads no other node here");
    refused("203.0.113.77", "is not an address of this machine");
    let holder = TcpListener::bind((address, cluster.port + 15)).unwrap();
    let held = format!("(process {})", std::process::id());
    run(&mut migrate(cluster, address)).fails_with(&held).says("nothing was changed");
    drop(holder);
    assert_eq!(state(cluster), before);
}

#[test]
fn a_machine_alone_becomes_the_first_of_several_and_no_request_fails() {
    let (address, cluster) = (own_address(), Cluster::up("migrate", 24000));
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    app.paasctl(&olga, &["config:set", "GREETING=sealed and kept"]).ok();
    app.paasctl(&olga, &["domains:add", "www.example.com"]).ok();
    app.paasctl(&olga, &["scale", "web=2"]).ok();
    let lone = Repository::deployed(&olga, "lone", DEMO);
    let loads = ["app", "lone"].map(|app| {
        let host = format!("{app}.{}", cluster.domain());
        Load::start(cluster.http_port(), &host, &Load::MIXED)
    });

    step("what is in the way is told, and nothing is changed");
    nothing_is_begun_that_cannot_end(&cluster, address);

    step("cut off before it is decided: the cluster is the old one");
    kill_at("starting etcd beside", &mut migrate(&cluster, address));
    assert!(!fs::read_to_string(cluster.data().join("cluster.json")).unwrap().contains("several"));
    app.paasctl(&olga, &["config:set", "ODD=after the first cut"]).ok();
    let before = documents(&cluster);

    step("cut off as it is decided, with whoever keeps the programs");
    kill_at("writing down", &mut migrate(&cluster, address));
    for keeper in cluster.keepers() {
        run(Command::new("kill").args(["-KILL", &keeper.to_string()])).ok();
    }
    run(&mut cluster.clusterctl(&["up"])).ok();

    step(
        "cut off while the programs take it up, with the supervisor: the next one goes on by itself",
    );
    kill_at("logger: well", &mut migrate(&cluster, address));
    let supervisor = cluster.status()["keepers"]["supervisor"].as_u64().unwrap();
    run(Command::new("kill").args(["-KILL", &supervisor.to_string()])).ok();
    let controller = cluster.data().join("controller");
    until("the cluster is the new one", || {
        (controller.join("store.redb.moved").exists() && cluster.is_well()).then_some(())
    });

    step("run again it comes to its end");
    run(&mut migrate(&cluster, address)).ok().says("the first node of several now");
    assert!(cluster.is_well());
    assert!(!controller.join("store.redb").exists(), "the file is out of force");
    let kept = fs::read(controller.join("store.redb.moved")).unwrap();
    assert_eq!(documents(&cluster), before, "all that was acknowledged is there");

    step("every unit can be reached from other nodes");
    let mut docker = Command::new("docker");
    docker.args(["ps", "--format", "{{.Ports}}", "--filter", "label=trireme.process=web"]);
    docker.args(["--filter", &format!("label=trireme.node={}", cluster.name)]);
    let ports = run(&mut docker).ok().stdout;
    let published = ports.lines().filter(|line| line.contains(&format!("{address}:"))).count();
    assert_eq!((published, ports.lines().count()), (3, 3), "{ports}");

    step("changes and pushes go on, and the old file is never written again");
    app.paasctl(&olga, &["config:set", "ODD=after the move"]).ok();
    let settings = app.paasctl(&olga, &["config:get", "ODD"]).ok().stdout;
    assert_eq!(settings.trim(), "after the move");
    lone.commit(&[("version.txt", "2")]);
    lone.push(&olga, "master").ok();
    assert_eq!(fs::read(controller.join("store.redb.moved")).unwrap(), kept);

    step("once more changes nothing");
    let before = state(&cluster);
    run(&mut migrate(&cluster, address)).ok();
    assert_eq!(state(&cluster), before);

    let answered = loads.iter().map(Load::answered).collect::<Vec<_>>();
    until("the loads go on", || {
        let go_on = |(load, before): (&Load, &u64)| load.answered() > before + 50;
        loads.iter().zip(&answered).all(go_on).then_some(())
    });
    loads.into_iter().for_each(Load::saw_no_failure);

    step("everything ends at once and comes back as it was");
    let before = documents(&cluster);
    let pids =
        tests::cluster::PROGRAMS.into_iter().chain(["etcd"]).filter_map(|it| cluster.pid(it));
    let all: Vec<String> =
        cluster.keepers().iter().map(u64::to_string).chain(pids.map(|it| it.to_string())).collect();
    run(Command::new("kill").arg("-KILL").args(all)).ok();
    run(&mut cluster.clusterctl(&["up"])).ok();
    assert_eq!(documents(&cluster), before);
}
