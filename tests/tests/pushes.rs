//! What can be pushed, and what a push that cannot succeed says.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::{Cluster, Output, Person, Repository, rows, run, step, until};

const PYTHON_APP: &str = include_str!("../fixtures/flask.py");
const NODE_APP: &str = include_str!("../fixtures/server.js");
const PACKAGE: &str = r#"{"name":"n","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"left-pad":"1.3.0"}}"#;
const DOCKERFILE: &str = "FROM trireme/stack:12\nWORKDIR /app\nCOPY index.html .\nEXPOSE 8123\n\
CMD [\"python3\", \"-m\", \"http.server\", \"8123\"]\n";
const PLAIN: &str = "web: python3 -m http.server $PORT\n";

/// Paths and contents.
type Files = &'static [(&'static str, &'static str)];

#[test]
fn five_kinds_of_app_are_built_and_served() {
    let cluster = Cluster::up("kinds", 21600);
    let olga = Person::registered(&cluster, "olga");
    let apps: [(&str, Files, &str); 5] = [
        (
            "python",
            &[
                ("requirements.txt", "flask\n"),
                ("app.py", PYTHON_APP),
                ("Procfile", "web: python app.py\n"),
            ],
            "python says hi",
        ),
        ("node", &[("package.json", PACKAGE), ("server.js", NODE_APP)], "--node"),
        (
            "static",
            &[("index.html", "<h1>static page</h1>"), ("style.css", "h1 {}")],
            "static page",
        ),
        (
            "docker",
            &[("Dockerfile", DOCKERFILE), ("index.html", "from a dockerfile")],
            "from a dockerfile",
        ),
        ("plain", &[("Procfile", PLAIN), ("index.html", "plain page")], "plain page"),
    ];
    for (name, files, answer) in apps {
        step(name);
        let repository = Repository::new(&olga, name, files);
        let app = format!("{name}-app");
        repository.paasctl(&olga, &["apps:create", &app]).ok();
        let pushed = repository.push(&olga, "master").ok();
        has_the_usual_shape(&pushed);
        pushed.says(&format!("-----> Done, {app}:v1 deployed"));
        let (status, body) = cluster.get(&format!("{app}.{}", cluster.domain()), "/");
        assert_eq!((status, body.contains(answer)), (200, true), "{name}: {body}");
        if name != "python" {
            continue;
        }
        step("a push of what serves already says so and does nothing");
        let again = repository.push(&olga, "master:main").ok();
        again.says("v1 is this very commit and serves already");
        repository.push(&olga, "master").ok().says("Everything up-to-date");
        olga.does(&["config:set", "-a", &app, "GREETING=ahoy"]).ok();
        let releases = olga.does(&["releases", "-a", &app, "--json"]).ok().json();
        assert_eq!(rows(&releases).len(), 2, "{releases}");
        let (_, body) = cluster.get(&format!("{app}.{}", cluster.domain()), "/");
        assert_eq!(body, "python says ahoy");
    }
}

/// Steps have an arrow, details are indented below them, troubles have a mark.
#[track_caller]
fn has_the_usual_shape(pushed: &Output) {
    let lines = pushed.stderr.lines().filter_map(|line| line.strip_prefix("remote: "));
    let lines: Vec<&str> = lines.map(str::trim_end).collect();
    assert!(!lines.is_empty(), "{pushed:?}");
    for line in lines {
        let starts = ["-----> ", "       ", " !     "];
        assert!(line.is_empty() || starts.iter().any(|start| line.starts_with(start)), "{line:?}");
    }
}

#[test]
fn a_push_that_cannot_succeed_says_why_and_leaves_the_old_version_serving() {
    let cluster = Cluster::up_with("refuse", 21800, &[("TRIREME_BUILDER_MAX_PUSH", "2M")]);
    let olga = Person::registered(&cluster, "olga");
    let files = [("Procfile", PLAIN), ("index.html", "first")];
    let app = Repository::deployed(&olga, "app", &files);
    let shop = Shop { cluster: &cluster, olga: &olga, app };
    failing_versions(&shop);
    refused_pushes(&shop);
    strangers(&shop);
    cut_off_pushes(&shop);
}

