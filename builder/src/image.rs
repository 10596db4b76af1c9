//! Images: built by the Docker Engine's BuildKit, pushed to the registry, named by digest.

mod config;
mod facts;
mod memory;
mod progress;
mod session;
mod tags;
mod warm;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bollard::{
    Docker, body_try_stream,
    errors::Error,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptionsBuilder, PushImageOptionsBuilder},
};
use futures_util::StreamExt;
use http::{Request, Uri};
use proto::problem::{Code, Problem};
use tokio::sync::Mutex;

use crate::{
    config::Config,
    control::Push,
    output::Output,
    recipe::{Layout, Plan},
    source::{self, Source},
};
pub use facts::Facts;
use progress::Progress;
use session::Session;

/// Tags of builds under way begin with this; after the push only the digest names the image.
const TAG_PREFIX: &str = "build-";
/// How often a push to the registry is tried.
const PUSH_TRIES: u32 = 3;
const PUSH_PAUSE: Duration = Duration::from_millis(500);
/// The engine accepts this version and every later one.
const API: &bollard::ClientVersion =
    &bollard::ClientVersion { major_version: 1, minor_version: 41 };

/// The engine and the registry. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    socket: String,
    timeout: Duration,
    registry: String,
    stack: String,
    memory_bytes: u64,
    /// Held while the stack image is sent.
    warming: Arc<Mutex<()>>,
}

/// What to build.
pub struct Order<'a> {
    /// For whom.
    pub push: &'a Push,
    /// From which files.
    pub source: &'a Source,
    /// How.
    pub plan: &'a Plan,
    /// The app's configuration, which build steps may read. Secret.
    pub config: &'a BTreeMap<String, String>,
}

/// An image that was built and has only a tag as yet.
#[derive(Debug)]
pub struct Tagged {
    repository: String,
    tag: String,
    own_dockerfile: bool,
}

impl Images {
    /// The engine itself is not asked for anything yet: it may come later, and go and come back.
    pub fn new(config: &Config) -> Images {
        Images {
            socket: config.docker.to_string_lossy().into_owned(),
            // The time covers the answer's head, which comes after the whole build context was sent.
            timeout: config.limits.build_time,
            registry: config.registry.clone(),
            stack: config.stack.clone(),
            memory_bytes: config.limits.memory_bytes,
            warming: Arc::default(),
        }
    }

    fn docker(&self) -> Result<Docker, Error> {
        Docker::connect_with_unix(&self.socket, self.timeout.as_secs().max(1), API)
    }

    /// A client whose builds go to BuildKit over a session of ours.
    fn building_docker(&self) -> Result<Docker, Error> {
        Ok(self.docker()?.with_request_modifier(|request| {
            let (mut head, body) = request.into_parts();
            head.uri = to_buildkit(head.uri);
            Request::from_parts(head, body)
        }))
    }

    /// Builds an image, telling the pusher what happens as it happens.
    pub async fn build(&self, order: &Order<'_>, output: &Output) -> Result<Tagged, Problem> {
        let image = Tagged {
            repository: format!("{}/{}", self.registry, order.push.app),
            tag: format!("{TAG_PREFIX}{}", order.push.build_id),
            own_dockerfile: order.plan.layout == Layout::Own,
        };
        let options = BuildImageOptionsBuilder::default()
            .dockerfile("Dockerfile")
            .t(&image.name())
            .session(&order.push.build_id)
            .build();
        let context = body_try_stream(source::stream(order.source, order.plan));
        let mut progress = Progress::new(image.own_dockerfile);
        let docker =
            self.building_docker().map_err(|error| progress.problem(error, self.memory_bytes))?;
        let _session = self.open_session(order, output).await?;
        let mut events = docker.build_image(options, None, Some(context));
        while let Some(event) = events.next().await {
            match event {
                Ok(BuildInfo { aux: Some(BuildInfoAux::BuildKit(status)), .. }) => {
                    for line in progress.lines(&status) {
                        output.detail(&line).await;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    for line in progress.rest() {
                        output.detail(&line).await;
                    }
                    return Err(progress.problem(error, self.memory_bytes));
                }
            }
        }
        for line in progress.rest() {
            output.detail(&line).await;
        }
        Ok(image)
    }

    async fn open_session(&self, order: &Order<'_>, output: &Output) -> Result<Session, Problem> {
        let config = match config::exports(order.config) {
            Some(config) => config,
            None => {
                output.note("the app's configuration is too large to be given to the build").await;
                Vec::new()
            }
        };
        match memory::cap(self.memory_bytes) {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("no control group of builds on this machine; no memory limit")
            }
            Err(error) => tracing::warn!(%error, "the memory limit of builds could not be set"),
        }
        Session::open(Path::new(&self.socket), &order.push.build_id, config).await.map_err(
            |error| {
                tracing::error!(%error, "a build session could not be opened");
                progress::engine_is_away()
            },
        )
    }

