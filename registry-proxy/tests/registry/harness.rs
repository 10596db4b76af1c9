//! Starts the program in a folder of its own and speaks HTTP and gRPC to it.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use proto::registry::{RetainAnswer, RetainRequest, registry_client::RegistryClient};
use serde_json::{Value, json};
use service::{Authority, Identity, Subject};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::net::TcpStream;

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A data folder with a cluster's authority; the program can be started in it more than once.
pub struct Home {
    pub folder: TempDir,
    node: String,
    authority: Arc<Authority>,
    /// Of its side for other nodes; any where it has none.
    control: SocketAddr,
}

impl Home {
    pub fn new() -> Home {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::create(&folder.path().join("ca")).unwrap());
        let control = SocketAddr::from(([127, 0, 0, 1], 0));
        let home = Home { folder, node: "n1".to_owned(), authority, control };
        home.issue("registry-proxy");
        home
    }

    /// The nodes n1, n2 and so on of one cluster, each of which knows all.
    pub fn cluster<const N: usize>() -> [Home; N] {
        let first = Home::new();
        let authority = first.authority.clone();
        let homes = std::array::from_fn(|index| {
            let folder = tempfile::tempdir().unwrap();
            // Free now; the members of a cluster are known before they start.
            let control = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let node = format!("n{}", index + 1);
            let home = Home { folder, node, authority: authority.clone(), control };
            home.issue("registry-proxy");
            home
        });
        let all: Vec<&Home> = homes.iter().collect();
        for home in &homes {
            home.know(1, &all);
        }
        homes
    }

    /// Tells it who is in the cluster, as the controller would. It is read at its start.
    pub fn know(&self, revision: u64, members: &[&Home]) {
        let nodes: Vec<Value> = members
            .iter()
            .map(|home| {
                let addresses = json!({ "agent": "", "logger": "", "gateway": null, "registry": home.control.to_string() });
                json!({ "name": home.node, "addresses": addresses })
            })
            .collect();
        let document = json!({ "incarnation": "test", "revision": revision, "nodes": nodes });
        std::fs::create_dir_all(self.data()).unwrap();
        let path = self.data().join("members.json");
        service::durable::write_json(&path, 1, &document, service::durable::PRIVATE).unwrap();
    }

    fn issue(&self, role: &str) -> PathBuf {
        let subject = Subject { role, node: &self.node, dns: Vec::new(), ips: Vec::new() };
        let folder = self.folder.path().join("identity").join(role);
        let issued = self.authority.issue(&subject, 1).unwrap();
        issued.write(&folder, self.authority.ca_pem()).unwrap();
        folder
    }

    pub fn identity(&self, role: &str) -> Identity {
        Identity::load(&self.issue(role)).unwrap()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("registry-proxy")
    }

    pub fn start(&self) -> Registry {
        self.start_with(&[])
    }

    /// Starts the program on free ports, with further settings.
    pub fn start_with(&self, settings: &[(&str, &str)]) -> Registry {
        let mut child = self.command(settings).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |what: &str| -> SocketAddr {
            let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(what));
            let line = line.unwrap_or_else(|| panic!("no line with {what}"));
            let (_, after) = line.split_once("127.0.0.1:").unwrap();
            let port: String = after.chars().take_while(char::is_ascii_digit).collect();
            SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
        };
        let (oci, control) =
            (address("\"what\":\"registry\""), address("\"what\":\"control side\""));
        // The pipe is kept empty, so that the program never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Registry { child, oci, control }
    }

    pub fn command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trireme-registry-proxy"));
        command.env_clear();
        command.env("TRIREME_CLUSTER_DATA_DIR", self.folder.path());
        for key in ["LISTEN", "CONTROL_LISTEN", "ADMIN_LISTEN"] {
            command.env(format!("TRIREME_REGISTRY_PROXY_{key}"), "127.0.0.1:0");
        }
        command.env("TRIREME_REGISTRY_PROXY_CONTROL_LISTEN", self.control.to_string());
        // Nobody listens there: the members are those of the file.
        command.env("TRIREME_CLUSTER_GATEWAY", "127.0.0.1:9");
        command.env("TRIREME_REGISTRY_PROXY_MIN_FREE", "0");
        for (key, value) in settings {
            command.env(format!("TRIREME_REGISTRY_PROXY_{key}"), value);
        }
        command
    }
}

/// A running program; killed when dropped.
pub struct Registry {
    child: Child,
    pub oci: SocketAddr,
    control: SocketAddr,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Registry {
    /// Asks it to stop, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the first error, or the status where there is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = body["errors"][0]["code"].as_str().unwrap_or_default();
        format!("{} {code}", self.status.as_u16()).trim_end().to_owned()
    }
}

impl Registry {
    /// One request on a connection of its own.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = TcpStream::connect(self.oci).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header("host", self.oci.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer =
            sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.ask(Method::HEAD, path, &[], "").await
    }

    /// Starts an upload and gives its location.
    pub async fn start_upload(&self, repository: &str) -> String {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.ask(Method::POST, &path, &[], "").await;
        assert_eq!(answer.code(), "202");
        answer.header("location").to_owned()
    }

    /// Stores a blob in one request and gives its digest.
    pub async fn push_blob(&self, repository: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.ask(Method::POST, &path, &[], content.to_vec()).await;
        assert_eq!(answer.code(), "201");
        assert_eq!(answer.header("docker-content-digest"), digest);
        digest
    }

    /// Stores an image of a config and one layer with these contents; gives its digest.
    pub async fn push_image(&self, repository: &str, tag: &str, content: &str) -> String {
        self.push_blob(repository, format!("config {content}").as_bytes()).await;
        self.push_blob(repository, format!("layer {content}").as_bytes()).await;
        let answer = self.put_manifest(repository, tag, &image(content)).await;
        assert_eq!(answer.code(), "201");
        answer.header("docker-content-digest").to_owned()
    }

    pub async fn put_manifest(&self, repository: &str, reference: &str, body: &str) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.ask(Method::PUT, &path, &[("content-type", IMAGE)], body.to_owned()).await
    }

    pub async fn retain(
        &self,
        identity: &Identity,
        repository: &str,
        keep: &[&str],
    ) -> Result<RetainAnswer, tonic::Status> {
        let channel =
            service::channel(identity, &self.control.to_string(), "registry-proxy").unwrap();
        let keep = keep.iter().map(|digest| (*digest).to_owned()).collect::<Vec<_>>();
        let whole = keep.is_empty();
        let request = RetainRequest { repository: repository.to_owned(), keep, whole };
        Ok(RegistryClient::new(channel).retain(request).await?.into_inner())
    }
}

/// The manifest of the image that [`Registry::push_image`] pushes.
pub fn image(content: &str) -> String {
    let descriptor = |content: String| json!({ "mediaType": "application/octet-stream", "size": content.len(), "digest": digest(content.as_bytes()) });
    json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": descriptor(format!("config {content}")), "layers": [descriptor(format!("layer {content}"))],
    })
    .to_string()
}

pub fn digest(content: &[u8]) -> String {
    let hash = sha2::Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { all.push(path) }
        }
    }
    all
}

/// Waits until a condition holds, and says which did not.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}
