//! A container engine in memory, for tests and simulation: everything happens at once unless told otherwise, and what goes
//! wrong is chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{name::UnitId, time::Time, unit::UnitKind};
use service::Clock;
use tokio::sync::Notify;

use super::{Container, Ending, Image, Reach, Runtime, RuntimeError, State, Target};
use crate::orders::Order;

/// The engine. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct FakeRuntime(Arc<Shared>);

#[derive(Default)]
struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

/// Says how long the next call takes.
type Pace = Box<dyn FnMut() -> Duration + Send>;
/// Says whether an image can be had now.
type Fetch = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
struct World {
    pace: Option<Pace>,
    clock: Option<Clock>,
    made_from: BTreeMap<String, String>,
    runs_once: BTreeSet<String>,
    unhealthy_images: BTreeSet<String>,
    ending_images: BTreeMap<String, i64>,
    run_once_code: Option<i64>,
    containers: BTreeMap<String, Container>,
    endings: BTreeMap<String, Ending>,
    next_id: u32,
    is_down: bool,
    registry: Option<Fetch>,
    fetched: BTreeSet<String>,
    missing_images: BTreeSet<String>,
    unstartable_images: BTreeSet<String>,
    unhealthy: BTreeSet<UnitId>,
    images: Vec<Image>,
    calls: Vec<String>,
}

impl FakeRuntime {
    /// No containers; every image is there, can be started, and is healthy.
    pub fn new() -> FakeRuntime {
        FakeRuntime::default()
    }

    /// The engine stops or begins to answer. Containers live on.
    pub fn set_down(&self, is_down: bool) {
        self.world().is_down = is_down;
        self.0.changed.notify_one();
    }

    /// From now on an image has to be fetched before the first container is made from it, and `fetch` says whether it can be had.
    pub fn set_registry(&self, fetch: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.world().registry = Some(Arc::new(fetch));
    }

    /// Another machine, with nothing on it.
    pub fn wipe(&self) {
        let mut world = self.world();
        world.containers.clear();
        world.endings.clear();
        world.fetched.clear();
    }

    /// An image that is neither here nor in the registry, or is again.
    pub fn set_missing(&self, image: &str, is_missing: bool) {
        toggle(&mut self.world().missing_images, image.to_owned(), is_missing);
    }

    /// An image whose command cannot be started, or can again.
    pub fn set_unstartable(&self, image: &str, is_unstartable: bool) {
        toggle(&mut self.world().unstartable_images, image.to_owned(), is_unstartable);
    }

    /// A unit that fails its check, or passes it again.
    pub fn set_unhealthy(&self, unit: &UnitId, is_unhealthy: bool) {
        toggle(&mut self.world().unhealthy, unit.clone(), is_unhealthy);
    }

    /// From now on every call that makes or changes a container takes as long as `pace` says.
    pub fn set_pace(&self, pace: impl FnMut() -> Duration + Send + 'static) {
        self.world().pace = Some(Box::new(pace));
    }

    /// From now on containers are as old as this clock says.
    pub fn set_clock(&self, clock: Clock) {
        self.world().clock = Some(clock);
    }

    /// An image whose containers fail their checks, or pass them again.
    pub fn set_unhealthy_image(&self, image: &str, is_unhealthy: bool) {
        toggle(&mut self.world().unhealthy_images, image.to_owned(), is_unhealthy);
    }

    /// An image whose containers end with this code as soon as they are started.
    pub fn set_ending_image(&self, image: &str, code: i64) {
        self.world().ending_images.insert(image.to_owned(), code);
    }

    /// What runs once ends with this code as soon as it is started, if its image does not say otherwise.
    pub fn set_run_once_code(&self, code: i64) {
        self.world().run_once_code = Some(code);
    }

    /// Ends a unit's running container, if it has one.
    pub fn crash(&self, unit: &UnitId, code: i64, out_of_memory: bool) {
        let mut world = self.world();
        let ids: Vec<String> = world.running_of(unit);
        for id in ids {
            world.end(&id, Ending { code, out_of_memory, last_lines: vec!["crashed".to_owned()] });
        }
        drop(world);
        self.0.changed.notify_one();
    }