    /// Pushes an image; its name by digest.
    pub async fn push(&self, image: &Tagged) -> Result<String, Problem> {
        drop(self.warming.lock().await);
        let mut tried = 1;
        loop {
            match self.send(&image.repository, &image.tag).await {
                Ok(digest) => return Ok(format!("{}@{digest}", image.repository)),
                Err(error) if tried == PUSH_TRIES => {
                    tracing::error!(%error, image = image.name(), "the image could not be pushed");
                    return Err(Problem::new(
                        Code::Unavailable,
                        "the image registry did not take the image",
                    )
                    .hint("Push again in a moment; `clusterctl doctor` shows what is wrong"));
                }
                Err(error) => {
                    tracing::warn!(%error, image = image.name(), "the image could not be pushed just now")
                }
            }
            tried += 1;
            tokio::time::sleep(PUSH_PAUSE).await;
        }
    }

    /// Pushes what has this tag; its digest.
    async fn send(&self, repository: &str, tag: &str) -> Result<String, Error> {
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let docker = self.docker()?;
        let mut events = docker.push_image(repository, Some(options), None);
        let mut digest = None;
        while let Some(event) = events.next().await {
            let event = event?;
            if let Some(message) = event.error_detail.and_then(|detail| detail.message) {
                return Err(Error::DockerStreamError { error: message });
            }
            digest = event.status.as_deref().and_then(pushed_digest).or(digest);
        }
        digest.ok_or_else(|| Error::DockerStreamError {
            error: "the engine did not say which digest it pushed".to_owned(),
        })
    }

    /// What the image says of itself. Images of our own recipes say nothing new.
    pub async fn facts(&self, image: &Tagged) -> Result<Facts, Problem> {
        if !image.own_dockerfile {
            return Ok(Facts::of_our_own());
        }
        let inspect = async { self.docker()?.inspect_image(&image.name()).await };
        let inspected = inspect.await.map_err(|error| {
            tracing::error!(%error, image = image.name(), "the image could not be inspected");
            Problem::new(Code::Internal, "the built image could not be looked at")
                .hint("Push again")
        })?;
        Ok(Facts::of(&inspected))
    }
}

impl Tagged {
    fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// The client asks for the classic builder, or else opens a session of its own; the number is all that differs.
fn to_buildkit(uri: Uri) -> Uri {
    let Some((path, query)) =
        uri.to_string().split_once('?').map(|(path, query)| (path.to_owned(), query.to_owned()))
    else {
        return uri;
    };
    let words: Vec<&str> =
        query.split('&').map(|word| if word == "version=1" { "version=2" } else { word }).collect();
    format!("{path}?{}", words.join("&")).parse().unwrap_or(uri)
}

/// The digest in `build-1: digest: sha256:... size: 528`.
fn pushed_digest(status: &str) -> Option<String> {
    let (_, rest) = status.split_once("digest: ")?;
    let digest = rest.split_whitespace().next()?;
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_sent_to_buildkit() {
        let uri: Uri = "unix://2f:0/build?t=version%3D1&version=1&session=b".parse().unwrap();
        assert_eq!(to_buildkit(uri).query(), Some("t=version%3D1&version=2&session=b"));
    }

    #[test]
    fn the_digest_is_read_from_the_engines_words() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let status = format!("build-b1: digest: {digest} size: 1234");
        assert_eq!(pushed_digest(&status), Some(digest));
        for other in ["Pushed", "Layer already exists", "x: digest: sha256:12 size: 1"] {
            assert_eq!(pushed_digest(other), None, "{other}");
        }
    }
}
