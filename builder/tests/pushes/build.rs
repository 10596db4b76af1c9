//! Real pushes over real SSH, built by the real Docker Engine on the stack image.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::Once,
    time::Instant,
};

use crate::support::{
    World,
    client::{Person, run},
};
use proto::problem::{Code, Problem};
use rustix::process::{Pid, Signal, kill_process_group};

const PROCFILE: (&str, &str) =
    ("Procfile", "web: python3 -m http.server $PORT\nworker: sleep 1 && sleep 2\n");
/// Builds for as long as nobody stops it, and can be seen in the process list.
const SLOW: (&str, &str) =
    ("Dockerfile", "FROM trireme/stack:12\nRUN echo building; sleep 612.5\nCMD [\"true\"]\n");

fn world() -> World {
    static WARM: Once = Once::new();
    // The stack image is sent to the registry once, before tests do it at the same time.
    WARM.call_once(|| {
        let world = World::new(&[]);
        world.gateway.app("warm", "amy");
        let amy = Person::known(&world, "amy");
        amy.commit(&[PROCFILE]);
        amy.push("warm", "master").must(true, &["warm:v1 deployed"]);
    });
    let world = World::new(&[]);
    world.gateway.app("shop", "amy");
    world
}

/// The pushed image, started with a command: what it says.
fn in_image(world: &World, command: &[&str]) -> String {
    let image = world.gateway.last_build().image;
    let mut docker = Command::new("docker");
    docker
        .args(["run", "--rm", "--network=none", "--label=trireme-builder-test", &image])
        .args(command);
    let said = run(&mut docker);
    said.must(true, &[]);
    said.text
}

/// A push that runs in the background.
fn start_push(person: &Person, app: &str) -> Child {
    let mut push = person.git_command(&["push", &person.remote(app), "master"]);
    push.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

fn is_building() -> bool {
    run(Command::new("ps").args(["-eo", "args"]))
        .text
        .lines()
        .any(|line| line.trim() == "sleep 612.5")
}

#[test]
fn a_procfile_app_is_built_pushed_and_released() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let commit =
        amy.commit(&[PROCFILE, ("index.txt", "hello"), (".slugignore", "*.psd\n"), ("a.psd", "x")]);
    amy.push("shop", "master").must(
        true,
        &[
            "-----> Procfile found",
            "       Procfile -> web, worker",
            "       web.1 is ready",
            "-----> Done, shop:v1 deployed",
            "       http://shop.apps.localhost",
        ],
    );
    let build = world.gateway.last_build();
    assert_eq!(build.commit.as_deref(), Some(commit.as_str()));
    assert!(
        build.image.starts_with(&format!("{}/shop@sha256:", world.registry)),
        "{}",
        build.image
    );
    let commands: Vec<String> =
        build.processes.values().map(|command| command.as_ref().unwrap().0[2].clone()).collect();
    assert_eq!(commands, ["exec python3 -m http.server $PORT", "sleep 1 && sleep 2"]);
    let owner = in_image(&world, &["stat", "-c", "%U %n", "/app/index.txt", "/app"]);
    assert_eq!(owner, "app /app/index.txt\napp /app\n");
    assert_eq!(in_image(&world, &["ls", "/app"]), "Procfile\nindex.txt\n");
    let done = "shop build -----> Done, shop:v1 deployed";
    world.until("the log has the build", || {
        world.gateway.state().lines.iter().any(|line| line == done)
    });
    let environment = in_image(&world, &["env"]);
    assert!(!environment.contains("SECRET"), "{environment}");
}

#[test]
fn python_dependencies_are_installed_once_and_reused() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let web = ("Procfile", "web: python app.py");
    amy.commit(&[web, ("requirements.txt", "itsdangerous==2.2.0\n"), ("app.py", "print(1)")]);
    amy.push("shop", "master").must(true, &["-----> Python app detected"]);
    assert_eq!(
        in_image(&world, &["python", "-c", "import itsdangerous, os; print(os.getuid())"]),
        "1000\n"
    );
    let marker = in_image(&world, &["stat", "-c", "%Y.%i", "/home/app/venv/bin/python"]);
    amy.commit(&[("app.py", "print(2)")]);
    amy.push("shop", "master")
        .must(true, &["       Dependencies are unchanged", "shop:v2 deployed"]);
    assert_eq!(in_image(&world, &["stat", "-c", "%Y.%i", "/home/app/venv/bin/python"]), marker);
    assert_eq!(in_image(&world, &["python", "app.py"]), "2\n");
}

#[test]
fn node_packages_are_installed_and_the_start_script_runs() {
    let world = world();
    let amy = Person::known(&world, "amy");
    // Anew with each run, or the engine has it all already.
    let build = format!("echo \\\"length ${{#SECRET}}\\\" {}", world.folder.path().display());
    let package = format!(
        r#"{{"name":"a","version":"1.0.0","scripts":{{"start":"node a.js","build":"{build}"}},"dependencies":{{"ms":"2.1.3"}}}}"#
    );
    amy.commit(&[("package.json", &package), ("a.js", "console.log(require('ms')('1s'))")]);
    amy.push("shop", "master").must(
        true,
        &["-----> Node app detected", " !     no package-lock.json", "       length 6"],
    );
    let build = world.gateway.last_build();
    let command = build.processes.values().next().unwrap().clone().unwrap().0;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(in_image(&world, &words), "1000\n");
    assert!(!in_image(&world, &["env"]).contains("SECRET"));
    let leaked =
        in_image(&world, &["sh", "-c", "grep -rl hidden /app /home/app /run /tmp || echo none"]);
    assert_eq!(leaked, "none\n");
}

