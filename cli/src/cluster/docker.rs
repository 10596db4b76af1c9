//! The little that is asked of the Docker Engine here: is it there, is an image there, remove what a node ran.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::wire::{Answer, HttpError, over_socket};

/// The image on which apps without a Dockerfile are built.
pub const STACK_IMAGE: &str = "trireme/stack:12";

const QUICK: Duration = Duration::from_secs(5);
/// The grace a container gets to end; apps are told by SIGTERM.
const GRACE_SECONDS: u32 = 10;
const SLOW: Duration = Duration::from_secs(60);
/// Containers stopped at the same time.
const AT_ONCE: usize = 16;

/// The Docker Engine behind a socket.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
}

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No answer.
    #[error("ask the Docker Engine at `{socket}`")]
    Silent {
        /// Where.
        socket: PathBuf,
        /// Why.
        #[source]
        cause: HttpError,
    },
    /// It refused.
    #[error("{action}: the Docker Engine answers {status}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// Its answer is not what its interface promises.
    #[error("read the Docker Engine's answer")]
    Strange(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
}

/// A unit that runs and is not published for other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// Whose it is.
    pub app: String,
    /// What it may use.
    pub memory_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Unit {
    labels: HashMap<String, String>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(default)]
    public_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

impl Docker {
    /// The engine behind this socket.
    pub fn new(socket: &Path) -> Docker {
        Docker { socket: socket.to_owned() }
    }

    /// Whether it answers; if not, the sentence says how to get there.
    pub async fn problem(&self) -> Option<String> {
        let socket = self.socket.display();
        let install = "Install it with `apt-get install docker.io`";
        let start = if Path::new("/run/systemd/system").is_dir() {
            "start it with `systemctl start docker`"
        } else {
            "start it with `setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &`"
        };
        match self.ask(Method::GET, "/_ping", QUICK).await {
            Ok(answer) if answer.status == StatusCode::OK => None,
            Ok(answer) => Some(format!(
                "Docker at `{socket}` answers {}. Look into its log, then {start} again.",
                answer.status
            )),
            Err(DockerError::Silent { cause: HttpError::Connect(cause), .. }) => {
                Some(match cause.kind() {
                    io::ErrorKind::NotFound => {
                        format!("Docker has no socket at `{socket}`. {install}, or {start}.")
                    }
                    io::ErrorKind::PermissionDenied => {
                        format!(
                            "Docker's socket `{socket}` may not be opened by this user. Run as root."
                        )
                    }
                    _ => format!("Docker does not listen at `{socket}` ({cause}); {start}."),
                })
            }
            Err(error) => Some(format!("Docker does not answer ({error}); {start}.")),
        }
    }

    /// Whether an image is there.
    pub async fn has_image(&self, name: &str) -> Result<bool, DockerError> {
        let answer = self.ask(Method::GET, &format!("/images/{name}/json"), QUICK).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refused("look for an image", &answer)),
        }
    }

    /// Stops and removes every container of a node; returns how many there were.
    pub async fn remove_containers(&self, node: &str) -> Result<usize, DockerError> {
        let filters = encoded(&serde_json::json!({ "label": [format!("trireme.node={node}")] }));
        let path = format!("/containers/json?all=true&filters={filters}");
        let answer = self.ask(Method::GET, &path, QUICK).await?;
        let containers: Vec<Container> = parsed("list containers", &answer)?;
        let removals = containers.iter().map(|container| self.remove_container(&container.id));
        let results: Vec<_> = stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(containers.len())
    }

    /// The running units of a type on a node that are not published for other nodes.
    pub async fn unreached(
        &self,
        node: &str,
        process: &str,
    ) -> Result<Vec<Unreached>, DockerError> {
        let labels = [
            "trireme.unit".to_owned(),
            format!("trireme.node={node}"),
            format!("trireme.process={process}"),
        ];
        let filters = encoded(&serde_json::json!({ "label": labels }));
        let answer =
            self.ask(Method::GET, &format!("/containers/json?filters={filters}"), QUICK).await?;
        let units: Vec<Unit> = parsed("list containers", &answer)?;
        Ok(units.into_iter().filter_map(Unit::unreached).collect())
    }

    async fn remove_container(&self, id: &str) -> Result<(), DockerError> {
        let stop = format!("/containers/{id}/stop?t={GRACE_SECONDS}");
        // A container that does not stop is removed by force all the same.
        let _ = self.ask(Method::POST, &stop, SLOW).await?;
        let remove = format!("/containers/{id}?force=true&v=true");
        let answer = self.ask(Method::DELETE, &remove, SLOW).await?;
        match answer.status {
            // Gone already, or being removed because it was started with automatic removal.
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(refused("remove a container", &answer)),
        }
    }

    /// Removes the images of apps, which all lie in the registry at `registry` (`127.0.0.1:5000`), as far as it can;
    /// returns how many went.
    pub async fn remove_images(&self, registry: &str) -> Result<usize, DockerError> {
        let answer = self.ask(Method::GET, "/images/json?all=false", QUICK).await?;
        let images: Vec<Image> = parsed("list images", &answer)?;
        let mut removed = 0;
        // By name, never by id: other names of the same image (the stack image's own) must stay.
        for name in images.iter().flat_map(|image| image.names_in(registry)) {
            let answer = self.ask(Method::DELETE, &format!("/images/{name}"), SLOW).await?;
            removed += usize::from(answer.status.is_success());
        }
        Ok(removed)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Answer, DockerError> {
        over_socket(&self.socket, method, path, limit)
            .await
            .map_err(|cause| DockerError::Silent { socket: self.socket.clone(), cause })
    }
}

