//! From one router to the next on the same machine: the one that starts is given the listening sockets of the one that runs.
//!
//! ```text
//!   new ──connects──► old        the socket lies in the router's private folder
//!   new ◄──listeners── old       both listen now; the old one serves
//!   new ──ready──────► old       the new one serves; the old one takes nobody new and leaves
//! ```
//! The sockets are never closed, so no connection is refused or reset. A new router that ends before it is ready changes nothing.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use service::Stop;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, UnixListener, UnixStream},
};
use tokio_util::task::TaskTracker;

/// HTTP, HTTPS and the admin endpoint.
const LISTENERS: usize = 3;
/// A router that runs answers at once.
const TAKE_LIMIT: Duration = Duration::from_secs(2);
/// How long the connections of a router that leaves may be silent. Their next answer says that it is the last, which no
/// client mistakes; to close one that is silent could cross its next request.
const LINGER: Duration = Duration::from_secs(10);
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// What is said in both directions; only that it is said matters.
const WORD: &[u8] = b"!";

/// What a starting router was given.
pub struct Taken {
    old: StdStream,
    listeners: Vec<StdListener>,
}

/// Asks the router that runs, if one does.
pub fn take(folder: &Path) -> Option<Taken> {
    let old = StdStream::connect(place(folder)).ok()?;
    match receive(&old) {
        Ok(listeners) => Some(Taken { old, listeners }),
        Err(error) => {
            tracing::warn!(%error, "the router that runs gives nothing");
            None
        }
    }
}

impl Taken {
    /// The listener at an address, if it was among those given.
    pub fn listener(&mut self, address: SocketAddr) -> Option<io::Result<TcpListener>> {
        let is_it = |it: &StdListener| it.local_addr().is_ok_and(|own| own == address);
        let index = self.listeners.iter().position(is_it)?;
        let listener = self.listeners.swap_remove(index);
        Some(listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)))
    }

    /// Tells the old router that this one serves.
    pub fn ready(mut self) -> io::Result<()> {
        self.old.write_all(WORD)
    }
}

fn receive(old: &StdStream) -> io::Result<Vec<StdListener>> {
    old.set_read_timeout(Some(TAKE_LIMIT))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    recvmsg(old, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let given = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(given.flatten().map(StdListener::from).collect())
}

/// The side of the router that runs.
pub struct Giver {
    door: UnixListener,
    listeners: [OwnedFd; LISTENERS],
}

impl Giver {
    /// Opens the door in the router's folder; whoever had it before is asked no more.
    pub fn new(folder: &Path, listeners: [&TcpListener; LISTENERS]) -> io::Result<Giver> {
        let place = place(folder);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let [http, https, admin] = listeners.map(|it| it.as_fd().try_clone_to_owned());
        Ok(Giver { door: UnixListener::bind(place)?, listeners: [http?, https?, admin?] })
    }

    /// Gives to whoever asks, until one is ready: then `leave` is set, and `stop` when the connections have ended.
    pub async fn run(self, tracker: TaskTracker, leave: Stop, stop: Stop) {
        loop {
            let asked = tokio::select! {
                () = stop.wait() => return,
                asked = self.door.accept() => asked,
            };
            let given = match asked {
                Ok((new, _)) => self.give(new).await,
                Err(error) => Err(error),
            };
            match given {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "nobody took over; serving on");
                    tokio::time::sleep(LOOK_PERIOD).await;
                }
            }
        }
        tracing::info!(connections = tracker.len(), "another router serves; leaving");
        leave.set();
        let empty = async {
            while !tracker.is_empty() {
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        let _ = tokio::time::timeout(LINGER, empty).await;
        stop.set();
    }

    /// Ends when the other is ready, with an error if it ends before.
    async fn give(&self, mut new: UnixStream) -> io::Result<()> {
        let descriptors = self.listeners.each_ref().map(AsFd::as_fd);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(
            control.push(SendAncillaryMessage::ScmRights(&descriptors)),
            "there is room for all"
        );
        // A new connection has room for a byte.
        sendmsg(&new, &[IoSlice::new(WORD)], &mut control, SendFlags::empty())?;
        new.read_exact(&mut [0]).await.map(|_| ())
    }
}

fn place(folder: &Path) -> PathBuf {
    folder.join("handover.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn old(folder: &Path) -> (SocketAddr, Stop, Stop) {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [http, https, admin] = [bind().await, bind().await, bind().await];
        let address = http.local_addr().unwrap();
        let giver = Giver::new(folder, [&http, &https, &admin]).unwrap();
        let (leave, stop) = (Stop::new(), Stop::new());
        tokio::spawn(giver.run(TaskTracker::new(), leave.clone(), stop.clone()));
        (address, leave, stop)
    }

    async fn taken(folder: &Path) -> Taken {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || take(&folder)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_router_that_is_ready_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let (address, leave, stop) = old(folder.path()).await;
        // The first to ask ends before it is ready.
        drop(taken(folder.path()).await);
        let mut new = taken(folder.path()).await;
        assert!(!leave.is_set() && new.listener("127.0.0.1:9".parse().unwrap()).is_none());
        let listener = new.listener(address).unwrap().unwrap();
        new.ready().unwrap();
        stop.wait().await;
        assert!(leave.is_set());
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
    }

    #[test]
    fn without_a_router_nothing_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(take(folder.path()).is_none());
        // What a killed one leaves behind.
        drop(std::os::unix::net::UnixListener::bind(place(folder.path())).unwrap());
        assert!(take(folder.path()).is_none());
    }
}
