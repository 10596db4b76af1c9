//! A container engine in memory, for tests and simulation: everything happens at once, and what goes wrong is chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{name::UnitId, time::Time};
use tokio::sync::Notify;

use super::{Container, Ending, Image, Reach, Runtime, RuntimeError, State, Target};
use crate::orders::Order;

/// The engine. Clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub struct FakeRuntime(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct World {
    containers: BTreeMap<String, Container>,
    endings: BTreeMap<String, Ending>,
    next_id: u32,
    is_down: bool,
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

    /// The calls that changed something, oldest first: `start web-1 1`.
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut world = self.answering()?;
        if world.missing_images.contains(&order.image) {
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
            created: Time(0),
        };
        world.containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn pull(&self, image: &str) -> Result<(), RuntimeError> {
        if self.answering()?.missing_images.contains(image) {
            return Err(RuntimeError::ImageMissing(format!("{image}: not found")));
        }
        Ok(())
    }

    async fn start(&self, container: &str) -> Result<Reach, RuntimeError> {
        let mut world = self.answering()?;
        world.called("start", container);
        let gone = || RuntimeError::Gone(container.to_owned());
        let found = world.containers.get_mut(container).ok_or_else(gone)?;
        if found.reach.ip.is_none() {
            return Err(RuntimeError::Refused("no such command".to_owned()));
        }
        found.state = State::Running;
        Ok(found.reach.clone())
    }

    async fn stop(&self, container: &str, _grace: Duration) -> Result<(), RuntimeError> {
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
            Some(container) if !world.unhealthy.contains(&container.unit) => Ok(()),
            Some(_) | None => Err("connection refused".to_owned()),
        }
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}
