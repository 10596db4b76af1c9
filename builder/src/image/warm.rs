//! The stack image's layers, sent to the registry before anybody waits for them.

use std::time::Duration;

use bollard::{errors::Error, query_parameters::TagImageOptionsBuilder};
use service::Stop;

use super::Images;

/// The repository in the registry. No app can have a name with a slash.
const REPOSITORY: &str = "trireme/stack";
/// The registry may start after the builder.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);

impl Images {
    /// Pushes the stack image. The engine then tells the registry to take its layers from there for each app: the
    /// first push of an app sends kilobytes, not hundreds of megabytes. Pushes of apps wait meanwhile, for they would
    /// only send the same bytes beside it.
    pub async fn warm(&self, stop: Stop) {
        for _ in 0..TRIES {
            match self.push_stack().await {
                Ok(()) => return,
                // A stack image that is not made yet is sent with the first app.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => return,
                Err(error) => tracing::debug!(%error, "the stack image could not be sent just now"),
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        tracing::warn!(
            "the stack image could not be sent to the registry; the first push takes longer"
        );
    }

    async fn push_stack(&self) -> Result<(), Error> {
        let _others_wait = self.warming.lock().await;
        let docker = self.docker()?;
        let (_, tag) = self.stack.rsplit_once(':').unwrap_or(("", "latest"));
        let repository = format!("{}/{REPOSITORY}", self.registry);
        let options = TagImageOptionsBuilder::default().repo(&repository).tag(tag).build();
        docker.tag_image(&self.stack, Some(options)).await?;
        self.send(&repository, tag).await.map(drop)
    }
}
