//! A cluster in a file: written while people work, refused when it is not whole, and a cluster again elsewhere.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tests::person::PASSWORD;
use tests::{Cluster, Person, Repository, run, step, until};

const SERVER: &str = include_str!("../fixtures/daily.py");
const PROCFILE: &str = "web: python3 server.py\n";

#[test]
fn a_cluster_comes_back_from_a_backup_made_under_load() {
    let old = Cluster::up("back", 23600);
    let olga = Person::registered(&old, "olga");
    let files = [("Procfile", PROCFILE), ("server.py", SERVER)];
    let app = Repository::deployed(&olga, "app", &files);
    app.paasctl(&olga, &["config:set", "ODD=sealed and kept"]).ok();
    app.paasctl(&olga, &["domains:add", "www.example.com"]).ok();

    let file = old.scratch().join("backup");
    let (least, most) = back_up_under_load(&old, &app, &olga, &file);
    only_a_whole_backup_is_taken(&old, &file);

    step("it is restored beside the one that was");
    let new = Cluster::to_restore("anew", 23800, &old);
    a_restore_that_is_killed_begins_again(&new, &file);
    let host = format!("app.{}", old.domain());
    until("the app answers with its config", || {
        (new.get(&host, "/odd") == (200, "sealed and kept".to_owned())).then_some(())
    });
    assert_eq!(new.get("www.example.com", "/odd").0, 200, "its domain leads to it");

    step("the people of the old one are known, with their keys and all they did");
    let again = Person::new(&new, "olga");
    let mut login = again.paasctl(&["login", &new.api(), "--username", "olga"]);
    run(login.args(["--password", PASSWORD, "--ca-file"]).arg(new.ca_file())).ok();
    let remote = app.git(&["remote", "get-url", "deis"]).ok().stdout;
    let remote = remote.trim().replace(":23602", ":23802");
    app.git(&["remote", "set-url", "deis", &remote]).ok();
    let count = app.paasctl(&again, &["config:get", "COUNT"]).ok().stdout;
    let count: u32 = count.trim().parse().unwrap();
    assert!((least..=most).contains(&count), "{least} <= {count} <= {most}");
    assert_eq!(
        std::fs::read(new.ca_file()).unwrap(),
        std::fs::read(old.ca_file()).unwrap(),
        "one authority"
    );

    step("a push goes on where the last one ended");
    std::fs::copy(olga.key(), again.key()).unwrap();
    app.commit(&[("version.txt", "2")]);
    app.push(&again, "master").ok();
    assert_eq!(new.get(&host, "/odd"), (200, "sealed and kept".to_owned()));

    step("nothing of this reached the old cluster, which still runs");
    assert!(old.is_well());
    assert_eq!(old.get(&host, "/odd"), (200, "sealed and kept".to_owned()));
    assert_eq!(nodes(&old), ["back"]);
    assert_eq!(nodes(&new), ["anew"]);

    step("after a restart it is all still there");
    run(&mut new.clusterctl(&["down"])).ok();
    new.start().ok();
    until("the app answers again", || (new.get(&host, "/odd").0 == 200).then_some(()));
}

/// Makes a backup while config changes and apps come into being. Gives the bounds of what it can know: what was done
/// before it began, and what was begun before it ended.
fn back_up_under_load(
    old: &Cluster,
    app: &Repository,
    olga: &Person<'_>,
    file: &Path,
) -> (u32, u32) {
    step("a backup is made while people work");
    let (stop, begun, done) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let next = begun.fetch_add(1, Ordering::SeqCst) + 1;
                app.paasctl(olga, &["config:set", &format!("COUNT={next}")]).ok();
                done.store(next, Ordering::SeqCst);
            }
        });
        until("some work is done", || (done.load(Ordering::SeqCst) >= 1).then_some(()));
        let least = done.load(Ordering::SeqCst);
        let made = run(old.clusterctl(&["backup"]).arg(file));
        let most = begun.load(Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        working.join().unwrap();
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(made.stderr.contains("1 apps, 1 users"), "{made:?}");
        (least, most)
    })
}

fn a_restore_that_is_killed_begins_again(new: &Cluster, file: &Path) {
    step("a restore that is killed is no cluster, and begins again when it is run again");
    let mut restore = new.restore_command(file).stdout(Stdio::null()).spawn().unwrap();
    let data = new.data();
    until("it is at the images", || data.join("cluster.json").exists().then_some(()));
    restore.kill().unwrap();
    restore.wait().unwrap();
    assert!(data.join("restoring").exists(), "it was cut off while it prepared");
    new.start().fails_with("Run the same `clusterctl restore` again");
    run(&mut new.restore_command(file)).ok().says("that was cut off is removed");
    assert!(!data.join("restoring").exists());
    run(&mut new.restore_command(file)).fails_with("is not empty");
}

fn only_a_whole_backup_is_taken(old: &Cluster, file: &Path) {
    step("it is private, checked, and not written over");
    assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    run(old.clusterctl(&["backup", "--check"]).arg(file)).ok().says("whole and unchanged");
    run(old.clusterctl(&["backup"]).arg(file)).fails_with("exists");

    step("what is cut off, changed or something else is refused, and nothing is written");
    let whole = std::fs::read(file).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let bad: [(&[u8], &str); 3] = [
        (&whole[..whole.len() / 2], "cut off"),
        (&changed, "damaged or changed"),
        (b"something else", "no backup of Trireme"),
    ];
    let (copy, data) = (old.scratch().join("bad"), old.scratch().join("nowhere"));
    for (content, reason) in bad {
        std::fs::write(&copy, content).unwrap();
        run(old.clusterctl(&["backup", "--check"]).arg(&copy)).fails_with(reason);
        let mut restore = std::process::Command::new(tests::program("clusterctl"));
        restore.args(["restore", "--single", "--data"]).arg(&data).arg(&copy);
        run(&mut restore).fails_with(reason);
        assert!(!data.exists(), "{reason}");
    }
    run(old.clusterctl(&["restore", "--single"]).arg(file)).fails_with("is not empty");
}

fn nodes(cluster: &Cluster) -> Vec<String> {
    let listed = run(&mut cluster.clusterctl(&["nodes", "--json"])).ok().json();
    listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}
