//! The Docker Engine as the agent's [`Runtime`].
//!
//! Connections are made when needed, so the agent starts and lives on without the engine; after the engine did not
//! answer, the next call agrees on the API version and sees to the network anew.

pub mod attach;
mod network;
pub mod probe;
mod slots;
pub mod spec;

use std::{
    collections::{BTreeSet, HashMap},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION,
    container::LogOutput,
    errors::Error,
    models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage, ImageSummary},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder,
        ListContainersOptionsBuilder, ListImagesOptions, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptions, StopContainerOptionsBuilder,
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use model::{time::Time, unit::LAST_LINES};
use tokio::sync::Mutex;

use crate::{
    orders::Order,
    runtime::{Container, Ending, Image, Reach, Runtime, RuntimeError, State, Target},
};
use slots::{Pool, Slot, Slots};
use spec::Place;

/// A call that brings no answer for this long has failed.
const CALL_TIMEOUT_SECONDS: u64 = 120;
/// Before the event stream is opened again.
const EVENTS_PAUSE: Duration = Duration::from_millis(500);
/// Shown bytes of one line of a failed unit.
const LAST_LINE_BYTES: usize = 2_000;
/// What the engine calls an image that has no tag or no digest.
const NAMELESS: &str = "<none>";

/// An engine that answers, and the addresses of the network there.
#[derive(Clone)]
struct Connected {
    client: bollard::Docker,
    /// None where the network is of an earlier version and in use: there the engine gives all addresses.
    pool: Option<Pool>,
}

type Events = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// The engine on this machine.
pub struct Docker {
    socket: PathBuf,
    place: Place,
    slots: Slots,
    connected: Mutex<Option<Connected>>,
    events: Mutex<Option<Events>>,
}

impl Docker {
    /// An engine that is not connected yet.
    pub fn new(socket: PathBuf, place: Place) -> Docker {
        let (connected, events) = (Mutex::new(None), Mutex::new(None));
        Docker { socket, place, slots: Slots::new(), connected, events }
    }

    /// The engine's socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Where containers are put.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A client that agreed on the API version with the engine, with the network in place.
    pub async fn client(&self) -> Result<bollard::Docker, RuntimeError> {
        Ok(self.connected().await?.client)
    }

