//! Two of three nodes are gone for good: the last one goes on, what comes back with an old disk is let in nowhere, and fresh machines
//! take their places. The runbooks `lost-two-nodes` and `replace-a-node`, as they are written.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use tests::lab::{Host, Lab};
use tests::{DEMO, kill_at, program, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 47;
const GREETING: &str = "Nothing lost";

/// Clears the lab whatever happens.
struct Down(Lab);

impl Drop for Down {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.0.hosts() {
                for name in ["etcd", "controller", "agent", "supervisor"] {
                    let said = run(&mut host.clusterctl(&["logs", "-n", "15", name])).stdout;
                    step(&format!("{} of {} said\n{said}", name, host.name));
                }
            }
        }
        let down = self.0.down();
        assert!(down.is_ok() || std::thread::panicking(), "{down:?}");
    }
}

#[test]
fn the_last_node_goes_on_and_fresh_ones_take_the_places_of_the_lost() {
    let folder = tempfile::Builder::new().prefix("lab-").tempdir_in("/var/tmp").unwrap();
    let lab = Lab {
        number: NUMBER,
        nodes: 3,
        data: folder.path().join("lab"),
        programs: program("clusterctl").parent().unwrap().to_owned(),
    };
    let _down = Down(lab.clone());
    step("up");
    Lab::up(lab.clone()).unwrap();
    let hosts = lab.hosts();
    let [n1, n2, n3] = &hosts[..] else { panic!("there are three hosts") };
    let olga = Olga::registered(folder.path().join("olga"), n1);
    olga.deploys();
    run(&mut n1.clusterctl(&["nodes:label", "n2", "zone=b"])).ok();
    run(&mut n1.clusterctl(&["recover"])).fails_with("the store has its quorum");

    step("two nodes lose their power");
    n2.power_off().unwrap();
    n3.power_off().unwrap();
    until("changes are refused with the way out", || {
        let refused = olga.does(&["config:set", "-a", "shop", "NEVER=1"]);
        (refused.stderr.contains("clusterctl recover")).then_some(())
    });
    run(&mut n1.clusterctl(&["recover", "--confirm-dead", "n2,n3"])).fails_with("Try again in");
    until("the quorum is gone for long enough", || {
        let asked = run(&mut n1.clusterctl(&["recover"]));
        asked.stderr.contains("--confirm-dead n2,n3").then_some(())
    });
    run(&mut n1.clusterctl(&["recover", "--confirm-dead", "n2"])).fails_with("they are n2,n3");

    step("the last one goes on, although the command is killed half-way");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut answers = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                answers.push(visit(n1));
            }
            answers
        });
        kill_at("starting etcd once", &mut n1.clusterctl(&["recover", "--confirm-dead", "n2,n3"]));
        run(&mut n1.clusterctl(&["doctor"])).fails_with("`clusterctl recover --data");
        let began = std::time::Instant::now();
        let recovered = run(&mut n1.clusterctl(&["recover"])).ok();
        recovered.says("Going on with").says("goes on with this node, as incarnation `2.");
        step(&format!("recovered after {:.1?}", began.elapsed()));
        olga.does(&["config:set", "-a", "shop", "AFTER=1"]).ok();
        step(&format!("a change was settled after {:.1?}", began.elapsed()));
        is_over.store(true, Ordering::SeqCst);
        let answers = visitor.join().unwrap();
        let failed: Vec<_> = answers.iter().filter(|answer| !is_greeting(answer)).collect();
        assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), answers.len());
    });
    let config = olga.does(&["config", "-a", "shop"]).ok();
    config.says("GREETING").says("AFTER");
    run(&mut n1.clusterctl(&["recover"])).fails_with("the store has its quorum");

    step("a lost node comes back with its old disk, and is let in nowhere");
    let refused = n2.start().unwrap_err().to_string();
    assert!(refused.contains("clusterctl nodes:replace n2"), "{refused}");
    run(&mut n2.clusterctl(&["doctor"])).fails_with("clusterctl down --wipe --confirm n2");
    assert_eq!(n1.ready_nodes(), 1);
    assert!(is_greeting(&visit(n1)));

    step("wiped, both join again");
    let promoted = promotions(n1);
    for host in [n2, n3] {
        let made = run(&mut n1.clusterctl(&["nodes:replace", &host.name, "--json"])).ok().json();
        host.boot().unwrap();
        run(&mut host.clusterctl(&["down", "--wipe", "--confirm", &host.name])).ok();
        host.join(made["token"].as_str().unwrap()).unwrap();
    }
    lab.wait_until_whole().unwrap();
    let info = run(&mut n1.clusterctl(&["nodes:info", "n2", "--json"])).ok().json();
    assert_eq!(info["labels"]["zone"], "b");
    until("the store has three members that vote", || {
        (promotions(n1) == promoted + 2).then_some(())
    });
    run(&mut n1.clusterctl(&["nodes:replace", "n3"]))
        .fails_with("this is for a machine that is gone");

    step("one of the three is lost, and replaced");
    n1.power_off().unwrap();
    until("it is out of the cluster", || {
        let replaced = run(&mut n2.clusterctl(&["nodes:replace", "n1"]));
        let is_done = replaced.code == Some(0) && replaced.stdout.contains("clusterctl join");
        is_done.then_some(())
    });
    run(&mut n3.clusterctl(&["nodes:label", "n3", "zone=c"])).ok();
    let nodes = run(&mut n3.clusterctl(&["nodes", "--json"])).ok().json();
    let names: Vec<_> = tests::rows(&nodes).iter().map(|node| node["name"].clone()).collect();
    assert_eq!(names, ["n2", "n3"]);
}

