//! A builder as its own process, with a controller, a logger and a registry that stand in for the real ones.

pub mod client;
pub mod gateway;
pub mod registry;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use service::{Authority, Identity, Subject};
use tempfile::TempDir;

use gateway::Gateway;

/// A condition that a loaded machine may take a while to meet.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct World {
    pub folder: TempDir,
    pub gateway: Arc<Gateway>,
    pub ssh: SocketAddr,
    pub registry: SocketAddr,
    settings: Vec<(String, String)>,
    builder: Option<Child>,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new(settings: &[(&str, &str)]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let identity_dir = folder.path().join("identity");
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let issue = |role: &str| {
            let subject = Subject { role, node: "node-1", dns: vec![], ips: vec![] };
            let issued = authority.issue(&subject, 1).unwrap();
            issued.write(&identity_dir.join(role), authority.ca_pem()).unwrap();
            Identity::load(&identity_dir.join(role)).unwrap()
        };
        issue("builder");
        let gateway = Arc::new(Gateway::default());
        let (controller, logger) = (issue("controller"), issue("logger"));
        let gateway_address = runtime.block_on(gateway::serve(gateway.clone(), &controller));
        let logger_address = runtime.block_on(gateway::serve_logger(gateway.clone(), &logger));
        let registry = runtime.block_on(registry::serve());
        let (ssh, admin) = (free_address(), free_address());
        let mut all = vec![
            ("TRIREME_BUILDER_LISTEN".to_owned(), ssh.to_string()),
            ("TRIREME_BUILDER_ADMIN_LISTEN".to_owned(), admin.to_string()),
            ("TRIREME_CLUSTER_NODE".to_owned(), "node-1".to_owned()),
            ("TRIREME_CLUSTER_DATA_DIR".to_owned(), folder.path().display().to_string()),
            ("TRIREME_CLUSTER_GATEWAY".to_owned(), gateway_address.to_string()),
            ("TRIREME_CLUSTER_LOGGER".to_owned(), logger_address.to_string()),
            ("TRIREME_CLUSTER_REGISTRY".to_owned(), registry.to_string()),
        ];
        let own = settings
            .iter()
            .map(|(key, value)| (format!("TRIREME_BUILDER_{key}"), (*value).to_owned()));
        all.extend(own);
        let mut world = World {
            folder,
            gateway,
            ssh,
            registry,
            settings: all,
            builder: None,
            _runtime: runtime,
        };
        world.start();
        world
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("builder.log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_trireme-builder"))
            .envs(self.settings.iter().cloned())
            .env("TRIREME_CONFIG", "/dev/null")
            .env("TRIREME_LOG", "info,builder=debug")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.builder = Some(child);
        assert!(
            holds_in_time(|| self.is_listening()),
            "not in time: the builder listens\n{}",
            self.log()
        );
    }

    fn is_listening(&mut self) -> bool {
        let ended = self.builder.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "the builder ended at once:\n{}", self.log());
        std::net::TcpStream::connect(self.ssh).is_ok()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut builder = self.builder.take().unwrap();
        builder.kill().unwrap();
        builder.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.builder.as_ref().unwrap().id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("builder.log")).unwrap_or_default()
    }

    pub fn repository(&self, app: &str) -> PathBuf {
        self.folder.path().join(format!("builder/repos/{app}.git"))
    }

    pub fn until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !holds_in_time(condition) {
            panic!("not in time: {what}\n{}", self.log());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut builder) = self.builder.take() {
            let _ = builder.kill();
            let _ = builder.wait();
        }
        remove_images(self.registry);
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// What the engine keeps of a world's images.
fn remove_images(registry: SocketAddr) {
    for repository in ["shop", "warm", "first", "second", "trireme/stack"] {
        let name = format!("{registry}/{repository}");
        let list =
            ["image", "ls", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}", &name];
        let Ok(listed) = Command::new("docker").args(list).output() else { return };
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(tag), Some(digest)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let reference = match tag {
                "<none>" => format!("{name}@{digest}"),
                tag => format!("{name}:{tag}"),
            };
            // Another reference may have taken it along.
            let _ = Command::new("docker").args(["rmi", "--no-prune", &reference]).output();
        }
    }
}

pub fn holds_in_time(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
