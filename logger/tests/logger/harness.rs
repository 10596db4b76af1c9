//! Starts the program in a folder of its own and speaks gRPC to it.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use model::node::{Addresses, Member};
use proto::logger::{
    AppendRequest, ForgetRequest, Line, LineBatch, OriginsRequest, ReadRequest, ShipRequest,
    logger_client::LoggerClient,
};
use service::{Authority, Identity, Subject};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

/// Longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A data folder with a cluster's authority; the program can be started in it more than once.
pub struct Home {
    folder: TempDir,
    node: String,
    authority: Arc<Authority>,
    /// Where it listens; any port where it is 0.
    listen: SocketAddr,
}

impl Home {
    pub fn new() -> Home {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::create(&folder.path().join("ca")).unwrap());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let home = Home { folder, node: "n1".to_owned(), authority, listen };
        home.identity("logger");
        home
    }

    /// The nodes n1, n2 and so on of one cluster, each of which knows all.
    pub fn cluster<const N: usize>() -> [Home; N] {
        let authority = Home::new().authority;
        let homes = std::array::from_fn(|index| {
            let folder = tempfile::tempdir().unwrap();
            // Free now; the members of a cluster are known before they start.
            let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let node = format!("n{}", index + 1);
            let home = Home { folder, node, authority: authority.clone(), listen };
            home.identity("logger");
            home
        });
        for home in &homes {
            home.know(&homes);
        }
        homes
    }

    /// Tells it who is in the cluster, as the controller would. It is read at its start.
    fn know(&self, members: &[Home]) {
        let nodes = members.iter().map(|home| Member {
            name: home.node.parse().unwrap(),
            addresses: Addresses { logger: home.listen.to_string(), ..Addresses::default() },
        });
        let (incarnation, nodes) = ("test".to_owned().into(), nodes.collect());
        let members = link::Members { incarnation, revision: 1, nodes };
        let folder = self.folder.path().join("logger");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("members.json");
        service::durable::write_json(&path, 1, &members, service::durable::PRIVATE).unwrap();
    }

    pub fn identity(&self, role: &str) -> Identity {
        let subject = Subject { role, node: &self.node, dns: Vec::new(), ips: Vec::new() };
        let folder = self.folder.path().join("identity").join(role);
        let issued = self.authority.issue(&subject, 1).unwrap();
        issued.write(&folder, self.authority.ca_pem()).unwrap();
        Identity::load(&folder).unwrap()
    }

    pub fn app(&self, app: &str) -> PathBuf {
        self.folder.path().join("logger/apps").join(app)
    }

    pub fn start(&self) -> Logger {
        self.start_with(&[])
    }

    /// Starts the program on free ports, with further settings.
    pub fn start_with(&self, settings: &[(&str, &str)]) -> Logger {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trireme-logger"));
        command.env_clear();
        command.env("TRIREME_CLUSTER_DATA_DIR", self.folder.path());
        for key in ["LISTEN", "ADMIN_LISTEN"] {
            command.env(format!("TRIREME_LOGGER_{key}"), "127.0.0.1:0");
        }
        command.env("TRIREME_LOGGER_LISTEN", self.listen.to_string());
        // Nobody listens there: the members are those of the file.
        command.env("TRIREME_CLUSTER_GATEWAY", "127.0.0.1:9");
        command.env("TRIREME_LOGGER_MIN_FREE", "0");
        for (key, value) in settings {
            command.env(format!("TRIREME_LOGGER_{key}"), value);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.by_ref().find(|line| line.contains("\"what\":\"lines\""));
        let line = line.expect("the program tells where it listens");
        let (_, after) = line.split_once("127.0.0.1:").unwrap();
        let port: String = after.chars().take_while(char::is_ascii_digit).collect();
        // The pipe is kept empty, so that the program never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Logger { child, address: SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())) }
    }
}

