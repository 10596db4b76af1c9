//! A repository that is lost with its node: any other builder goes on from where it was, history included.

use std::fs;

use crate::support::{World, client::Person};

const PROCFILE: (&str, &str) = ("Procfile", "web: python3 -m http.server $PORT\n");

/// What a builder on another node has of the app.
fn lose(world: &World, app: &str) {
    fs::remove_dir_all(world.repository(app)).unwrap();
}

#[test]
fn a_builder_without_the_repository_takes_the_history_and_goes_on_from_it() {
    let world = World::new(&[]);
    world.gateway.app("shop", "amy");
    let amy = Person::known(&world, "amy");
    let first = amy.commit(&[PROCFILE, ("index.txt", "one")]);
    amy.push("shop", "master").must(true, &["shop:v1 deployed"]);
    lose(&world, "shop");

    // A push from there is a step, not a beginning.
    let second = amy.commit(&[("index.txt", "two")]);
    amy.push("shop", "master").must(true, &["shop:v2 deployed", &first[..7]]);
    lose(&world, "shop");
    let remote = amy.remote("shop");
    amy.git(&["ls-remote", &remote]).must(true, &[&format!("{second}\trefs/heads/master")]);
    amy.git(&["clone", "--quiet", &remote, "again"]).must(true, &[]);
    let again = amy.git(&["-C", "again", "log", "--format=%H"]);
    again.must(true, &[&first, &second]);

    // What the builder has already it does not take again, and a push that is refused leaves no trace.
    amy.commit(&[("index.txt", "three")]);
    amy.push("shop", "master:feature").must(false, &["master"]);
    lose(&world, "shop");
    let refs = amy.git(&["ls-remote", &remote]);
    refs.must(true, &[&second]);
    assert!(!refs.text.contains("feature"), "{}", refs.text);
}

#[test]
fn a_history_that_could_not_be_kept_is_made_up_for_when_the_builder_starts() {
    let mut world = World::new(&[]);
    world.gateway.app("shop", "amy");
    let amy = Person::known(&world, "amy");
    amy.commit(&[PROCFILE, ("index.txt", "one")]);
    amy.push("shop", "master").must(true, &["shop:v1 deployed"]);
    let kept = world.gateway.state().apps["shop"].history.clone();
    assert!(kept.starts_with("sha256:"), "{kept}");
    // As if it had died before.
    world.gateway.state().apps.get_mut("shop").unwrap().history.clear();
    fs::remove_file(world.repository("shop").join("trireme-history")).unwrap();
    world.kill();
    world.start();
    world.until("the history is kept", || world.gateway.state().apps["shop"].history == kept);
}