/// How many members the controller of a host has given a vote.
fn promotions(host: &Host) -> usize {
    let said = run(&mut host.clusterctl(&["logs", "-n", "100000", "controller"])).ok().stdout;
    said.matches("the store has one more member").count()
}

/// What a visitor of the app gets on a host: status and body.
fn visit(host: &Host) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]);
    command.args([
        "--connect-to",
        &format!("::{}:80", host.address),
        "http://shop.apps.localhost/",
    ]);
    let output = run(&mut command);
    let (body, code) = output.stdout.rsplit_once('\n').unwrap_or_default();
    (code.to_owned(), format!("{body}{}", output.stderr))
}

fn is_greeting((code, body): &(String, String)) -> bool {
    code == "200" && body.contains(GREETING)
}

/// Somebody with an app, on this machine.
struct Olga {
    home: PathBuf,
    git: String,
}

impl Olga {
    fn registered(home: PathBuf, host: &Host) -> Olga {
        std::fs::create_dir_all(&home).unwrap();
        let olga = Olga { home, git: format!("ssh://git@{}:2222/shop.git", host.address) };
        let mut register = olga.paasctl(&["register", &host.api(), "--username", "olga"]);
        register.args(["--password", "correct horse battery", "--email", "olga@example.com"]);
        run(register.arg("--ca-file").arg(host.ca_file())).ok();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "olga@laptop", "-f"]);
        run(keygen.arg(olga.home.join("key"))).ok();
        run(olga.paasctl(&["keys:add"]).arg(olga.home.join("key.pub"))).ok();
        olga
    }

    fn deploys(&self) {
        step("an app is deployed");
        self.does(&["apps:create", "shop", "--no-remote"]).ok();
        let greeting = format!("GREETING={GREETING}");
        self.does(&["config:set", "-a", "shop", &greeting]).ok();
        for (path, text) in DEMO {
            std::fs::write(self.home.join(path), text).unwrap();
        }
        let ssh = format!(
            "ssh -F none -i {0}/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={0}/known_hosts",
            self.home.display()
        );
        for arguments in [
            &["init", "-q", "-b", "master"][..],
            &["add", "Procfile", "server.py", "worker.py"],
            &["-c", "user.name=Olga", "-c", "user.email=olga@example.com", "commit", "-qm", "shop"],
            &["push", &self.git, "master"],
        ] {
            let mut git = Command::new("git");
            run(git.current_dir(&self.home).args(arguments).env("GIT_SSH_COMMAND", &ssh)).ok();
        }
        self.does(&["scale", "-a", "shop", "web=3"]).ok();
    }

    fn paasctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("paasctl"));
        command.args(arguments).current_dir(&self.home).env("TRIREME_HOME", &self.home);
        command.env_remove("TRIREME_APP");
        command
    }

    fn does(&self, arguments: &[&str]) -> tests::Output {
        run(&mut self.paasctl(arguments))
    }
}
