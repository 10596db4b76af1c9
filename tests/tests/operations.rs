//! Running an app day by day: configuration, limits, checks, crashes, stop and start, volumes.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{Cluster, Output, Person, Repository, rows, run, step, until};

const SERVER: &str = include_str!("../fixtures/daily.py");
const PROCFILE: &str =
    "web: python3 server.py\nworker: cat /data/kept; sleep 1000\nloop: echo looping && exit 4\n";

#[test]
fn an_app_is_run_day_by_day() {
    let cluster = Cluster::up("daily", 22000);
    let olga = Person::registered(&cluster, "olga");
    let files = [("Procfile", PROCFILE), ("server.py", SERVER)];
    let app = Repository::deployed(&olga, "app", &files);
    let day =
        Day { host: format!("app.{}", cluster.domain()), cluster: &cluster, olga: &olga, app };
    configuration(&day);
    crashes(&day);
    checks(&day);
    stop_and_start(&day);
    volumes(&day);
}

struct Day<'a> {
    cluster: &'a Cluster,
    olga: &'a Person<'a>,
    app: Repository,
    host: String,
}

impl Day<'_> {
    fn paas(&self, arguments: &[&str]) -> Output {
        self.app.paasctl(self.olga, arguments)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.cluster.get(&self.host, path)
    }

    fn units(&self) -> Vec<Value> {
        rows(&self.paas(&["ps", "--json"]).ok().json()["units"]).clone()
    }
}

fn configuration(day: &Day<'_>) {
    step("a value with everything in it arrives as it was given, up to 64 KiB");
    let secret = format!("sealed-{}", std::process::id());
    let head = format!(" \tA=1\r\nline 'two' \"three\" = $HOME `id` \\ \\n #üñ☃\u{7f} {secret} ");
    let odd = format!("{head}{}\n", "x".repeat((64 << 10) - head.len() - 1));
    let arrived = || assert_eq!(day.get("/odd"), (200, odd.clone()));
    day.paas(&["config:set", &format!("ODD={odd}")]).ok();
    arrived();
    assert_eq!(day.paas(&["config:get", "ODD"]).ok().stdout, format!("{odd}\n"));
    day.paas(&["config:set", &format!("ODD={odd}x")]).fails_with("65536");

    step("it is masked unless asked for, and comes and goes as a file");
    for shown in
        [&["config"][..], &["config", "--json"], &["releases:info", "v2"], &["info", "--json"]]
    {
        assert!(!day.paas(shown).ok().stdout.contains("sealed-"), "{shown:?}");
    }
    day.paas(&["config", "--reveal"]).ok().says("sealed-");
    day.paas(&["config:pull"]).ok();
    let file = std::fs::metadata(day.app.folder().join(".env")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&file) & 0o777, 0o600);
    day.paas(&["config:unset", "ODD"]).ok();
    assert_eq!(day.get("/odd").1, "");
    day.paas(&["config:push"]).ok();
    arrived();

    step("it is in no image, and sealed in the store");
    day.app.commit(&[("version.txt", "2"), (".gitignore", ".env\n")]);
    day.app.push(day.olga, "master").ok();
    arrived();
    let release = day.paas(&["releases:info", "v5", "--json"]).ok().json();
    let image = release["image"].as_str().unwrap();
    let saved = day.cluster.scratch().join("image.tar");
    run(Command::new("docker").args(["save", image, "-o"]).arg(&saved)).ok();
    assert!(!holds(&saved, &secret), "the value is in the image");
    assert!(holds(&saved, "asked for"), "the search would have found it");
    assert!(!holds(&day.cluster.data().join("controller"), &secret), "the store has it open");
    day.paas(&["config:unset", "ODD"]).ok();
    day.paas(&["config:set", "9BAD=1", "GOOD=1"]).fails_with("9BAD");
    assert!(day.paas(&["config", "--json"]).ok().json()["values"].get("GOOD").is_none());
}

/// Whether a text stands in a file or in any file of a folder.
fn holds(path: &Path, text: &str) -> bool {
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--quiet", "--text", "--fixed-strings", "--", text]).arg(path);
    match run(&mut grep) {
        Output { code: Some(0), .. } => true,
        Output { code: Some(1), .. } => false,
        failed => panic!("{failed:?}"),
    }
}