    async fn connected(&self) -> Result<Connected, RuntimeError> {
        let mut known = self.connected.lock().await;
        if let Some(connected) = &*known {
            return Ok(connected.clone());
        }
        let path = self.socket.to_string_lossy();
        let client =
            bollard::Docker::connect_with_unix(&path, CALL_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
                .map_err(unavailable)?
                .negotiate_version()
                .await
                .map_err(unavailable)?;
        let pool = network::ensure(&client, &self.place.network).await?;
        Ok(known.insert(Connected { client, pool }).clone())
    }

    /// What became of a call. After one that was not answered, or for which the network was missing, the next one
    /// connects anew and makes the network.
    async fn answered<T>(&self, answer: Result<T, Error>) -> Result<T, RuntimeError> {
        match answer.map_err(meaning) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let is_network_lost = matches!(&error, RuntimeError::Gone(why)
                    | RuntimeError::Refused(why) if why.contains("network"));
                if is_network_lost || matches!(error, RuntimeError::Unavailable(_)) {
                    *self.connected.lock().await = None;
                }
                Err(error)
            }
        }
    }

    /// Where a unit is from its first start to its last.
    async fn slot(&self, order: &Order, pool: Pool) -> Result<Slot, RuntimeError> {
        let had = self.labelled(&[spec::SLOT]).await?.into_iter().filter_map(|summary| {
            let labels = summary.labels?;
            Some((labels.get(spec::UNIT)?.clone(), labels.get(spec::SLOT)?.parse().ok()?))
        });
        let is_free = |slot: Slot| {
            let bound = self.place.publish.map(|address| TcpListener::bind((address, slot.port)));
            bound.is_none_or(|bound| bound.is_ok())
        };
        let slot = self.slots.choose(pool, &order.unit.id, &had.collect::<Vec<_>>(), is_free);
        slot.ok_or_else(|| RuntimeError::Refused("all addresses for units are taken".to_owned()))
    }

    /// A container's output with timestamps, from a second on, as long as it runs.
    pub async fn follow(
        &self,
        container: &str,
        since_second: i32,
    ) -> Result<impl Stream<Item = Result<LogOutput, Error>> + use<>, RuntimeError> {
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(since_second)
            .build();
        Ok(self.client().await?.logs(container, Some(options)))
    }

    /// Whether a container runs; none when there is no such container.
    pub async fn is_running(&self, container: &str) -> Result<Option<bool>, RuntimeError> {
        let client = self.client().await?;
        match self.answered(client.inspect_container(container, None).await).await {
            Ok(found) => Ok(Some(found.state.and_then(|state| state.running).unwrap_or_default())),
            Err(RuntimeError::Gone(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ids of containers with these labels, whatever their state, and their labels.
    pub async fn labelled(&self, labels: &[&str]) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let client = self.client().await?;
        self.answered(client.list_containers(Some(options)).await).await
    }

    async fn ensure_volumes(&self, order: &Order) -> Result<(), RuntimeError> {
        for volume in order.unit.mounts.values() {
            let (volumes, made) = (self.place.volumes.clone(), volume.clone());
            let making = tokio::task::spawn_blocking(move || volumes.ensure(&made)).await;
            let refused = |why| RuntimeError::Refused(format!("make volume `{volume}`: {why}"));
            making.expect("making a folder does not panic").map_err(refused)?;
        }
        Ok(())
    }

    fn node_label(&self) -> String {
        format!("{}={}", spec::NODE, self.place.node)
    }

    /// Kills and removes a container.
    pub async fn discard(&self, container: &str) -> Result<(), RuntimeError> {
        let client = self.client().await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.answered(client.remove_container(container, Some(options)).await).await {
            Ok(()) | Err(RuntimeError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        let found = self.labelled(&[spec::UNIT, &self.node_label()]).await?;
        Ok(found
            .into_iter()
            .filter_map(|summary| container(summary, &self.place.network))
            .collect())
    }

    async fn create(&self, order: &Order, attempt: u32) -> Result<String, RuntimeError> {
        let Connected { client, pool } = self.connected().await?;
        self.ensure_volumes(order).await?;
        let slot = match pool {
            Some(pool) => Some(self.slot(order, pool).await?),
            None => None,
        };
        let name = format!("trireme-{}-{attempt}", order.unit.id);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = spec::unit(order, attempt, &self.place, slot);
        let made = self.answered(client.create_container(Some(options), body).await).await;
        made.map(|made| made.id).map_err(image_missing)
    }

    async fn pull(&self, image: &str) -> Result<(), RuntimeError> {
        let client = self.client().await?;
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let mut progress = client.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            self.answered(step).await?;
        }
        Ok(())
    }

    async fn start(&self, container: &str) -> Result<Reach, RuntimeError> {
        let client = self.client().await?;
        unless_done(self.answered(client.start_container(container, None).await).await)?;
        let found = self.answered(client.inspect_container(container, None).await).await?;
        let settings = found.network_settings.unwrap_or_default();
        let endpoint =
            settings.networks.and_then(|mut networks| networks.remove(&self.place.network));
        let bindings = settings.ports.unwrap_or_default().into_values().flatten().flatten();
        let published = bindings.into_iter().find_map(|binding| {
            socket_address(&binding.host_ip?, binding.host_port?.parse().ok()?)
        });
        // One that ended at once has no address any more; the next look tells so.
        Ok(Reach { ip: endpoint.and_then(|endpoint| endpoint.ip_address), published })
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<(), RuntimeError> {
        // The answer comes when the container has ended.
        let patience = grace + Duration::from_secs(CALL_TIMEOUT_SECONDS);
        let client = self.client().await?.with_timeout(patience);
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        unless_done(self.answered(client.stop_container(container, Some(options)).await).await)
    }

    async fn ending(&self, container: &str) -> Result<Ending, RuntimeError> {
        let client = self.client().await?;
        let found = self.answered(client.inspect_container(container, None).await).await?;
        let state = found.state.unwrap_or_default();
        let code = state.exit_code.unwrap_or_default();
        Ok(Ending {
            code,
            // The engine also says so when only a child process was killed and the unit ended well.
            out_of_memory: state.oom_killed.unwrap_or_default() && code != 0,
            last_lines: self.last_lines(container).await.unwrap_or_default(),
        })
    }

    async fn last_lines(&self, container: &str) -> Result<Vec<String>, RuntimeError> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&LAST_LINES.to_string())
            .build();
        let client = self.client().await?;
        let output: Result<Vec<LogOutput>, Error> =
            client.logs(container, Some(options)).try_collect().await;
        let lines = self.answered(output).await?.into_iter().map(|line| {
            let bytes = line.into_bytes();
            let shown = &bytes[..bytes.len().min(LAST_LINE_BYTES)];
            String::from_utf8_lossy(shown).trim_end().to_owned()
        });
        Ok(lines.collect())
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        self.discard(container).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        let client = self.client().await?;
        let everybodys = ListContainersOptionsBuilder::new().all(true).build();
        // Containers last: one that is made meanwhile counts.
        let images = self.answered(client.list_images(None::<ListImagesOptions>).await).await?;
        let containers = self.answered(client.list_containers(Some(everybodys)).await).await?;
        let used: BTreeSet<String> =
            containers.into_iter().filter_map(|container| container.image_id).collect();
        let image = |summary: ImageSummary| Image {
            is_used: used.contains(&summary.id),
            id: summary.id,
            names: [summary.repo_tags, summary.repo_digests]
                .concat()
                .into_iter()
                .filter(|name| !name.starts_with(NAMELESS))
                .collect(),
        };
        Ok(images.into_iter().map(image).collect())
    }

    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError> {
        let client = self.client().await?;
        let removed = client.remove_image(name, None::<RemoveImageOptions>, None).await;
        match self.answered(removed).await {
            Ok(_) => Ok(()),
            Err(RuntimeError::Gone(why)) => Err(RuntimeError::ImageMissing(why)),
            Err(error) => Err(error),
        }
    }

    async fn probe(&self, target: &Target) -> Result<(), String> {
        let asked = probe::ask(self, target);
        let timeout = || format!("no answer within {} ms", target.timeout.as_millis());
        tokio::time::timeout(target.timeout, asked).await.unwrap_or_else(|_| Err(timeout()))
    }

    async fn changed(&self) {
        let mut events = self.events.lock().await;
        if events.is_none() {
            match self.client().await {
                Ok(client) => *events = Some(self.open_events(&client)),
                Err(_) => return tokio::time::sleep(EVENTS_PAUSE).await,
            }
        }
        if let Some(stream) = &mut *events
            && !matches!(stream.next().await, Some(Ok(_)))
        {
            *events = None;
            // What happened until the stream is open again is found by the look after that.
            tokio::time::sleep(EVENTS_PAUSE).await;
        }
    }
}

impl Docker {
    fn open_events(&self, client: &bollard::Docker) -> Events {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", vec!["die".to_owned(), "destroy".to_owned()]),
            ("label", vec![self.node_label()]),
        ]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        Box::pin(client.events(Some(options)))
    }
}

fn container(summary: ContainerSummary, network: &str) -> Option<Container> {
    let labels = summary.labels?;
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED => State::Created,
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => State::Running,
        ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD => State::Exited,
        ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::EMPTY => return None,
    };
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let endpoint = networks.and_then(|mut networks| networks.remove(network));
    let mut ports = summary.ports.unwrap_or_default().into_iter();
    let reach = Reach {
        ip: endpoint.and_then(|endpoint| endpoint.ip_address).filter(|ip| !ip.is_empty()),
        published: ports.find_map(|port| socket_address(&port.ip?, port.public_port?)),
    };
    Some(Container {
        id: summary.id?,
        unit: label(spec::UNIT).parse().ok()?,
        app: label(spec::APP),
        name: label(spec::NAME),
        attempt: label(spec::ATTEMPT).parse().ok()?,
        spec: label(spec::SPEC),
        memory_bytes: label(spec::MEMORY).parse().unwrap_or_default(),
        state,
        is_exclusive: labels.contains_key(spec::EXCLUSIVE),
        reach,
        created: Time(
            u64::try_from(summary.created.unwrap_or_default()).unwrap_or_default() * 1_000,
        ),
    })
}

