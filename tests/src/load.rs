//! Steady traffic over keep-alive connections that counts what fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many failures are kept word for word.
const KEPT_FAILURES: usize = 20;

/// Clients that ask again and again until stopped.
pub struct Load {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    failed: AtomicU64,
}

/// What a load saw.
#[derive(Debug)]
pub struct Seen {
    /// Requests answered with 200.
    pub answered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<String>,
}

impl Load {
    /// Quick requests of the demo app, and slow ones that are in flight whatever is done.
    pub const MIXED: [&str; 7] =
        ["/", "/", "/", "/", "/slow?ms=300", "/slow?ms=3000", "/slow?ms=3000"];

    /// One client per path of a router on this machine, each on a connection of its own.
    pub fn start(port: u16, host: &str, paths: &[&str]) -> Load {
        Load::at(SocketAddr::from(([127, 0, 0, 1], port)), host, paths)
    }

    /// The same with a router anywhere.
    pub fn at(router: SocketAddr, host: &str, paths: &[&str]) -> Load {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let shared = Arc::new(Shared::default());
        let clients = paths.iter().map(|path| {
            let client = client(shared.clone(), router, host.to_owned(), (*path).to_owned());
            runtime.spawn(client)
        });
        let clients = clients.collect();
        Load { shared, runtime, clients }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits for the requests in flight; there were some, and none failed.
    #[track_caller]
    pub fn saw_no_failure(self) {
        let seen = self.stop();
        assert_eq!(seen.failed, 0, "{seen:#?}");
        assert!(seen.answered > 0, "{seen:?}");
    }

    /// Waits for the requests in flight and says what was seen.
    pub fn stop(self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            self.runtime.block_on(client).expect("clients do not panic");
        }
        Seen {
            answered: self.shared.answered.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            failures: self.shared.failures.lock().expect("nobody panics with it").clone(),
        }
    }
}

async fn client(shared: Arc<Shared>, router: SocketAddr, host: String, path: String) {
    let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = ask(&mut connection, router, &host, &path);
        let failure = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(200)) => None,
            Ok(Ok(status)) => Some(format!("{path}: status {status}")),
            Ok(Err(error)) => Some(format!("{path}: {error}")),
            Err(_) => Some(format!("{path}: no answer in {PATIENCE:?}")),
        };
        match failure {
            None => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(failure) => {
                connection = None;
                shared.failed.fetch_add(1, Ordering::Relaxed);
                let mut failures = shared.failures.lock().expect("nobody panics with it");
                if failures.len() < KEPT_FAILURES {
                    failures.push(failure);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One request; a connection that the other side has closed in the meantime is opened anew.
async fn ask(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    router: SocketAddr,
    host: &str,
    path: &str,
) -> anyhow::Result<u16> {
    let mut sender = match connection.take() {
        Some(sender) => sender,
        None => connect(router).await?,
    };
    if sender.ready().await.is_err() {
        sender = connect(router).await?;
    }
    let request = hyper::Request::get(path).header("host", host).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    *connection = Some(sender);
    Ok(status)
}

async fn connect(router: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(router).await?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}
