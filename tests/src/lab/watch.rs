//! Whether a program runs twice at once: looks at this machine's processes, on which containers hide nothing and cables
//! that are pulled change nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shorter than any start of a container takes.
const PERIOD: Duration = Duration::from_millis(50);

/// Looks again and again until dropped.
pub struct Watch {
    command: Vec<String>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    most: AtomicUsize,
    stop: AtomicBool,
}

impl Watch {
    /// Watches for processes with exactly this command line.
    pub fn start(command: &[&str]) -> Watch {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let (command, shared) = (command.clone(), shared.clone());
            move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.most.fetch_max(running(&command), Ordering::Relaxed);
                    std::thread::sleep(PERIOD);
                }
            }
        });
        Watch { command, shared, thread: Some(thread) }
    }

    /// How many run now.
    pub fn now(&self) -> usize {
        running(&self.command)
    }

    /// The most that ever ran at one moment.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watch does not panic");
        }
    }
}

fn running(command: &[String]) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(|entry| is(&entry.path(), command)).count()
}

/// Processes that have ended have no command line any more.
fn is(process: &Path, command: &[String]) -> bool {
    let Ok(line) = std::fs::read(process.join("cmdline")) else { return false };
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
    words.eq(command.iter().map(String::as_bytes))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::until;

    #[test]
    fn two_at_once_are_seen_and_what_only_looks_alike_is_not() {
        let watch = Watch::start(&["sleep", "98.7"]);
        let sleep = |seconds| Command::new("sleep").arg(seconds).spawn().expect("sleep starts");
        let mut alone = [sleep("98.7"), sleep("98.70")];
        until("one is seen", || (watch.most() == 1).then_some(()));
        let mut second = sleep("98.7");
        until("two are seen", || (watch.most() == 2).then_some(()));
        for child in alone.iter_mut().chain([&mut second]) {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
        }
        assert_eq!((watch.now(), watch.most()), (0, 2));
    }
}