#[test]
fn a_dockerfile_is_followed_and_its_port_and_command_are_read() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let step = format!("RUN echo from-the-build; : {}", world.folder.path().display());
    let file = format!(
        "FROM trireme/stack:12\nCOPY . /app/\n{step}\nEXPOSE 8080\nCMD [\"cat\", \"/app/a\"]\n"
    );
    amy.commit(&[
        ("Dockerfile", &file),
        ("a", "content\n"),
        (".dockerignore", "secret\n"),
        ("secret", "x"),
    ]);
    amy.push("shop", "master").must(
        true,
        &["-----> Dockerfile found", "RUN echo from-the-build", "       from-the-build"],
    );
    let build = world.gateway.last_build();
    assert_eq!(build.exposed_port, Some(8080));
    assert!(build.processes.values().all(Option::is_none) && build.processes.len() == 1);
    assert_eq!(in_image(&world, &[]), "content\n");
    assert!(!in_image(&world, &["ls", "/app"]).contains("secret"));
}

#[test]
fn a_failing_build_names_its_step_and_changes_nothing() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[(
        "Dockerfile",
        "FROM trireme/stack:12\nRUN echo the reason; exit 3\nCMD [\"true\"]\n",
    )]);
    let said = amy.push("shop", "master");
    said.must(
        false,
        &[
            "       the reason",
            " !     the build failed: `RUN echo the reason; exit 3` ended with exit code 3",
            "pre-receive hook declined",
        ],
    );
    assert!(world.gateway.lock_of("shop").is_none());
    assert_eq!((world.gateway.called("abandon shop"), world.gateway.called("finish shop")), (1, 0));
    assert_eq!(amy.git(&["ls-remote", &amy.remote("shop")]).text, "");
}

#[test]
fn a_failing_rollout_fails_the_push_with_the_units_last_lines() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[PROCFILE]);
    let problem = Problem::new(Code::Crashed, "web.1 ended with exit code 1 twice")
        .hint("Look at its lines")
        .details(vec!["Traceback".to_owned()]);
    world.gateway.state().rollout = Some(problem);
    amy.push("shop", "master").must(
        false,
        &[
            " !     web.1 ended with exit code 1 twice",
            " !     Look at its lines",
            "       Traceback",
        ],
    );
    amy.push("shop", "master").must(true, &["shop:v1 deployed"]);
}

#[test]
fn a_client_that_goes_away_ends_its_build_and_frees_the_app() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[SLOW]);
    let mut push = start_push(&amy, "shop");
    world.until("the build runs", is_building);
    let second = Person::known(&world, "amy");
    second.commit(&[PROCFILE]);
    second.push("shop", "master").must(false, &[" !     a deploy is under way"]);
    // As Ctrl-C does: git and its ssh together.
    let group = Pid::from_child(&push);
    kill_process_group(group, Signal::INT).unwrap();
    push.wait().unwrap();
    let start = Instant::now();
    world.until("the lock is given up", || world.gateway.lock_of("shop").is_none());
    let took = start.elapsed();
    world.until("nothing of the build runs", || !is_building());
    eprintln!("lock given up after {took:?}, all ended after {:?}", start.elapsed());
    second.push("shop", "master").must(true, &["shop:v1 deployed"]);
}

#[test]
fn a_builder_that_is_killed_leaves_the_app_deployable() {
    let mut world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[(SLOW.0, &SLOW.1.replace("612.5", "613.5"))]);
    let mut push = start_push(&amy, "shop");
    let seen = || {
        run(Command::new("ps").args(["-eo", "args"]))
            .text
            .lines()
            .any(|line| line.trim() == "sleep 613.5")
    };
    world.until("the build runs", seen);
    world.kill();
    assert!(!push.wait().unwrap().success());
    world.until("nothing of the build runs", || !seen());
    world.gateway.state().apps.get_mut("shop").unwrap().lock = None; // it lapses
    world.start();
    let objects = world.repository("shop").join("objects");
    let stale = std::fs::read_dir(objects)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("tmp_"));
    assert_eq!(stale.count(), 0);
    amy.commit(&[("Dockerfile", "FROM trireme/stack:12\nCMD [\"true\"]\n")]);
    amy.push("shop", "master").must(true, &["shop:v1 deployed"]);
}

#[test]
fn a_build_that_lost_its_lock_ends() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[(SLOW.0, &SLOW.1.replace("612.5", "614.5"))]);
    world.gateway.state().lose_lock = true;
    amy.push("shop", "master").must(false, &[" !     the build lost its place"]);
    assert_eq!(world.gateway.called("finish shop"), 0);
}

#[test]
fn builds_beyond_the_limit_wait_in_line_and_a_long_one_is_ended() {
    let world = World::new(&[("PARALLEL", "1"), ("BUILD_TIMEOUT", "60s")]);
    world.gateway.app("first", "amy");
    world.gateway.app("second", "amy");
    let amy = Person::known(&world, "amy");
    amy.commit(&[(SLOW.0, &SLOW.1.replace("612.5", "615.5"))]);
    let push = amy
        .git_command(&["push", &amy.remote("first"), "master"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    world.until("the first build runs", || {
        world.gateway.state().lines.iter().any(|line| line.contains("building"))
    });
    let second = Person::known(&world, "amy");
    second.commit(&[PROCFILE]);
    second.push("second", "master").must(
        true,
        &[
            "-----> Waiting in line: 1 builds are running, 0 wait before this one",
            "second:v1 deployed",
        ],
    );
    let output = push.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("the build took longer than"), "{text}");
}

#[test]
fn sessions_leave_no_process_and_no_socket_behind() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[PROCFILE]);
    assert!(amy.push("shop", "master").ok);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count();
    let before = open();
    for number in 0..4 {
        amy.commit(&[("number", &number.to_string())]);
        assert!(amy.push("shop", "master").ok);
    }
    world.until("descriptors are given back", || open() <= before);
}
