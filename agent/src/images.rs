//! Images nobody needs any more: seen by looking now and then, removed when they were of no use for an hour.
//!
//! Only images of apps go: all their names are `<registry>/<app>` with a tag or a digest. What has another name too, as
//! the stack image has, was not made for one app and stays. An image that is wanted again is fetched again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use model::name::AppName;
use service::{Clock, Stop};

use crate::{
    engine::Handle,
    runtime::{Image, Runtime, RuntimeError},
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How long an image must have been of no use. A build that is under way or an app that is scaled down for a moment
/// shall find its image.
pub const UNUSED_FOR: Duration = Duration::from_secs(3_600);

/// Removes images of this platform's registry that were not used for a while.
pub struct Collector {
    runtime: Arc<dyn Runtime>,
    engine: Handle,
    clock: Clock,
    shelf: Shelf,
}

impl Collector {
    /// Of images of the registry at `registry`.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        engine: Handle,
        clock: Clock,
        registry: &str,
    ) -> Collector {
        let shelf = Shelf { prefix: format!("{registry}/"), unused: BTreeMap::new() };
        Collector { runtime, engine, clock, shelf }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: Stop) {
        loop {
            if let Err(error) = self.pass().await {
                tracing::warn!(%error, "images nobody uses were not looked for");
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// One look, and what follows from it.
    pub async fn pass(&mut self) -> Result<(), RuntimeError> {
        let given = self.engine.given();
        // Orders from disk may be old: they do not say what nobody needs.
        if !given.is_live {
            return Ok(());
        }
        let images = self.runtime.images().await?;
        let ordered = given.orders.units.values().map(|order| order.image.as_str()).collect();
        for image in self.shelf.look(images, &ordered, self.clock.monotonic()) {
            for name in &image.names {
                match self.runtime.remove_image(name).await {
                    Ok(()) => tracing::info!(image = name, "removed an image nobody used"),
                    // With its last tag an image's digests go too.
                    Err(RuntimeError::ImageMissing(_)) => {}
                    Err(error) => {
                        tracing::warn!(image = name, %error, "an image was not removed");
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is known of images that are of no use.
struct Shelf {
    prefix: String,
    /// Since when, by the engine's id.
    unused: BTreeMap<String, Duration>,
}

impl Shelf {
    /// Takes a look's result; the images that were of no use for long enough.
    fn look(&mut self, images: Vec<Image>, ordered: &BTreeSet<&str>, now: Duration) -> Vec<Image> {
        let is_of_no_use = |image: &Image| {
            !image.is_used && !image.names.iter().any(|name| ordered.contains(name.as_str()))
        };
        let (of_no_use, _): (Vec<Image>, Vec<Image>) = images
            .into_iter()
            .filter(|image| is_of_an_app(image, &self.prefix))
            .partition(is_of_no_use);
        self.unused = of_no_use
            .iter()
            .map(|image| (image.id.clone(), *self.unused.get(&image.id).unwrap_or(&now)))
            .collect();
        let is_due = |image: &Image| now.saturating_sub(self.unused[&image.id]) >= UNUSED_FOR;
        of_no_use.into_iter().filter(is_due).collect()
    }
}

fn is_of_an_app(image: &Image, prefix: &str) -> bool {
    let is_app = |name: &String| {
        let repository = name.strip_prefix(prefix).and_then(|rest| rest.split(['@', ':']).next());
        repository.is_some_and(|repository| repository.parse::<AppName>().is_ok())
    };
    !image.names.is_empty() && image.names.iter().all(is_app)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = UNUSED_FOR;

    fn image(id: &str, names: &[&str]) -> Image {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Image { id: id.to_owned(), names, is_used: false }
    }

    fn shelf() -> Shelf {
        Shelf { prefix: "127.0.0.1:5000/".to_owned(), unused: BTreeMap::new() }
    }

    fn ids(images: Vec<Image>) -> Vec<String> {
        images.into_iter().map(|image| image.id).collect()
    }

    #[test]
    fn only_images_of_apps_go() {
        let images = vec![
            image("tag", &["127.0.0.1:5000/shop:latest", "127.0.0.1:5000/shop@sha256:1"]),
            image("digest", &["127.0.0.1:5000/shop@sha256:2"]),
            image("stack", &["127.0.0.1:5000/trireme/stack:12", "trireme/stack:12"]),
            image("an earlier stack", &["127.0.0.1:5000/trireme/stack@sha256:3"]),
            image("app on a bare stack", &["127.0.0.1:5000/shop:latest", "trireme/stack:12"]),
            image("of another registry", &["127.0.0.1:5001/shop:latest"]),
            image("of somebody", &["postgres:15"]),
            image("without a name", &[]),
        ];
        let mut shelf = shelf();
        assert_eq!(ids(shelf.look(images.clone(), &BTreeSet::new(), Duration::ZERO)), [""; 0]);
        assert_eq!(ids(shelf.look(images, &BTreeSet::new(), HOUR)), ["tag", "digest"]);
    }

    #[test]
    fn the_hour_begins_anew_when_an_image_was_of_use() {
        let name = "127.0.0.1:5000/shop@sha256:1";
        let idle = || vec![image("i", &[name])];
        let used = vec![Image { is_used: true, ..image("i", &[name]) }];
        let (none, ordered) = (BTreeSet::new(), BTreeSet::from([name]));
        let mut shelf = shelf();
        let minute = |n: u32| Duration::from_secs(60) * n;
        assert!(shelf.look(idle(), &none, minute(0)).is_empty());
        assert!(shelf.look(used, &none, minute(50)).is_empty());
        assert!(shelf.look(idle(), &none, minute(60)).is_empty());
        assert!(shelf.look(idle(), &ordered, minute(110)).is_empty());
        assert!(shelf.look(idle(), &none, minute(120)).is_empty());
        assert!(shelf.look(idle(), &none, minute(179)).is_empty());
        assert_eq!(ids(shelf.look(idle(), &none, minute(180))), ["i"]);
    }
}
