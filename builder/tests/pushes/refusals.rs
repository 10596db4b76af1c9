//! Pushes that must not come through, and sessions that want something else: over real SSH, with real git, without
//! an engine.

use std::os::unix::fs::PermissionsExt;

use crate::support::{World, client::Person};

fn world() -> World {
    let world = World::new(&[("DOCKER", "/nonexistent/docker.sock")]);
    world.gateway.app("shop", "amy");
    world
}

#[test]
fn a_key_that_is_nobodys_does_not_get_in() {
    let world = world();
    let stranger = Person::stranger(&world);
    stranger.commit(&[("a", "b")]);
    stranger.push("shop", "master").must(false, &["Permission denied (publickey)"]);
    assert!(!world.repository("shop").exists());
}

#[test]
fn keys_of_every_usual_kind_and_any_user_name_get_in() {
    let world = world();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let person = Person::with_key(&world, kind);
        world.gateway.state().keys.insert(person.fingerprint.clone(), "amy".to_owned());
        let said = person.ssh(&["whoever@127.0.0.1"]);
        said.must(false, &["Hi amy: your key works, but there is no shell here"]);
        assert_eq!(said.code, Some(1), "{kind}");
    }
}

#[test]
fn nothing_but_the_two_git_commands_is_served() {
    let world = world();
    let amy = Person::known(&world, "amy");
    for command in [
        "id",
        "git-upload-archive 'shop.git'",
        "git-receive-pack '../shop.git'",
        "git-receive-pack 'shop.git'; id",
    ] {
        let said = amy.ssh(&["git@127.0.0.1", command]);
        assert_eq!(said.code, Some(1), "{}", said.text);
        assert!(said.text.contains(" !     ") && !said.text.contains("uid="), "{}", said.text);
    }
    amy.ssh(&["-t", "-t", "git@127.0.0.1"]).must(false, &["PTY allocation request failed"]);
    amy.ssh(&["-s", "git@127.0.0.1", "sftp"]).must(false, &["subsystem request failed"]);
    let forward =
        amy.ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "git@127.0.0.1"]);
    forward.must(false, &["remote port forwarding failed"]);
    let said = amy.ssh(&["-W", "127.0.0.1:1", "git@127.0.0.1"]);
    said.must(false, &["forwarding failed"]);
}

#[test]
fn rights_are_asked_before_anything_is_received() {
    let world = world();
    world.gateway.app("private", "bob");
    let amy = Person::known(&world, "amy");
    amy.commit(&[("a", "b")]);
    amy.push("private", "master").must(false, &[" !     you may not push to `private`"]);
    amy.push("nothing", "master").must(
        false,
        &[" !     there is no app `nothing`", " !     `paasctl apps:create` makes one"],
    );
    amy.git(&["ls-remote", &amy.remote("private")]).must(false, &["you may not push to `private`"]);
    for app in ["private", "nothing"] {
        assert!(!world.repository(app).exists());
        assert_eq!(world.gateway.called(&format!("begin {app}")), 0);
    }
}

#[test]
fn only_one_deploying_branch_is_taken_and_nothing_is_deleted() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[("a", "b")]);
    assert!(amy.git(&["tag", "v1"]).ok && amy.git(&["branch", "feature"]).ok);
    amy.push("shop", "feature")
        .must(false, &[" !     only `master` and `main` deploy", "pre-receive hook declined"]);
    amy.push("shop", "v1").must(false, &[" !     tag `v1` does not deploy"]);
    let both = amy.git(&["push", &amy.remote("shop"), "master", "feature"]);
    both.must(false, &[" !     a push deploys one branch; this one has"]);
    amy.push("shop", ":master").must(false, &[]);
    amy.git(&["ls-remote", &amy.remote("shop")]).must(true, &[]);
    assert_eq!(amy.git(&["ls-remote", &amy.remote("shop")]).text, "");
    assert!(world.gateway.lock_of("shop").is_none());
}

