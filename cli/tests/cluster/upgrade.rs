//! Upgrades of a node of stand-ins: all of it, none of it, and the way back.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::ground::{Done, Ground, PROGRAMS, make_executable, until};

const OTHERS: [&str; 3] = ["clusterctl", "paasctl", "trireme-pre-receive"];

/// The same programs with a byte more, which no program looks at: another build of the version.
fn newer(ground: &Ground) -> PathBuf {
    let folder = ground.folder().join("newer");
    fs::create_dir(&folder).unwrap();
    let programs = PROGRAMS.map(|name| format!("trireme-{name}"));
    for name in programs.iter().map(String::as_str).chain(OTHERS) {
        let present = ground.programs_folder().join(name);
        let present =
            if present.exists() { present } else { ground.programs_folder().join("trireme-agent") };
        fs::copy(present, folder.join(name)).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(folder.join(name)).unwrap();
        file.write_all(b"!").unwrap();
    }
    folder
}

/// Tells a version, and fails when it is run.
fn broken(folder: &Path, name: &str) {
    replace(folder, name, "echo no use >&2; exit 1");
}

/// A program that tells a version, and otherwise does this.
fn replace(folder: &Path, name: &str, otherwise: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo {name} {version} && exit 0\n{otherwise}\n"
    );
    fs::write(folder.join(name), script).unwrap();
    make_executable(&folder.join(name));
}

