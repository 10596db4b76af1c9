//! The door: SSH with public keys only, two git commands, and nothing else a server could offer.

mod command;
mod handler;
mod host_key;
mod session;

use std::{sync::Arc, time::Duration};

use russh::{
    MethodKind, MethodSet,
    keys::PrivateKey,
    server::{self, Config},
};
use service::Tasks;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{control::Control, git::Repositories, history::Histories, push::Sessions};

pub use command::{GitCommand, Service};
pub use host_key::host_key;

/// Connections at one time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// Who has not proved a key after this long is cut off.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent client is asked this often whether it is there, and cut off when it did not answer three times.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A failed accept is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Keys a client may offer in one connection.
const MAX_KEYS: usize = 20;

/// What stands behind the door.
#[derive(Clone)]
pub struct Door {
    /// Knows keys and rights.
    pub control: Control,
    /// The pushes under way.
    pub sessions: Sessions,
    /// Where git works.
    pub repositories: Repositories,
    /// What other nodes have of the apps' git history.
    pub histories: Histories,
    /// Where sessions run.
    pub tasks: Tasks,
}

/// Accepts connections until the door's tasks are to stop.
pub async fn serve(listener: TcpListener, host_key: PrivateKey, door: Door) {
    let config = Arc::new(config(host_key));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = door.tasks.stop().clone();
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (config, served) = (config.clone(), door.clone());
                door.tasks.spawn("ssh connection", async move {
                    if let Err(error) = connection(stream, config, served).await {
                        tracing::debug!(%error, %address, "an SSH connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept of an SSH connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn config(host_key: PrivateKey) -> Config {
    Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Keys cannot be guessed, so there is nothing to slow down.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: MAX_KEYS,
        keys: vec![host_key],
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

async fn connection(
    stream: TcpStream,
    config: Arc<Config>,
    door: Door,
) -> Result<(), russh::Error> {
    let stop = door.tasks.stop().clone();
    let (handler, mut known) = handler::Handler::new(door);
    let greeted = tokio::time::timeout(LOGIN_TIMEOUT, server::run_stream(config, stream, handler));
    let mut session = greeted.await.map_err(|_| russh::Error::ConnectionTimeout)??;
    let handle = session.handle();
    let disconnect = |reason: &'static str| async move {
        // If the line is broken already there is nothing to tell.
        let _ = handle
            .disconnect(russh::Disconnect::ByApplication, reason.to_owned(), String::new())
            .await;
    };
    let too_late = async {
        // Once known, a client may take as long as it likes.
        if tokio::time::timeout(LOGIN_TIMEOUT, known.wait_for(|known| *known)).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = &mut session => return ended,
        () = too_late => disconnect("log in sooner").await,
        () = session::drained(&stop) => disconnect("the builder is stopping").await,
    }
    session.await
}
