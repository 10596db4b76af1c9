//! The real `clusterctl` with stand-ins for the programs and for Docker: up, kills of everything, up again, down.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

#[path = "cluster/ground.rs"]
mod ground;
#[path = "cluster/transcript.rs"]
mod transcript;
#[path = "cluster/upgrade.rs"]
mod upgrade;

use std::{fs, os::unix::process::CommandExt, process::Command};

use ground::{Done, Ground, PROGRAMS, Pid, until};
use transcript::Transcript;

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
fn certificates_are_renewed_in_time_and_rotated_while_everything_runs() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let programs = ground.programs();
    let folder = ground.data().join("identity/router");
    let read = || fs::read(folder.join("cert.pem")).unwrap();
    let authority = service::Authority::open(&ground.data().join("ca")).unwrap();
    let subject =
        service::Subject { role: "router", node: "n1", dns: vec!["localhost".into()], ips: vec![] };
    let issue = |days| authority.issue(&subject, days).unwrap().write(&folder, authority.ca_pem());
    issue(10).unwrap();
    let doctor = ground.clusterctl(&["doctor"]);
    assert!(doctor.out.contains("warning  certificate of router"), "{doctor:?}");
    assert!(doctor.out.contains("clusterctl certs:rotate"), "{doctor:?}");
    let ending = read();
    ground.role("supervisor").unwrap().kill();
    until("the next supervisor renews it", || read() != ending);
    let listed = ground.clusterctl(&["certs", "--json"]);
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    assert!(listed.len() == 9 && listed.iter().all(|it| it["days_left"].as_i64() > Some(300)));

    let renewed = read();
    let rotated = ground.clusterctl(&["certs:rotate"]);
    assert!(rotated.ok && rotated.out.contains("router, builder, platform, api"), "{rotated:?}");
    assert_ne!(read(), renewed);
    assert_eq!(ground.programs(), programs, "nothing was started again");

    fs::write(folder.join("cert.pem"), "spoiled").unwrap();
    let spoiled = ground.clusterctl(&["certs"]);
    assert!(spoiled.code == 1 && spoiled.out.contains("holds no certificate"), "{spoiled:?}");
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

#[test]
fn refusals_of_up() {
    let ground = Ground::new();
    let mut at = Transcript::new("refusals", &ground);
    at.run("up --domain Bad_Name --node Bad_Node");
    at.run("up --docker-socket /nowhere.sock --demo /nowhere");
    at.run("up --bind 192.0.2.1");
    for data in ["data", "/dev/null", "/proc/trireme"] {
        let mut up = ground.up();
        up.arg("--docker-socket").arg(ground.docker_socket()).args(["--data", data]);
        at.record(&format!("up --data {data}"), &Done::of(&mut up));
    }

    at.about("somebody holds the port");
    let held = std::net::TcpListener::bind(("0.0.0.0", ground.port(0))).unwrap();
    at.run("up");
    drop(held);

    at.about("not as root");
    ground::make_executable(ground.folder());
    let mut stranger = ground.up();
    stranger.arg("--docker-socket").arg(ground.docker_socket()).arg("--data").arg(ground.data());
    at.record("up", &Done::of(stranger.uid(65_534).gid(65_534)));

    at.about("on a disk of 16 MiB");
    let small = ground.folder().join("small");
    fs::create_dir(&small).unwrap();
    let on_small_disk = r#"mount -t tmpfs -o size=16m none "$1" && shift && exec "$@""#;
    let mut mounted = Command::new("unshare");
    mounted.args(["--mount", "sh", "-c", on_small_disk, "sh"]).arg(&small);
    let up = ground.up();
    mounted.arg(up.get_program()).args(up.get_args());
    mounted.arg("--docker-socket").arg(ground.docker_socket());
    mounted.arg("--data").arg(small.join("data"));
    at.record("up --data HERE/small/data", &Done::of(&mut mounted));

    for (path, status) in [("/_ping", 500), ("/images/", 404), ("/images/", 500)] {
        at.about(&format!("the Docker Engine answers {path} with {status}"));
        ground.break_docker(path, status);
        at.run("up");
    }

    at.about("programs are missing");
    ground.break_docker("/none", 200);
    for name in ["trireme-agent", "trireme-pre-receive"] {
        fs::remove_file(ground.programs_folder().join(name)).unwrap();
    }
    at.run("up");
    assert!(!ground.data().exists() && !small.join("data").exists());
    at.finish();
}

#[test]
fn a_cluster_from_up_to_wipe() {
    let ground = Ground::new();
    let mut at = Transcript::new("life", &ground);
    for command in ["status", "status --json", "doctor", "logs agent", "down"] {
        at.run(command);
    }
    for command in ["up", "up", "up --domain example.org", "status", "status --json"] {
        at.run(command);
    }
    let log = r#"{"timestamp":"T","level":"INFO","target":"agent","message":"listening","n":2}"#;
    fs::write(ground.data().join("log/agent.log"), format!("one\n{log}\n")).unwrap();
    for command in ["logs agent -n 1", "logs agent -n 1 --raw", "doctor", "doctor --json"] {
        at.run(command);
    }
    for command in ["down", "down", "status", "doctor", "up --node n2"] {
        at.run(command);
    }
    at.about("the Docker Engine does not list containers");
    ground.break_docker("/containers/", 500);
    at.run("down");
    ground.break_docker("/none", 200);
    for command in ["down --wipe", "down --wipe --confirm n2", "down --wipe --confirm n1", "status"]
    {
        at.run(command);
    }
    at.finish();
}

#[test]
fn help_and_wrong_words() {
    let ground = Ground::new();
    let mut at = Transcript::new("words", &ground);
    for command in [
        "",
        "--help",
        "--version",
        "up --help",
        "down --help",
        "status --help",
        "logs --help",
        "doctor --help",
        "nonsense",
        "stauts",
        "up --http-port x",
        "up --http-port 70000",
        "up --bind here",
        "up now",
        "down --confirm n1",
        "logs",
        "logs nobody",
        "logs agent -n some",
        "completion",
        "completion tcsh",
    ] {
        at.run_bare(command);
    }
    let completion = Done::of(&mut ground.command(&["completion", "bash"]));
    assert!(completion.ok && completion.out.contains("complete -F _clusterctl"), "{completion:?}");
    at.finish();
}