struct Shop<'a> {
    cluster: &'a Cluster,
    olga: &'a Person<'a>,
    app: Repository,
}

impl Shop<'_> {
    #[track_caller]
    fn still_serves(&self) {
        let answer = self.cluster.get(&format!("app.{}", self.cluster.domain()), "/index.html");
        assert_eq!(answer, (200, "first".to_owned()));
    }

    /// A failing push; the old version serves on.
    #[track_caller]
    fn fails_with(&self, files: &[(&str, &str)], text: &str) -> Output {
        self.app.commit(files);
        let failed = self.app.push(self.olga, "master").fails_with(text);
        has_the_usual_shape(&failed);
        self.still_serves();
        failed.says(" !     ")
    }

    fn releases(&self) -> Vec<Value> {
        rows(&self.olga.does(&["releases", "-a", "app", "--json"]).ok().json()).clone()
    }
}

fn failing_versions(shop: &Shop<'_>) {
    step("a build that fails");
    let dockerfile = "FROM trireme/stack:12\nRUN echo tried-and && exit 7\n";
    shop.fails_with(&[("Dockerfile", dockerfile)], "tried-and").says("exit code 7");
    std::fs::remove_file(shop.app.folder().join("Dockerfile")).unwrap();

    step("a release phase that fails");
    let procfile = format!("{PLAIN}release: echo migrating && exit 3\n");
    shop.fails_with(&[("Procfile", &procfile)], "migrating");

    step("a version that crashes");
    shop.fails_with(&[("Procfile", "web: echo goodbye && exit 1\n")], "goodbye");
    let failed = &shop.releases()[0];
    assert_eq!((&failed["state"], &failed["current"]), (&"failed".into(), &false.into()));
    assert_eq!(failed["release"], "v3", "failed releases keep their numbers");

    step("a version that never listens");
    shop.olga.does(&["checks:set", "-a", "app", "web", "tcp", "--grace", "1"]).ok();
    shop.fails_with(&[("Procfile", "web: sleep 1000\n")], "nothing listens on port");
}

fn refused_pushes(shop: &Shop<'_>) {
    let app = &shop.app;
    step("a Procfile that cannot be read");
    shop.fails_with(&[("Procfile", "web python\n")], "Procfile");

    step("a branch that does not deploy");
    app.push(shop.olga, "master:topic").fails_with(" !     `refs/heads/topic` does not deploy");
    app.push(shop.olga, ":master").fails_with("branch `master` cannot be deleted");

    step("a submodule");
    app.commit(&[("Procfile", PLAIN)]);
    let entry = format!("160000,{},vendor/lib", app.head());
    app.git(&["update-index", "--add", "--cacheinfo", &entry]).ok();
    app.git(&["commit", "-q", "-m", "a submodule"]).ok();
    app.push(shop.olga, "master").fails_with("vendor/lib");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();

    step("a push larger than the limit");
    let noise = app.folder().join("noise");
    let head = std::fs::File::open("/dev/urandom").unwrap();
    let mut file = std::fs::File::create(&noise).unwrap();
    std::io::copy(&mut head.take(3 << 20), &mut file).unwrap();
    app.commit(&[]);
    app.push(shop.olga, "master").fails_with(" !     the push is larger than 2M");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();

    step("nothing that can be built");
    let empty = Repository::new(shop.olga, "empty", &[("notes.txt", "nothing here")]);
    shop.olga.does(&["apps:create", "empty", "--no-remote"]).ok();
    empty.remote(shop.olga, "empty");
    empty.push(shop.olga, "master").fails_with("Procfile");

    step("none of them left a lock behind");
    app.commit(&[("note.txt", "as before")]);
    app.push(shop.olga, "master").ok().says("deployed");
}

