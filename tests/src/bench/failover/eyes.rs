//! Looks at what answers, from before the fault until somebody new does.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks of one pair of eyes.
const PERIOD: Duration = Duration::from_millis(50);
/// As many requests may hang at once before a look is late.
const PAIRS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Who is asked, and for what.
#[derive(Clone)]
pub struct Target {
    /// Any of these.
    pub addresses: Vec<SocketAddr>,
    /// The `Host` of the request.
    pub host: String,
}

/// Looks until dropped.
pub struct Eyes {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<(String, Instant)>>,
    stop: AtomicBool,
}

/// The moment of a fault.
pub struct Strike {
    known: BTreeSet<String>,
    at: Instant,
    shared: Arc<Shared>,
}

impl Eyes {
    /// Begins to look.
    pub fn open(target: Target) -> Eyes {
        let shared = Arc::new(Shared::default());
        let look = |_| {
            let (shared, target) = (shared.clone(), target.clone());
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    for name in target.addresses.iter().filter_map(|it| ask(*it, &target.host)) {
                        shared.note(name);
                    }
                    std::thread::sleep(PERIOD);
                }
            })
        };
        let threads = (0..PAIRS).map(look).collect();
        Eyes { shared, threads }
    }

    /// How many were seen.
    pub fn seen(&self) -> usize {
        self.shared.names().len()
    }

    /// Begins to wait for somebody new.
    pub fn strike(&self) -> Strike {
        Strike { known: self.shared.names(), at: Instant::now(), shared: self.shared.clone() }
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("eyes do not panic");
        }
    }
}

impl Strike {
    /// How long after the fault somebody new answered; none: not within `patience` of it.
    pub fn replaced_within(self, patience: Duration) -> Option<Duration> {
        loop {
            let seen = self.shared.seen.lock().expect("nobody panics with it").clone();
            let new = seen.iter().find(|(name, _)| !self.known.contains(name));
            if let Some((_, at)) = new {
                return Some(at.duration_since(self.at));
            }
            if self.at.elapsed() > patience {
                return None;
            }
            std::thread::sleep(PERIOD);
        }
    }
}

impl Shared {
    fn note(&self, name: String) {
        let mut seen = self.seen.lock().expect("nobody panics with it");
        if seen.iter().all(|(known, _)| *known != name) {
            seen.push((name, Instant::now()));
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Who answers, if anybody does with 200.
fn ask(address: SocketAddr, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, name) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| name.to_owned())
}