fn crashes(day: &Day<'_>) {
    step("a unit that dies is started again, and is told");
    let (status, _) = day.get("/die");
    assert!(status == 502 || status == 503, "{status}");
    until("it serves again", || (day.get("/").0 == 200).then_some(()));
    until("ps counts the restart", || {
        day.units()[0]["restarts"].as_u64().filter(|count| *count > 0)
    });

    step("a crash loop backs off, never gives up, and can be seen");
    day.paas(&["scale", "loop=1"]).fails_with("looping");
    let looping = || day.units().into_iter().find(|unit| unit["process"] == "loop").unwrap();
    let restarts = until("it was started three times and waits longer", || {
        let unit = looping();
        let is_late = unit["restarts"].as_u64() > Some(2) && unit["state"] == "backoff";
        is_late.then_some(unit["restarts"].clone())
    });
    assert!(looping()["reason"].as_str().unwrap().contains("code 4"), "{}", looping());
    day.paas(&["ps"]).ok().says("backoff");
    until("it is tried again", || (looping()["restarts"] != restarts).then_some(()));
    day.paas(&["scale", "loop=0"]).ok();

    step("limits make a release; a unit over its memory limit is killed, and it is called that");
    day.paas(&["limits:set", "web=64M"]).ok();
    day.paas(&["limits:set", "--cpu", "web=0.5"]).ok();
    let limits = day.paas(&["limits"]).ok();
    limits.says("64M").says("500m");
    let releases = day.paas(&["releases", "--json"]).ok().json();
    assert_eq!(rows(&releases)[0]["release"], "v8", "{releases}");
    day.get("/eat");
    until("ps tells of the memory", || {
        day.units()[0]["reason"].as_str()?.contains("memory").then_some(())
    });
    until("the log tells of it too", || {
        let lines = day.paas(&["logs", "--ps", "platform"]).ok().stdout;
        lines.contains("memory").then_some(())
    });
    day.paas(&["limits:set", "web=banana"]).fails_with("banana");
    until("it serves again", || (day.get("/").0 == 200).then_some(()));
}

fn checks(day: &Day<'_>) {
    let quick = ["--grace", "1", "--period", "0.5", "--fall", "2"];
    let set = |check: &[&str], command: &[&str]| {
        day.paas(&[&["checks:set", "web"], check, &quick[..], command].concat())
    };
    let head = ["http", "--method", "HEAD", "--path", "/", "--status", "204"];
    step("a check that no unit passes changes nothing");
    set(&head, &[]).fails_with("HEAD / answered 421");
    set(&["exec"], &["--", "test", "-e", "/nowhere"]).fails_with("exited with code 1");
    assert_eq!(day.get("/").0, 200);
    day.paas(&["checks"]).ok().says("tcp");
    step("checks by HTTP with everything, by TCP and by a command");
    set(&[&head[..], &["--host", "inside.example"]].concat(), &[]).ok();
    set(&["tcp"], &[]).ok();
    set(&["exec"], &["--", "test", "-e", "/app/server.py"]).ok();
    step("a unit that fails its check is replaced");
    set(&["http", "--path", "/health", "--status", "200-299"], &[]).ok();
    assert_eq!(day.get("/sick").0, 200);
    until("ps tells of the failed check and of the new start", || {
        let unit = day.units().remove(0);
        let reason = unit["reason"].as_str().unwrap_or_default();
        (reason.contains("health check") && unit["restarts"].as_u64() > Some(0)).then_some(())
    });
    until("it serves again", || (day.get("/health").0 == 200).then_some(()));
    day.paas(&["checks:unset", "web"]).ok();
}

fn stop_and_start(day: &Day<'_>) {
    step("stop keeps the count for start");
    day.paas(&["scale", "worker=1"]).ok();
    day.paas(&["ps:stop", "worker"]).ok();
    assert_eq!(day.units().len(), 1);
    day.paas(&["ps:start", "worker"]).ok();
    assert_eq!(day.units().len(), 2);
}

fn volumes(day: &Day<'_>) {
    step("a volume keeps what is written to it over a release and a unit that dies");
    day.paas(&["volumes:create", "data"]).ok().says("is on");
    day.paas(&["volumes:mount", "data", "web=/data", "worker=/data"]).ok();
    assert_eq!(day.get("/keep").0, 200);
    day.paas(&["config:set", "AGAIN=1"]).ok();
    day.get("/die");
    until("it serves again", || (day.get("/kept") == (200, "kept".to_owned())).then_some(()));

    step("another type of the app sees it");
    day.paas(&["ps:restart", "worker"]).ok();
    until("the worker tells of it", || {
        let lines = day.paas(&["logs", "--ps", "worker"]).ok().stdout;
        lines.lines().any(|line| line.ends_with(" kept")).then_some(())
    });

    step(
        "it is destroyed by an order of its own, when nothing mounts it, and then its data is gone",
    );
    let destroy = || day.paas(&["volumes:destroy", "data", "--confirm", "data"]);
    let folder = day.cluster.data().join("agent/volumes");
    let count = || std::fs::read_dir(&folder).unwrap().count();
    destroy().fails_with("mounted by web, worker");
    day.paas(&["volumes:unmount", "data", "web", "worker"]).ok();
    assert_eq!(count(), 1);
    destroy().ok();
    until("its data is gone", || (count() == 0).then_some(()));
    day.paas(&["volumes", "--json"]).ok().says("[]");
}