fn strangers(shop: &Shop<'_>) {
    step("an app that does not exist, and a key without rights");
    let remote = |app: &str| {
        let url = format!("ssh://git@localhost:{}/{app}.git", shop.cluster.port + 2);
        shop.app.git(&["remote", "set-url", "deis", &url]).ok();
    };
    remote("ghost");
    shop.app.push(shop.olga, "master").fails_with(" !     there is no app `ghost`");
    remote("app");
    shop.olga.does(&["registration:open"]).ok();
    let sam = Person::registered(shop.cluster, "sam");
    shop.app.push(&sam, "master").fails_with(" !     there is no app `app`");
    let stranger = Person::new(shop.cluster, "stranger");
    stranger.new_key("ed25519");
    shop.app.push(&stranger, "master").fails_with("Permission denied");
}

fn cut_off_pushes(shop: &Shop<'_>) {
    step("a second push during a build");
    let first = Building::start(shop, 5);
    let second = shop.app.push(shop.olga, "master");
    second.fails_with(" !     `app` is busy: another push is being built");
    assert!(first.ends(), "the first push is not disturbed");

    step("whoever goes away during a build takes it along");
    let cut = Building::start(shop, 600);
    let ssh = cut.ssh();
    kill(cut.push.id());
    // OpenSSH tells nobody but its own server that its reader is gone; what goes with it is told.
    kill(ssh);
    cut.leaves_nothing(shop);

    step("a builder that is killed during a build leaves the app deployable");
    let cut = Building::start(shop, 600);
    shop.cluster.kill("builder");
    cut.leaves_nothing(shop);
}

/// A push whose build is at a step that takes its time.
struct Building {
    push: Child,
    /// The step's process, as `ps` shows it.
    process: String,
    releases: usize,
}

impl Building {
    #[track_caller]
    fn start(shop: &Shop<'_>, seconds: u32) -> Building {
        let releases = shop.releases().len();
        // Another step each time, or the engine knows it already.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let process = format!("sleep {seconds}.{:09}", now.subsec_nanos());
        let dockerfile = format!(
            "FROM trireme/stack:12\nRUN echo working && {process}\nCOPY index.html .\n\
             CMD [\"python3\", \"-m\", \"http.server\", \"5000\"]\n"
        );
        shop.app.commit(&[("Dockerfile", &dockerfile)]);
        let mut push = shop.app.push_command(shop.olga, "master");
        let mut push = push.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(push.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = Vec::new();
        let is_working = lines.by_ref().any(|line| {
            seen.push(line);
            seen.last().is_some_and(|line| line.trim_end() == "remote:        working")
        });
        assert!(is_working, "the build's output comes while it runs: {seen:#?}");
        std::thread::spawn(move || lines.for_each(drop));
        Building { push, process, releases }
    }

    fn is_running(&self) -> bool {
        let listed = run(Command::new("ps").args(["-eo", "args"])).ok().stdout;
        listed.lines().any(|line| line.trim() == self.process)
    }

    /// The ssh that git started through a shell.
    fn ssh(&self) -> u32 {
        let child = |of: u32| {
            let listed = run(Command::new("pgrep").args(["-P", &of.to_string()])).ok().stdout;
            listed.trim().parse().unwrap()
        };
        child(child(self.push.id()))
    }

    /// Whether the push went well.
    fn ends(mut self) -> bool {
        self.push.wait().unwrap().success()
    }

    /// The push fails, nothing of its build runs, nothing came of it, and the next push deploys.
    fn leaves_nothing(self, shop: &Shop<'_>) {
        until("nothing of the build runs", || (!self.is_running()).then_some(()));
        let releases = self.releases;
        assert!(!self.ends());
        std::fs::remove_file(shop.app.folder().join("Dockerfile")).unwrap();
        shop.app.commit(&[]);
        until("the next push deploys", || {
            let next = shop.app.push(shop.olga, "master");
            let is_early = next.stderr.contains("another push is being built")
                || next.stderr.contains("Connection refused");
            assert!(next.code == Some(0) || is_early, "{next:#?}");
            (next.code == Some(0)).then_some(())
        });
        assert_eq!(shop.releases().len(), releases + 1);
        shop.still_serves();
    }
}

#[track_caller]
fn kill(pid: u32) {
    run(Command::new("kill").args(["-KILL", &pid.to_string()])).ok();
}
