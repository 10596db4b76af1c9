//! What can be pushed, and what a push that cannot succeed says.

use std::process::Stdio;

use tests::{Cluster, Person, Repository, rows, run, step, until};

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
        repository.push(&olga, "master").ok().says(&format!("{app}:v1 deployed"));
        let (status, body) = cluster.get(&format!("{app}.{}", cluster.domain()), "/");
        assert_eq!((status, body.contains(answer)), (200, true), "{name}: {body}");
    }

    step("configuration is never baked into an image");
    olga.does(&["config:set", "-a", "python-app", "GREETING=sealed-value"]).ok();
    let info = olga.does(&["releases:info", "-a", "python-app", "v2", "--json"]).ok().json();
    let image = info["image"].as_str().expect("the release has an image").to_owned();
    let inspected =
        run(std::process::Command::new("docker").args(["image", "inspect", &image])).ok();
    assert!(!inspected.stdout.contains("sealed-value"));
    let (_, body) = cluster.get(&format!("python-app.{}", cluster.domain()), "/");
    assert_eq!(body, "python says sealed-value");
}

#[test]
fn a_push_that_cannot_succeed_says_why_and_leaves_the_old_version_serving() {
    let cluster = Cluster::up("refuse", 21800);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::new(&olga, "app", &[("Procfile", PLAIN), ("index.html", "first")]);
    app.paasctl(&olga, &["apps:create", "app"]).ok();
    app.push(&olga, "master").ok();
    let host = format!("app.{}", cluster.domain());
    let still_serves = || assert_eq!(cluster.get(&host, "/index.html"), (200, "first".to_owned()));

    step("a build that fails");
    app.commit(&[("Dockerfile", "FROM trireme/stack:12\nRUN echo tried-and && exit 7\n")]);
    app.push(&olga, "master").fails_with("tried-and");
    still_serves();
    std::fs::remove_file(app.folder().join("Dockerfile")).unwrap();

    step("a release phase that fails");
    app.commit(&[("Procfile", &format!("{PLAIN}release: echo migrating && exit 3\n"))]);
    app.push(&olga, "master").fails_with("migrating");
    still_serves();

    step("a version that crashes");
    app.commit(&[("Procfile", "web: echo goodbye && exit 1\n")]);
    app.push(&olga, "master").fails_with("goodbye");
    still_serves();
    let releases = olga.does(&["releases", "-a", "app", "--json"]).ok().json();
    assert_eq!(rows(&releases)[0]["state"], "failed");
    assert_eq!(rows(&releases)[0]["current"], false);

    step("a version that never listens");
    app.commit(&[("Procfile", "web: sleep 1000\n")]);
    let quick = ["checks:set", "-a", "app", "web", "tcp", "--grace", "1"];
    olga.does(&quick).ok();
    app.push(&olga, "master").fails_with("nothing listens on port");
    still_serves();

    step("a Procfile that cannot be read");
    app.commit(&[("Procfile", "web python\n")]);
    app.push(&olga, "master").fails_with("Procfile");

    step("a submodule");
    app.commit(&[("Procfile", PLAIN)]);
    let head = app.head();
    let entry = format!("160000,{head},vendor/lib");
    app.git(&["update-index", "--add", "--cacheinfo", &entry]).ok();
    app.git(&["commit", "-q", "-m", "a submodule"]).ok();
    app.push(&olga, "master").fails_with("vendor/lib");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();

    step("nothing that can be built");
    let empty = Repository::new(&olga, "empty", &[("notes.txt", "nothing here")]);
    olga.does(&["apps:create", "empty", "--no-remote"]).ok();
    empty.remote(&olga, "empty");
    empty.push(&olga, "master").fails_with("Procfile");

    step("an app that does not exist, and a key without rights");
    app.git(&[
        "remote",
        "set-url",
        "deis",
        &format!("ssh://git@localhost:{}/ghost.git", cluster.port + 2),
    ])
    .ok();
    app.push(&olga, "master").fails_with("ghost");
    app.git(&[
        "remote",
        "set-url",
        "deis",
        &format!("ssh://git@localhost:{}/app.git", cluster.port + 2),
    ])
    .ok();
    olga.does(&["registration:open"]).ok();
    let sam = Person::registered(&cluster, "sam");
    app.push(&sam, "master").fails_with("app");
    let stranger = Person::new(&cluster, "stranger");
    run(std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(stranger.key()))
    .ok();
    app.push(&stranger, "master").fails_with("Permission denied");

    step("a second push during a build");
    // No step of an earlier run is in the build cache.
    let now = format!("{:?}", std::time::SystemTime::now());
    let now = now.replace(|letter: char| !letter.is_ascii_digit(), "");
    app.commit(&[("Dockerfile", &"FROM trireme/stack:12\nRUN echo NOW && sleep 8\nCMD [\"python3\", \"-m\", \"http.server\", \"5000\"]\n".replace("NOW", &now))]);
    let mut first = app.push_command(&olga, "master");
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the second push is refused", || {
        let second = app.push(&olga, "master");
        (second.code != Some(0) && second.stderr.contains("another")).then_some(())
    });
    assert!(first.wait().unwrap().success(), "the first push is not disturbed");
}