fn socket_address(ip: &str, port: u16) -> Option<String> {
    Some(SocketAddr::new(ip.parse().ok()?, port).to_string())
}

fn unavailable(error: Error) -> RuntimeError {
    match meaning(error) {
        RuntimeError::Refused(why) | RuntimeError::Gone(why) => RuntimeError::Unavailable(why),
        error @ (RuntimeError::Unavailable(_) | RuntimeError::ImageMissing(_)) => error,
    }
}

/// An answer that refuses, or none at all.
pub fn meaning(error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code: 404, message } => {
            RuntimeError::Gone(message)
        }
        Error::DockerResponseServerError { status_code: 304, .. } => {
            RuntimeError::Refused(ALREADY.to_owned())
        }
        Error::DockerResponseServerError { message, .. }
        | Error::DockerStreamError { error: message } => RuntimeError::Refused(message),
        error => RuntimeError::Unavailable(chain(&error)),
    }
}

const ALREADY: &str = "it is so already";

/// A 304 says that there was nothing to do.
fn unless_done(answer: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match answer {
        Err(RuntimeError::Refused(why)) if why == ALREADY => Ok(()),
        answer => answer,
    }
}

/// For making containers: what is not found is the image.
pub fn image_missing(error: RuntimeError) -> RuntimeError {
    match error {
        RuntimeError::Gone(message) if message.to_lowercase().contains("no such image") => {
            RuntimeError::ImageMissing(message)
        }
        RuntimeError::Gone(message) => RuntimeError::Refused(message),
        error => error,
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