#[test]
fn what_cannot_be_built_is_refused_and_the_lock_is_given_up() {
    let world = world();
    for (files, parts) in [
        (vec![("README", "x")], vec!["nothing at the top of this commit says how to build it"]),
        (vec![("Procfile", "web\n")], vec!["line 1 of the Procfile is not `type: command`"]),
        (vec![("requirements.txt", "flask")], vec!["this Python app has no Procfile"]),
    ] {
        let amy = Person::known(&world, "amy");
        amy.commit(&files);
        amy.push("shop", "master").must(false, &parts);
        assert!(world.gateway.lock_of("shop").is_none());
    }
    assert_eq!(world.gateway.called("abandon shop"), 3);
}

#[test]
fn submodules_are_refused_by_path() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let commit = amy.commit(&[("Procfile", "web: x")]);
    let cache = format!("160000,{commit},vendor/lib");
    assert!(amy.git(&["update-index", "--add", "--cacheinfo", &cache]).ok);
    assert!(amy.git(&["commit", "-q", "-m", "module"]).ok);
    amy.push("shop", "master").must(false, &["the commit has submodules: vendor/lib"]);
}

#[test]
fn a_push_over_the_limit_says_so_and_leaves_nothing() {
    let world = World::new(&[("MAX_PUSH", "64K"), ("DOCKER", "/nonexistent")]);
    world.gateway.app("shop", "amy");
    let amy = Person::known(&world, "amy");
    let mut noise = String::new();
    let mut seed = 1_u64;
    while noise.len() < 400_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.push_str(&format!("{seed:x}"));
    }
    amy.commit(&[("big", &noise)]);
    amy.push("shop", "master").must(false, &[" !     the push is larger than 64K", "max_push"]);
    assert_eq!(world.gateway.called("begin shop"), 0);
    let objects = world.repository("shop").join("objects");
    world.until("the quarantine is gone", || {
        std::fs::read_dir(&objects)
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("tmp_"))
    });
}

#[test]
fn a_full_disk_is_refused_before_anything_is_received() {
    let world = World::new(&[("MIN_FREE", "1000T"), ("DOCKER", "/nonexistent")]);
    world.gateway.app("shop", "amy");
    let amy = Person::known(&world, "amy");
    amy.commit(&[("Procfile", "web: x")]);
    amy.push("shop", "master")
        .must(false, &[" !     the platform's disk is too full to take a push"]);
    assert!(!world.repository("shop").exists());
}

#[test]
fn a_commit_that_serves_is_not_built_again() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let commit = amy.commit(&[("Procfile", "web: x")]);
    world.gateway.state().apps.get_mut("shop").unwrap().current = Some((7, commit));
    amy.push("shop", "master")
        .must(true, &["v7 is this very commit and serves already. Nothing to do."]);
    assert_eq!(world.gateway.called("finish shop"), 0);
}

#[test]
fn an_engine_that_is_away_is_said_and_the_lock_is_given_up() {
    let world = world();
    let amy = Person::known(&world, "amy");
    amy.commit(&[("Procfile", "web: x")]);
    amy.push("shop", "master").must(false, &[" !     the Docker Engine does not answer"]);
    assert!(world.gateway.lock_of("shop").is_none());
}

#[test]
fn an_app_that_was_made_anew_does_not_inherit_a_repository() {
    let world = world();
    let amy = Person::known(&world, "amy");
    let commit = amy.commit(&[("Procfile", "web: x")]);
    world.gateway.state().apps.get_mut("shop").unwrap().current = Some((1, commit.clone()));
    assert!(amy.push("shop", "master").ok);
    amy.git(&["ls-remote", &amy.remote("shop")]).must(true, &[&commit]);
    let bob = Person::known(&world, "bob");
    let app = crate::support::gateway::App {
        user: "bob".to_owned(),
        created_ms: 2,
        ..Default::default()
    };
    world.gateway.state().apps.insert("shop".to_owned(), app);
    assert_eq!(bob.git(&["ls-remote", &bob.remote("shop")]).text, "");
}

#[test]
fn the_host_key_stays_the_same_and_private_over_a_kill() {
    let mut world = world();
    let key = world.folder.path().join("builder/ssh_host_ed25519_key");
    let before = std::fs::read(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    world.kill();
    world.start();
    assert_eq!(std::fs::read(&key).unwrap(), before);
}
