//! One seed from the first start to the quiet end.

use std::time::Duration;

use model::name::AppName;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::faults::Nemesis;
use crate::operators::{Chore, restore_order};
use crate::people::Act;
use crate::world::{CONTROLLERS, World};

/// What came of a seed.
pub struct Outcome {
    /// What happened.
    pub trace: Vec<String>,
    /// What should not have.
    pub broken: Option<String>,
}

/// Runs `story` in paused time on one thread.
pub fn alone<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be made");
    runtime.block_on(story)
}

/// Runs a seed.
pub fn run(seed: u64) -> Outcome {
    alone(async {
        let mut dice = Dice::of(seed, "world", &[]);
        let nodes = dice.between(3, 5);
        let sizes = [384 << 20, 512 << 20, 1 << 30];
        let capacities: Vec<u64> = (0..nodes).map(|_| *dice.pick(&sizes)).collect();
        let world = World::new(seed, &capacities);
        live(&world, seed, &mut dice).await;
        if world.ground.trace.broken().is_none() {
            world.heal();
            let rest = match restore_order(&world).await {
                Ok(()) => world.settles().await,
                Err(how) => Err(how),
            };
            if let Err(how) = rest {
                world.ground.trace.breaks("everything comes to rest", how);
            }
        }
        Outcome { trace: world.ground.trace.lines(), broken: world.ground.trace.broken() }
    })
}

/// People act while things go wrong.
async fn live(world: &World, seed: u64, dice: &mut Dice) {
    let mut nemesis = Nemesis::new(Dice::of(seed, "faults", &[]));
    let has_bad_images = dice.percent(60);
    let chores = *dice.pick(&[0, 5, 25]);
    let pause_ms = *dice.pick(&[1_500, 6_000, 20_000]);
    let apps: Vec<AppName> = ["shop", "blog", "wiki"]
        .into_iter()
        .take(dice.between(1, 3) as usize)
        .map(|name| name.parse().expect("an app's name"))
        .collect();
    let text = format!("{} nodes, {apps:?}, {:?}", world.hosts.len(), nemesis.kinds());
    world.ground.trace.say(text);
    let end = Instant::now() + dice.millis(40_000, 100_000);
    let mut next_act = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end && world.ground.trace.broken().is_none() {
        tokio::time::sleep(dice.millis(10, 250)).await;
        nemesis.step(world);
        if Instant::now() >= next_act {
            next_act = Instant::now() + dice.millis(200, pause_ms);
            if dice.percent(chores) {
                let node = dice.below(world.hosts.len() as u64) as usize;
                world.operate(node, Chore::any(dice));
            }
            let app = dice.pick(&apps);
            let is_there = world.ground.ledger.documents().apps.contains_key(app);
            let act = if is_there { Act::any(dice, has_bad_images) } else { Act::Create };
            world.ask(dice.below(CONTROLLERS as u64) as usize, app, act);
        }
        world.look();
    }
}
