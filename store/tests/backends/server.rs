//! A real etcd of one member on loopback, with its own ports and folder, ended with the test.

use std::fs::File;
use std::iter;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use store::{EtcdOptions, EtcdStore, EtcdTls, StoreError};
use tempfile::TempDir;

/// How long etcd may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The running server; dropping it kills it.
pub struct EtcdServer {
    folder: TempDir,
    client_port: u16,
    peer_port: u16,
    tls: Option<EtcdTls>,
    /// Its name, and all members there are, as etcd is told them.
    place: Place,
    child: Child,
}

/// A member's place in its cluster.
struct Place {
    name: &'static str,
    cluster: String,
}

impl EtcdServer {
    /// Starts an empty one and waits until it answers.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None).await
    }

    /// Starts one that demands client certificates of the authority in `folder`, made by [`crate::tls`].
    pub async fn start_with_tls(folder: TempDir, tls: EtcdTls) -> Self {
        Self::start_in(folder, Some(tls)).await
    }

    async fn start_in(folder: TempDir, tls: Option<EtcdTls>) -> Self {
        let ports = (free_port(), free_port());
        let place = Place { name: "test", cluster: format!("test={}", url(false, ports.1)) };
        let mut server = Self::spawned(folder, ports, tls, place);
        server.wait_until_ready().await;
        server
    }

    /// Starts an empty cluster of two: when one is killed, the other has no quorum.
    pub async fn start_pair() -> [Self; 2] {
        let ports = [(free_port(), free_port()), (free_port(), free_port())];
        let cluster = format!("one={},two={}", url(false, ports[0].1), url(false, ports[1].1));
        let member = |name, ports| {
            let place = Place { name, cluster: cluster.clone() };
            Self::spawned(tempfile::tempdir().unwrap(), ports, None, place)
        };
        let mut pair = [member("one", ports[0]), member("two", ports[1])];
        for server in &mut pair {
            server.wait_until_ready().await;
        }
        pair
    }

    fn spawned(
        folder: TempDir,
        (client_port, peer_port): (u16, u16),
        tls: Option<EtcdTls>,
        place: Place,
    ) -> Self {
        let child = spawn(&folder, client_port, peer_port, tls.is_some(), &place);
        Self { folder, client_port, peer_port, tls, place, child }
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        url(self.tls.is_some(), self.client_port)
    }

    /// Connects a store of its own to it.
    pub async fn connect(&self, key_prefix: &str) -> EtcdStore {
        self.try_connect(key_prefix).await.unwrap()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same ports and folder.
    pub async fn restart(&mut self) {
        let (client, peer) = (self.client_port, self.peer_port);
        self.child = spawn(&self.folder, client, peer, self.tls.is_some(), &self.place);
        self.wait_until_ready().await;
    }

    /// Stops it without closing its connections (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    async fn try_connect(&self, key_prefix: &str) -> Result<EtcdStore, StoreError> {
        EtcdStore::connect(EtcdOptions {
            endpoints: vec![self.endpoint()],
            tls: self.tls.clone(),
            key_prefix: key_prefix.into(),
        })
        .await
    }

    async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        while let Err(error) = self.try_connect("").await {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "etcd ended with {ended:?}:\n{log}");
            assert!(Instant::now() < deadline, "etcd does not answer: {error}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    folder: &TempDir,
    client_port: u16,
    peer_port: u16,
    has_tls: bool,
    place: &Place,
) -> Child {
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let tls_args = match has_tls {
        true => vec![
            format!("--cert-file={}", in_folder("leaf.pem")),
            format!("--key-file={}", in_folder("leaf.key")),
            format!("--trusted-ca-file={}", in_folder("ca.pem")),
            "--client-cert-auth".to_owned(),
        ],
        false => Vec::new(),
    };
    Command::new("etcd")
        .args(tls_args)
        .args(["--name", place.name, "--initial-cluster", &place.cluster])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &url(has_tls, client_port)])
        .args(["--advertise-client-urls", &url(has_tls, client_port)])
        .args(["--listen-peer-urls", &url(false, peer_port)])
        .args(["--initial-advertise-peer-urls", &url(false, peer_port)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start `etcd` ({error}): run the tests with `cargo xtask test`, \
                 which installs Debian's package etcd-server"
            )
        })
}

fn url(has_tls: bool, port: u16) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{port}")
}

/// A port below those the kernel gives to connections, and none twice, so that a killed server finds its own again.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test programs at the same time start far from each other.
    let first = 10_000 + (std::process::id() % 2_000) as u16 * 10;
    let mut candidates = iter::repeat_with(|| first + TRIED.fetch_add(1, Ordering::Relaxed));
    let free = candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("the ports do not end before one is free")
}