/// A running program; killed when dropped.
pub struct Logger {
    child: Child,
    address: SocketAddr,
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Logger {
    /// Asks it to stop, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// A connection of its own, as that role.
    pub fn client(&self, home: &Home, role: &str) -> Client {
        let identity = home.identity(role);
        let channel = service::channel(&identity, &self.address.to_string(), "logger").unwrap();
        Client(LoggerClient::new(channel))
    }
}

#[derive(Clone)]
pub struct Client(LoggerClient<Channel>);

pub fn line(app: &str, process: &str, text: impl Into<Vec<u8>>) -> Line {
    let stream = "stdout".to_owned();
    Line {
        app: app.to_owned(),
        process: process.to_owned(),
        at_ms: 1_000,
        stream,
        text: text.into(),
        id: 0,
    }
}

pub fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8(line.text.clone()).unwrap()).collect()
}

impl Client {
    pub async fn append(
        &mut self,
        source: &str,
        sequence: u64,
        lines: Vec<Line>,
    ) -> Result<(), Status> {
        let request = AppendRequest { lines, source: source.to_owned(), sequence };
        timeout(PATIENCE, self.0.append(request)).await.unwrap().map(|_| ())
    }

    pub async fn open(&mut self, request: ReadRequest) -> Result<Streaming<LineBatch>, Status> {
        Ok(timeout(PATIENCE, self.0.read(request)).await.unwrap()?.into_inner())
    }

    /// History, whole.
    pub async fn read(&mut self, app: &str, process: &str, lines: u32) -> Vec<Line> {
        let request = ReadRequest {
            app: app.to_owned(),
            lines,
            process: process.to_owned(),
            ..ReadRequest::default()
        };
        let mut stream = self.open(request).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = next(&mut stream).await {
            assert_eq!(batch.dropped, 0);
            all.extend(batch.lines);
        }
        all
    }

    /// What it keeps of another node's lines.
    pub async fn read_of(&mut self, origin: &str, app: &str) -> Vec<Line> {
        let (app, origin) = (app.to_owned(), origin.to_owned());
        let request = ReadRequest { app, origin, ..ReadRequest::default() };
        let mut stream = self.open(request).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = next(&mut stream).await {
            all.extend(batch.lines);
        }
        all
    }

    pub async fn ship(&mut self, request: ShipRequest) -> Result<(), Status> {
        timeout(PATIENCE, self.0.ship(request)).await.unwrap().map(|_| ())
    }

    /// Of which other nodes it keeps lines.
    pub async fn origins(&mut self, app: &str) -> Vec<String> {
        let request = OriginsRequest { app: app.to_owned() };
        timeout(PATIENCE, self.0.origins(request)).await.unwrap().unwrap().into_inner().nodes
    }

    /// The newest lines and then what is added.
    pub async fn follow(&mut self, app: &str, lines: u32) -> Streaming<LineBatch> {
        let request =
            ReadRequest { app: app.to_owned(), lines, follow: true, ..ReadRequest::default() };
        self.open(request).await.unwrap()
    }

    pub async fn forget(&mut self, app: &str) -> Result<(), Status> {
        let request = ForgetRequest { app: app.to_owned() };
        timeout(PATIENCE, self.0.forget(request)).await.unwrap().map(|_| ())
    }
}

/// The next message that is more than the word that history has been told; none at the end.
pub async fn next(stream: &mut Streaming<LineBatch>) -> Option<LineBatch> {
    loop {
        let message = message(stream).await;
        if !message.as_ref().is_some_and(|batch| batch.caught_up) {
            return message;
        }
    }
}

/// The next message.
pub async fn message(stream: &mut Streaming<LineBatch>) -> Option<LineBatch> {
    timeout(PATIENCE, stream.message()).await.expect("nothing came").unwrap()
}

/// So many lines of a stream.
pub async fn take(stream: &mut Streaming<LineBatch>, count: usize) -> Vec<Line> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = next(stream).await.expect("the stream ended");
        assert_eq!(batch.dropped, 0);
        all.extend(batch.lines);
    }
    all
}
