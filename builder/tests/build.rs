//! Real pushes over real SSH, built by the real Docker Engine. They need the stack image and an engine.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]
#![expect(clippy::print_stderr, reason = "a failed test shows the builder's log")]

mod support;

use support::{World, client::Person};

const PROCFILE: (&str, &str) =
    ("Procfile", "web: python3 -m http.server $PORT\nworker: sleep 1 && sleep 2\n");

#[test]
fn a_procfile_app_is_built_pushed_and_released() {
    let world = World::new(&[]);
    world.gateway.app("shop", "amy");
    let amy = Person::known(&world, "amy");
    let commit = amy.commit(&[PROCFILE, ("index.txt", "hello")]);
    let said = amy.push("shop", "master");
    said.must(
        true,
        &[
            "-----> Procfile found",
            "Procfile -> web, worker",
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
    world.until("the log has the build", || {
        world
            .gateway
            .state()
            .lines
            .iter()
            .any(|line| line == "shop build -----> Done, shop:v1 deployed")
    });
    assert!(world.gateway.lock_of("shop").is_none());
    eprintln!("{}", said.text);
}