impl Unit {
    fn unreached(self) -> Option<Unreached> {
        let mut ports = self.ports.unwrap_or_default().into_iter();
        let app =
            self.labels.get("trireme.app").filter(|_| ports.all(|it| it.public_port.is_none()))?;
        let memory = self.labels.get("trireme.memory").and_then(|bytes| bytes.parse().ok());
        Some(Unreached { app: app.clone(), memory_bytes: memory.unwrap_or_default() })
    }
}

impl Image {
    /// The image's tags and digests that lie in a registry.
    fn names_in(&self, registry: &str) -> Vec<&str> {
        let names = self.repo_tags.iter().chain(&self.repo_digests).flatten();
        let is_there =
            |name: &&String| name.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'));
        names.filter(is_there).map(String::as_str).collect()
    }
}

fn parsed<T: serde::de::DeserializeOwned>(action: &str, answer: &Answer) -> Result<T, DockerError> {
    if answer.status != StatusCode::OK {
        return Err(refused(action, answer));
    }
    serde_json::from_slice(&answer.body).map_err(DockerError::Strange)
}

fn refused(action: &str, answer: &Answer) -> DockerError {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice(&answer.body)
        .map_or_else(|_| "no reason".to_owned(), |Message { message }| message);
    DockerError::Refused { action: action.to_owned(), status: answer.status, message }
}

/// JSON as a query value: every byte that could mean something there is escaped.
fn encoded(value: &serde_json::Value) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape =
        |byte: u8| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    value.to_string().bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_safe_in_a_query() {
        assert_eq!(
            encoded(&serde_json::json!({"a": ["b=c&d"]})),
            "%7B%22a%22%3A%5B%22b%3Dc%26d%22%5D%7D"
        );
    }

    #[test]
    fn a_unit_without_a_public_port_is_unreached() {
        let unit = |ports: serde_json::Value| {
            let labels = serde_json::json!({ "trireme.app": "shop", "trireme.memory": "1024" });
            let unit: Unit =
                serde_json::from_value(serde_json::json!({ "Labels": labels, "Ports": ports }))
                    .unwrap();
            unit.unreached()
        };
        let found = Some(Unreached { app: "shop".to_owned(), memory_bytes: 1024 });
        assert_eq!(unit(serde_json::json!([])), found);
        assert_eq!(unit(serde_json::json!(null)), found);
        assert_eq!(unit(serde_json::json!([{ "PrivatePort": 5000, "Type": "tcp" }])), found);
        let published = serde_json::json!([{ "PrivatePort": 5000, "PublicPort": 32768 }]);
        assert_eq!(unit(published), None);
    }

    #[test]
    fn only_the_names_in_the_registry_are_removed() {
        let image = Image {
            repo_tags: Some(vec![
                "trireme/stack:12".to_owned(),
                "127.0.0.1:5000/stack:12".to_owned(),
            ]),
            repo_digests: Some(vec![
                "127.0.0.1:5000/shop@sha256:1".to_owned(),
                "127.0.0.1:50001/shop@sha256:1".to_owned(),
            ]),
        };
        let names = image.names_in("127.0.0.1:5000");
        assert_eq!(names, ["127.0.0.1:5000/stack:12", "127.0.0.1:5000/shop@sha256:1"]);
    }
}