fn upgrade(ground: &Ground, from: &Path) -> Done {
    ground.clusterctl(&["upgrade", "--from", from.to_str().unwrap()])
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let programs = PROGRAMS.map(|name| format!("trireme-{name}"));
    let names = programs.iter().map(String::as_str).chain(["clusterctl", "trireme-pre-receive"]);
    names.map(|name| (name.to_owned(), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn a_node_is_upgraded_program_by_program_and_the_keepers_with_it() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let from = newer(&ground);
    let (programs, old) = (ground.programs(), files(&ground.programs_folder()));
    let keepers = ["supervisor", "guardian"].map(|role| ground.role(role).unwrap());
    let checked = ground.clusterctl(&["upgrade", "--check", "--from", from.to_str().unwrap()]);
    assert!(checked.ok && checked.out.contains("another build of the same version"), "{checked:?}");
    assert!(checked.out.contains("Take a backup first"), "{checked:?}");
    assert_eq!(
        (ground.programs(), files(&ground.programs_folder())),
        (programs.clone(), old.clone())
    );

    let done = upgrade(&ground, &from);
    assert!(done.ok && done.out.contains("n1 is upgraded"), "{done:?}");
    assert_eq!(files(&ground.programs_folder()), files(&from));
    assert_eq!(files(&ground.programs_folder().join("previous")), old);
    for ((name, before), (_, after)) in programs.iter().zip(&ground.programs()) {
        assert!(before != after && !before.is_alive(), "{name} runs from its new file");
    }
    assert!(keepers.iter().all(|keeper| !keeper.is_alive()), "they were renewed, too");
    assert_eq!(ground.clusterctl(&["status"]).code, 0);
    let restarts: u64 = ground.status().iter().map(|(_, _, restarts)| restarts).sum();
    assert_eq!(restarts, 0, "an upgrade is no crash");

    let again = upgrade(&ground, &from);
    assert!(again.ok && again.out.contains("already"), "{again:?}");
    let refused = upgrade(&ground, &ground.programs_folder().join("previous"));
    assert!(!refused.ok && refused.err.contains("name the copy"), "{refused:?}");
    let previous = ground.folder().join("a copy of previous");
    fs::rename(ground.programs_folder().join("previous"), &previous).unwrap();
    fs::copy(from.join("paasctl"), previous.join("paasctl")).unwrap();
    let back = upgrade(&ground, &previous);
    assert!(back.ok, "{back:?}");
    assert_eq!(files(&ground.programs_folder()), old);
    assert_eq!(files(&ground.programs_folder().join("previous")), files(&from));

    // What lies there is the file of the stand-ins themselves.
    fs::remove_file(previous.join("trireme-agent")).unwrap();
    fs::copy(from.join("trireme-agent"), previous.join("trireme-agent")).unwrap();
    assert!(upgrade(&ground, &previous).ok, "only one file is another");
    assert_eq!(files(&ground.programs_folder().join("previous")), old, "all of one build");
    // Whoever ends now is started from the new file.
    let (name, pid) = ground.programs().remove(0);
    pid.kill();
    until("it is back", || ground.pid(&name).is_some_and(|now| now != pid));
}

#[test]
fn a_program_that_does_not_become_well_takes_the_whole_node_back() {
    for name in ["agent", "router"] {
        let ground = Ground::new();
        assert!(ground.clusterctl(&["up"]).ok);
        let from = newer(&ground);
        broken(&from, &format!("trireme-{name}"));
        let (old, router) = (files(&ground.programs_folder()), ground.pid("router"));
        let failed = upgrade(&ground, &from);
        assert_eq!(failed.code, 1, "{failed:?}");
        let said = format!("the new {name} does not become well");
        assert!(failed.err.contains(&said) && failed.err.contains("no use"), "{failed:?}");
        assert!(failed.err.contains("The old programs are back"), "{failed:?}");
        assert_eq!(files(&ground.programs_folder()), old);
        assert_eq!(ground.clusterctl(&["status"]).code, 0);
        assert_eq!(ground.pid("router"), router, "the router was never away");
    }
}

#[test]
fn an_upgrade_that_was_cut_off_is_gone_on_with_though_the_node_is_ill_by_it() {
    let ground = Ground::new();
    assert!(ground.clusterctl(&["up"]).ok);
    let old = files(&ground.programs_folder());
    let from = newer(&ground);
    let agent = from.join("trireme-agent");
    let good = fs::read(&agent).unwrap();
    // Never well, and never at its end.
    replace(&from, "trireme-agent", "exec sleep 120");
    let hanging = fs::read(&agent).unwrap();
    let mut cut = ground.command(&["upgrade", "--from", from.to_str().unwrap(), "--data"]);
    let mut cut =
        cut.arg(ground.data()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it waits for the new agent", || {
        files(&ground.programs_folder())["trireme-agent"] == hanging
    });
    until("the old one has ended", || ground.pid("agent").is_none());
    cut.kill().unwrap();
    cut.wait().unwrap();

    let told = ground.clusterctl(&["upgrade", "--check"]);
    assert!(told.ok && told.out.contains("begun here and cut off"), "{told:?}");
    let logger = ground.pid("logger");
    fs::write(&agent, good).unwrap();
    let done = upgrade(&ground, &from);
    assert!(done.ok && done.out.contains("n1 is upgraded"), "{done:?}");
    assert_eq!(files(&ground.programs_folder()), files(&from));
    assert_eq!(files(&ground.programs_folder().join("previous")), old, "of before the first try");
    assert_eq!(ground.pid("logger"), logger, "it was new already");
    assert_eq!(ground.clusterctl(&["status"]).code, 0);
    let told = ground.clusterctl(&["upgrade", "--check"]);
    assert!(told.ok && !told.out.contains("cut off"), "{told:?}");
}

#[test]
fn what_cannot_be_an_upgrade_changes_nothing() {
    let ground = Ground::new();
    let stopped = ground.folder().join("nothing");
    fs::create_dir(&stopped).unwrap();
    assert!(upgrade(&ground, &stopped).err.contains("find a cluster"));
    assert!(ground.clusterctl(&["up"]).ok);
    let old = files(&ground.programs_folder());
    let empty = upgrade(&ground, &stopped);
    assert!(!empty.ok && empty.err.contains("trireme-agent` is not there"), "{empty:?}");

    let from = newer(&ground);
    for (version, said) in [
        ("9.0.0", "not of one version: trireme-logger 9.0.0"),
        ("none", "does not tell its version"),
    ] {
        let script = format!("#!/bin/sh\necho trireme-logger {version}\n");
        fs::write(from.join("trireme-logger"), script).unwrap();
        let mixed = upgrade(&ground, &from);
        assert!(!mixed.ok && mixed.err.contains("nothing was changed"), "{mixed:?}");
        assert!(mixed.err.contains(said), "{mixed:?}");
    }
    let programs = PROGRAMS.map(|name| format!("trireme-{name}"));
    for name in programs.iter().map(String::as_str).chain(OTHERS) {
        fs::write(from.join(name), "#!/bin/sh\necho it 0.9.0\n").unwrap();
        make_executable(&from.join(name));
    }
    let far = upgrade(&ground, &from);
    assert!(!far.ok && far.err.contains("cannot follow"), "{far:?}");

    fs::remove_dir_all(&from).unwrap();
    let from = newer(&ground);
    assert!(ground.clusterctl(&["down"]).ok);
    let down = upgrade(&ground, &from);
    assert!(!down.ok && down.err.contains("does not run here"), "{down:?}");
    assert_eq!(files(&ground.programs_folder()), old);
}
