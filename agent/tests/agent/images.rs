//! Images nobody needs: on an engine in memory and on the real one.

use std::{sync::Arc, time::Duration};

use agent::{
    engine::{Engine, Handle, Parts},
    fence::Fence,
    images::{Collector, UNUSED_FOR},
    logs::NoLines,
    orders::Orders,
    room::Room,
    runtime::{Image, Runtime, fake::FakeRuntime},
};
use model::unit::Desired;
use service::{ManualClock, Stop, Tasks};
use tokio::sync::Notify;

use crate::{
    rig::{docker, docker_fails, engine},
    simulated::order,
};

struct World {
    collector: Collector,
    clock: ManualClock,
    handle: Handle,
}

fn world(runtime: Arc<dyn Runtime>, registry: &str) -> World {
    let (clock, kick) = (ManualClock::new(1_000_000), Arc::new(Notify::new()));
    let parts = Parts {
        runtime: runtime.clone(),
        lines: Arc::new(NoLines),
        room: Room::new(1 << 30),
        clock: clock.clock(),
        fence: Fence::new(clock.clock(), kick.clone()),
        kick,
    };
    let (_engine, handle) = Engine::new(parts, Tasks::new(Stop::new()));
    let collector = Collector::new(runtime, handle.clone(), clock.clock(), registry);
    World { collector, clock, handle }
}

fn orders(image: &str) -> Orders {
    let mut order = order("a", Desired::Run);
    order.image = image.to_owned();
    Orders { units: [(order.unit.id.clone(), order)].into(), ..Orders::default() }
}

impl World {
    /// Two looks with the hour between them.
    async fn pass_an_hour(&mut self) {
        self.collector.pass().await.unwrap();
        self.clock.advance(UNUSED_FOR);
        self.collector.pass().await.unwrap();
    }
}

#[tokio::test]
async fn what_no_order_names_goes_after_an_hour_and_not_on_old_orders() {
    let runtime = FakeRuntime::new();
    let add = |id: &str, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        runtime.add_image(Image { id: id.to_owned(), names, is_used: false });
    };
    add("1", &["r:5000/shop:latest", "r:5000/shop@sha256:1"]);
    add("2", &["r:5000/blog:latest", "r:5000/blog@sha256:2"]);
    add("3", &["r:5000/trireme/stack:12", "trireme/stack:12"]);
    let mut world = world(Arc::new(runtime.clone()), "r:5000");
    world.handle.give(orders("r:5000/shop@sha256:1"), false);
    world.pass_an_hour().await;
    assert_eq!(runtime.calls(), [""; 0]);
    world.handle.give(orders("r:5000/shop@sha256:1"), true);
    world.pass_an_hour().await;
    assert_eq!(runtime.calls(), ["remove r:5000/blog:latest", "remove r:5000/blog@sha256:2"]);
    world.handle.give(Orders::default(), true);
    world.pass_an_hour().await;
    let ids: Vec<String> = runtime.images().await.unwrap().into_iter().map(|i| i.id).collect();
    assert_eq!(ids, ["3"]);
}

/// An image like no other.
fn make_image(name: &str) {
    let container = docker(&["create", "trireme/stack:12", "true"]);
    docker(&["commit", "-c", &format!("ENV NAME={name}"), &container, name]);
    docker(&["rm", &container]);
}

fn is_there(name: &str) -> bool {
    !docker_fails(&["image", "inspect", name])
}

#[tokio::test]
async fn the_real_engine_keeps_what_is_used_or_has_another_name() {
    let registry = format!("t{:08x}.localhost:5000", rand::random::<u32>());
    let image = |app: &str| format!("{registry}/{app}:latest");
    let strange = format!("{}-strange", registry.replace([':', '.'], "-"));
    for app in ["idle", "used", "named"] {
        make_image(&image(app));
    }
    docker(&["tag", &image("named"), &strange]);
    let container = docker(&["create", &image("used")]);

    let mut world = world(Arc::new(engine("n1", "trireme")), &registry);
    world.handle.give(Orders::default(), true);
    world.collector.pass().await.unwrap();
    world.clock.advance(UNUSED_FOR - Duration::from_secs(1));
    world.collector.pass().await.unwrap();
    assert!(is_there(&image("idle")), "the hour is not over");
    world.clock.advance(Duration::from_secs(1));
    world.collector.pass().await.unwrap();
    assert!(!is_there(&image("idle")));
    assert!(is_there(&image("used")) && is_there(&image("named")) && is_there("trireme/stack:12"));

    docker(&["rm", &container]);
    world.pass_an_hour().await;
    assert!(!is_there(&image("used")));
    docker(&["rmi", &image("named"), &strange]);
}
