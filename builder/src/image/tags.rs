//! The tags that images have in the engine while they are built and after.

use bollard::{
    errors::Error,
    query_parameters::{
        ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
    },
};

use super::{Images, TAG_PREFIX, Tagged};

/// The tag of an app's last image.
const LATEST: &str = "latest";

impl Images {
    /// Replaces the build's own tag by the app's. The engine drops what has no tag at all, and the agent would have to
    /// pull it again; with this one the image stays, and so does, by its digest, the one before.
    pub async fn settle_tag(&self, image: Tagged) {
        let settled = async {
            let options = TagImageOptionsBuilder::default().repo(&image.repository).tag(LATEST);
            self.docker()?.tag_image(&image.name(), Some(options.build())).await?;
            self.remove_tag(&image.name()).await
        };
        if let Err(error) = settled.await {
            tracing::warn!(%error, image = image.name(), "an image was not tagged");
        }
    }

    /// Removes the tag of a build that came to nothing.
    pub async fn discard(&self, image: Tagged) {
        if let Err(error) = self.remove_tag(&image.name()).await {
            tracing::warn!(%error, image = image.name(), "a tag was not removed");
        }
    }

    /// Removes the tags of builds that were cut off.
    pub async fn remove_stale(&self) {
        match self.stale().await {
            Ok(names) => {
                for name in names {
                    // Another clean-up may have been faster.
                    let _ = self.remove_tag(&name).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the Docker Engine does not answer; stale images are left");
            }
        }
    }

    async fn stale(&self) -> Result<Vec<String>, Error> {
        let pattern = format!("{}/*:{TAG_PREFIX}*", self.registry);
        let filters = [("reference".to_owned(), vec![pattern])].into();
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.docker()?.list_images(Some(options)).await?;
        let names = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(names.filter(|name| is_stale(name, &self.registry)).collect())
    }

    async fn remove_tag(&self, name: &str) -> Result<(), Error> {
        let options = RemoveImageOptionsBuilder::default().noprune(true).build();
        self.docker()?.remove_image(name, Some(options), None).await.map(drop)
    }
}

fn is_stale(name: &str, registry: &str) -> bool {
    let rest = name.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.split_once(':')).is_some_and(|(_, tag)| tag.starts_with(TAG_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::is_stale;

    #[test]
    fn only_tags_of_our_builds_in_our_registry_are_stale() {
        let registry = "127.0.0.1:5000";
        assert!(is_stale("127.0.0.1:5000/shop:build-b1", registry));
        for other in [
            "127.0.0.1:5000/shop:latest",
            "127.0.0.1:5001/shop:build-b1",
            "shop:build-b1",
            "<none>:<none>",
        ] {
            assert!(!is_stale(other, registry), "{other}");
        }
    }
}
