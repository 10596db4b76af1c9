//! One-off commands, logs, and the walls around everything that runs in an app's name.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tests::{Cluster, DEMO, Person, Repository, Terminal, run, step, until};

#[test]
fn commands_run_and_logs_are_read_within_walls() {
    let cluster = Cluster::up("talk", 22400);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    commands(&cluster, &olga);
    terminals(&cluster, &olga);
    logs(&cluster, &olga, &app);
    walls(&cluster, &olga);
    shells(&cluster, &olga, &app);
}

fn commands(cluster: &Cluster, olga: &Person<'_>) {
    step("a one-off command gives its bytes and its exit code");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let echoed = olga.does_with_input(&["run", "-a", "app", "--", "cat"], &bytes).ok();
    assert_eq!(echoed.stdout_bytes, bytes);
    let failed =
        olga.does(&["run", "-a", "app", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(
        (failed.code, failed.stdout.as_str(), failed.stderr.as_str()),
        (Some(42), "out\n", "err\n")
    );
    let spaced = olga.does(&["run", "-a", "app", "--", "printf", "%s|", "a b", "$HOME", "c"]).ok();
    assert_eq!(spaced.stdout, "a b|$HOME|c|");

    step("a detached one goes on alone, and its output is in the log");
    let line = ["run", "-a", "app", "--detach", "--", "sh", "-c", "sleep 1; echo from afar"];
    let said = olga.does(&line).ok().stdout;
    let name = said.split_whitespace().find(|word| word.starts_with("run.")).unwrap();
    let name = name.trim_end_matches('.');
    until("its output is in the log", || {
        let lines = olga.does(&["logs", "-a", "app", "--ps", name]).ok().stdout;
        lines.contains("from afar").then_some(())
    });
    until("nothing of it is left", || (!oneoffs(cluster)).then_some(()));
}

fn terminals(cluster: &Cluster, olga: &Person<'_>) {
    step("at a terminal it has one too, as large as the window is");
    let at_terminal = |command: &[&str]| {
        let line = [&["run", "-a", "app", "--"], command].concat();
        Terminal::start(&olga.paasctl(&line), 31, 97)
    };
    let mut terminal = at_terminal(&["bash", "--norc", "-i"]);
    terminal.types("tty; stty size\r");
    terminal.shows("/dev/pts/");
    terminal.shows("31 97");
    terminal.resize(43, 131);
    // The new size goes its own way: asked until it is there.
    terminal.types("until stty size | grep 43; do sleep .1; done\r");
    terminal.shows("43 131");
    step("keys arrive as keys, and the exit code comes back");
    terminal.types("echo as''leep; sleep 1000\r");
    terminal.shows("asleep");
    terminal.types("\x03");
    terminal.shows("^C");
    terminal.types("echo after=$?\r");
    terminal.shows("after=130");
    terminal.types("exit 17\r");
    assert_eq!(terminal.ends(), Some(17));

    step("it dies with its session");
    let mut terminal = at_terminal(&["sh", "-c", "echo here; sleep 1000"]);
    terminal.shows("here");
    assert!(oneoffs(cluster));
    run(Command::new("kill").args(["-KILL", &terminal.pid().to_string()])).ok();
    until("nothing of it is left", || (!oneoffs(cluster)).then_some(()));
}

/// Whether containers of one-off commands are there.
fn oneoffs(cluster: &Cluster) -> bool {
    let node = format!("label=trireme.node={}", cluster.name);
    let mut docker = Command::new("docker");
    docker.args(["ps", "-aq", "--filter", &node, "--filter", "label=trireme.oneoff"]);
    !run(&mut docker).ok().stdout.is_empty()
}

fn logs(cluster: &Cluster, olga: &Person<'_>, app: &Repository) {
    let host = format!("app.{}", cluster.domain());
    let lines = |more: &[&str]| {
        let said = olga.does(&[&["logs", "-a", "app"], more].concat()).ok().stdout;
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let holds = |more: &[&str], text: &str| lines(more).iter().any(|line| line.contains(text));
    step("logs -f shows lines as they come, of all that was asked for and nothing else");
    app.paasctl(olga, &["scale", "web=2", "worker=1"]).ok();
    let mut follower = olga.paasctl(&["logs", "-a", "app", "-f", "-n", "1", "--ps", "web"]);
    let mut follower = Follower::start(&mut follower);
    cluster.get(&host, "/first-mark");
    follower.shows("first-mark");
    step("a logger that is killed comes back with all lines, and followers go on");
    let marked = |mark: &str| until(mark, || holds(&["-n", "1000"], mark).then_some(()));
    marked("first-mark");
    let pid = cluster.kill("logger");
    until("the logger runs again", || cluster.pid("logger").filter(|new| *new != pid));
    cluster.get(&host, "/second-mark");
    follower.shows("second-mark");
    follower.ends();
    marked("second-mark");
    assert!(holds(&["-n", "1000"], "first-mark"), "lines survive the logger");
    step("a restart of the units keeps their lines");
    app.paasctl(olga, &["ps:restart", "web"]).ok();
    assert!(holds(&["-n", "1000", "--ps", "web"], "first-mark"), "lines survive their unit");
    until("their last lines", || {
        holds(&["-n", "1000", "--ps", "web"], "every request is answered").then_some(())
    });
    step("logs by number, by process and by time");
    assert_eq!(lines(&["-n", "3"]).len(), 3);
    for unit in ["web.1", "web.2", "worker.1"] {
        let of_unit = lines(&["-n", "20", "--ps", unit]);
        let head = format!(" {unit}: ");
        assert!(
            !of_unit.is_empty() && of_unit.iter().all(|line| line.contains(&head)),
            "{of_unit:?}"
        );
    }
    assert!(holds(&["--ps", "build"], "deployed") && holds(&["--ps", "platform"], "olga"));
    let now = run(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"])).ok().stdout;
    cluster.get(&host, "/third-mark");
    until("the newest line", || holds(&["--since", now.trim()], "third-mark").then_some(()));
    assert!(!holds(&["--since", now.trim()], "second-mark"), "older lines are left out");
    assert!(holds(&["--since", "1h"], "first-mark"));
}

/// `paasctl logs -f`, read as it speaks.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(command: &mut Command) -> Follower {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }

    /// Reads until a line has `text`; the test's own time limit ends a wait in vain.
    fn shows(&mut self, text: &str) {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| {
            let is_notice = line.contains("platform: lines of node");
            assert!(is_notice || line.contains(" web."), "another process's line: {line}");
            line.contains(text)
        });
        assert!(found.is_some(), "the follower ended before `{text}`");
    }

    fn ends(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it goes on by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An app whose image wants to be root.
const ROOTED: &str =
    "FROM trireme/stack:12\nUSER root\nCMD [\"python3\", \"-m\", \"http.server\", \"5000\"]\n";
/// The six capabilities that an ordinary image needs, as the kernel writes them.
const CAPABILITIES: &str = "00000000000004cb";

fn walls(cluster: &Cluster, olga: &Person<'_>) {
    step("root in a container is root of nothing");
    Repository::deployed(olga, "rooted", &[("Dockerfile", ROOTED)]);
    let inside = |script: &str| olga.does(&["run", "-a", "rooted", "--", "sh", "-c", script]);
    let oneoff = inside("id -u; cat /proc/self/status").ok().stdout;
    let (user, oneoff) = oneoff.split_once('\n').unwrap();
    assert_eq!(user, "0");
    let web = run(in_container(cluster, "rooted").args(["cat", "/proc/1/status"])).ok().stdout;
    for status in [oneoff, &web] {
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(of(set), CAPABILITIES, "{set} {status}");
        }
        assert_eq!((of("CapAmb:").as_str(), of("NoNewPrivs:").as_str()), ("0000000000000000", "1"));
        assert_eq!(of("Seccomp:"), "2", "{status}");
    }
    inside("mknod /tmp/disk b 7 0").fails_with("not permitted");
    inside("echo 1 > /proc/sys/net/ipv4/ip_forward").fails_with("Read-only");
    inside("chown app /tmp").ok();
    step("a fork bomb ends at its own wall");
    inside("for number in $(seq 600); do sleep 100 & done; echo all of them").fails_with("fork");
    inside("for number in $(seq 300); do sleep 100 & done; echo all of them").ok();

    step("no part talks to somebody without a certificate of the cluster");
    let identity = cluster.data().join("identity/agent");
    let file = |name: &str| identity.join(name).display().to_string();
    for port in (cluster.port + 10)..(cluster.port + 14) {
        let address = format!("https://127.0.0.1:{port}/");
        assert_eq!(cluster.curl(&["-k", "--http2", &address]).0, 0, "{port}");
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let known = ["-k", "--http2", "--cert", &certificate, "--key", &key, &address];
        assert_ne!(cluster.curl(&known).0, 0, "{port}");
    }
}

/// `docker exec` into the container of an app's web process.
fn in_container(cluster: &Cluster, app: &str) -> Command {
    let mut docker = Command::new("docker");
    docker.args(["ps", "-q", "--filter", "label=trireme.process=web"]);
    docker.args(["--filter", &format!("label=trireme.app={app}")]);
    docker.args(["--filter", &format!("label=trireme.node={}", cluster.name)]);
    let listed = run(&mut docker).ok().stdout;
    let mut docker = Command::new("docker");
    docker.args(["exec", listed.lines().next().expect("a unit runs")]);
    docker
}

fn shells(cluster: &Cluster, olga: &Person<'_>, app: &Repository) {
    step("what people write is never read by a shell");
    let name = format!("ran-{}", cluster.scratch().file_name().unwrap().display());
    let marker = std::path::Path::new("/tmp").join(&name);
    let path = marker.display();
    let evil = format!(
        "'\"; touch {path}; $(touch {path}) `touch {path}` | touch {path} & $HOME\ntouch {path}"
    );
    // A file's name has no slash; printf makes it.
    let file =
        format!("a'\"; touch $(printf '\\057tmp\\057{name}'); $(touch ${{IFS}}{name}) `id`&.txt");
    app.paasctl(olga, &["config:set", &format!("EVIL={evil}")]).ok();
    app.commit(&[(&file, "a file like any other")]);
    app.push(olga, "master").ok();
    let here = |command: &[&str]| olga.does(&[&["run", "-a", "app", "--"], command].concat());
    assert_eq!(here(&["printenv", "EVIL"]).ok().stdout.trim_end_matches('\n'), evil);
    assert_eq!(here(&["printf", "%s", &evil]).ok().stdout, evil);
    assert_eq!(here(&["cat", &file]).ok().stdout, "a file like any other");
    olga.does(&["apps:create", &evil]).fails_with("app name");
    app.paasctl(olga, &["domains:add", &evil]).fails_with("host name");
    app.push(olga, &format!("master:x;touch${{IFS}}{name}")).fails_with("does not deploy");
    let mut ssh = Command::new("sh");
    let port = cluster.port + 2;
    let line = format!(
        "{} -p {port} git@localhost \"git-receive-pack 'app.git'; touch {path}\"",
        olga.ssh_command()
    );
    run(ssh.args(["-c", &line])).fails_with("app's name");
    assert!(!marker.exists(), "something ran on the host");
    run(in_container(cluster, "app").args(["test", "!", "-e"]).arg(&marker)).ok();
}