    /// A running unit is published elsewhere, as after a restart of the engine.
    pub fn publish(&self, unit: &UnitId, published: &str) {
        let mut world = self.world();
        for id in world.running_of(unit) {
            if let Some(container) = world.containers.get_mut(&id) {
                container.reach.published = Some(published.to_owned());
            }
        }
        drop(world);
        self.0.changed.notify_one();
    }

    /// Ends every container, as a power cut does.
    pub fn power_cycle(&self) {
        let mut world = self.world();
        let ids: Vec<String> = world.containers.keys().cloned().collect();
        for id in ids {
            world.end(&id, Ending { code: 137, out_of_memory: false, last_lines: Vec::new() });
        }
        drop(world);
        self.0.changed.notify_one();
    }

    /// Puts an image there.
    pub fn add_image(&self, image: Image) {
        self.world().images.push(image);
    }

    /// All containers, whether the engine answers or not.
    pub fn containers(&self) -> Vec<Container> {
        self.world().containers.values().cloned().collect()
    }

    /// Units that run and would pass their check now, whether the engine answers or not.
    pub fn well(&self) -> BTreeSet<UnitId> {
        let world = self.world();
        let running =
            world.containers.values().filter(|container| container.state == State::Running);
        running.filter(|it| world.is_well(it)).map(|it| it.unit.clone()).collect()
    }

    /// The calls that changed something, oldest first: `start web-1 1`.
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes its time, if it was told to.
    async fn take_time(&self) {
        let pause = self.world().pace.as_mut().map(|pace| pace());
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }

    fn answering(&self) -> Result<MutexGuard<'_, World>, RuntimeError> {
        let world = self.world();
        if world.is_down {
            return Err(RuntimeError::Unavailable("it was switched off".to_owned()));
        }
        Ok(world)
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, item: T, is_in: bool) {
    if is_in {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

impl World {
    fn running_of(&self, unit: &UnitId) -> Vec<String> {
        let running = self
            .containers
            .values()
            .filter(|container| container.unit == *unit && container.state == State::Running);
        running.map(|container| container.id.clone()).collect()
    }

    fn end(&mut self, id: &str, ending: Ending) {
        if let Some(container) = self.containers.get_mut(id)
            && container.state == State::Running
        {
            container.state = State::Exited;
            container.reach = Reach::default();
            self.endings.insert(id.to_owned(), ending);
        }
    }

    fn is_well(&self, container: &Container) -> bool {
        let image = self.made_from.get(&container.id);
        !self.unhealthy.contains(&container.unit)
            && !image.is_some_and(|image| self.unhealthy_images.contains(image))
    }

    /// The exit code of a container that ends as soon as it is started.
    fn code_at_once(&self, id: &str) -> Option<i64> {
        let of_image = self.made_from.get(id).and_then(|image| self.ending_images.get(image));
        of_image.copied().or(self.run_once_code.filter(|_| self.runs_once.contains(id)))
    }

    fn called(&mut self, what: &str, id: &str) {
        if let Some(container) = self.containers.get(id) {
            self.calls.push(format!("{what} {} {}", container.unit, container.attempt));
        }
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        Ok(self.answering()?.containers.values().cloned().collect())
    }

    async fn create(&self, order: &Order, attempt: u32) -> Result<String, RuntimeError> {
        self.take_time().await;
        let mut world = self.answering()?;
        if world.missing_images.contains(&order.image)
            || (world.registry.is_some() && !world.fetched.contains(&order.image))
        {
            return Err(RuntimeError::ImageMissing(order.image.clone()));
        }
        world.next_id += 1;
        let id = format!("c{}", world.next_id);
        let is_unstartable = world.unstartable_images.contains(&order.image);
        let container = Container {
            id: id.clone(),
            unit: order.unit.id.clone(),
            app: order.unit.app.to_string(),
            name: order.unit.display_name(),
            attempt,
            // Told apart at start: an address is given to what can run.
            reach: Reach {
                ip: (!is_unstartable)
                    .then(|| format!("10.9.{}.{}", world.next_id / 250, world.next_id % 250 + 2)),
                published: None,
            },
            is_exclusive: order.unit.exclusive,
            spec: order.spec.clone(),
            memory_bytes: order.unit.memory_bytes,
            state: State::Created,
            created: Time(world.clock.as_ref().map_or(0, Clock::now_ms)),
        };
        world.made_from.insert(id.clone(), order.image.clone());
        if order.unit.kind == UnitKind::ReleasePhase {
            world.runs_once.insert(id.clone());
        }
        world.containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn pull(&self, image: &str) -> Result<(), RuntimeError> {
        self.take_time().await;
        let registry = self.answering()?.registry.clone();
        // Asked without the lock: whoever answers may look at this engine.
        let is_had = registry.is_none_or(|fetch| fetch(image));
        let mut world = self.answering()?;
        if !is_had || world.missing_images.contains(image) {
            return Err(RuntimeError::ImageMissing(format!("{image}: not found")));
        }
        world.fetched.insert(image.to_owned());
        Ok(())
    }

    async fn start(&self, container: &str) -> Result<Reach, RuntimeError> {
        self.take_time().await;
        let mut world = self.answering()?;
        world.called("start", container);
        let gone = || RuntimeError::Gone(container.to_owned());
        let found = world.containers.get_mut(container).ok_or_else(gone)?;
        if found.reach.ip.is_none() {
            return Err(RuntimeError::Refused("no such command".to_owned()));
        }
        found.state = State::Running;
        let reach = found.reach.clone();
        if let Some(code) = world.code_at_once(container) {
            let last_lines = vec![format!("ended with {code}")];
            world.end(container, Ending { code, out_of_memory: false, last_lines });
            drop(world);
            self.0.changed.notify_one();
        }
        Ok(reach)
    }

    async fn stop(&self, container: &str, _grace: Duration) -> Result<(), RuntimeError> {
        self.take_time().await;
        let mut world = self.answering()?;
        world.called("stop", container);
        let ending = Ending { code: 143, out_of_memory: false, last_lines: Vec::new() };
        world.end(container, ending);
        Ok(())
    }

    async fn ending(&self, container: &str) -> Result<Ending, RuntimeError> {
        let world = self.answering()?;
        world
            .endings
            .get(container)
            .cloned()
            .ok_or_else(|| RuntimeError::Gone(container.to_owned()))
    }

    async fn last_lines(&self, container: &str) -> Result<Vec<String>, RuntimeError> {
        let world = self.answering()?;
        let found = world.containers.get(container);
        let found = found.ok_or_else(|| RuntimeError::Gone(container.to_owned()))?;
        Ok(vec![format!("{} says this", found.unit)])
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        let mut world = self.answering()?;
        world.called("remove", container);
        world.containers.remove(container);
        world.endings.remove(container);
        world.made_from.remove(container);
        world.runs_once.remove(container);
        Ok(())
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.answering()?.images.clone())
    }

    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError> {
        let mut world = self.answering()?;
        let missing = || RuntimeError::ImageMissing(name.to_owned());
        let named = |image: &Image| image.names.iter().any(|known| known == name);
        let index = world.images.iter().position(named).ok_or_else(missing)?;
        world.images[index].names.retain(|known| known != name);
        if world.images[index].names.is_empty() {
            world.images.remove(index);
        }
        world.calls.push(format!("remove {name}"));
        Ok(())
    }

    async fn probe(&self, target: &Target) -> Result<(), String> {
        let world = self.world();
        let asked = world.containers.get(&target.container);
        match asked.filter(|container| container.state == State::Running) {
            Some(container) if world.is_well(container) => Ok(()),
            Some(_) | None => Err("connection refused".to_owned()),
        }
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}
