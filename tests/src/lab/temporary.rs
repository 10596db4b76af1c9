//! A lab for one story: made at its begin, gone at its end however that comes.

use std::ops::Deref;

use super::Lab;
use crate::{program, run, step};

/// A lab that is cleared when it is dropped. A story that failed shows what the programs said last.
pub struct TemporaryLab {
    lab: Lab,
    /// After the lab in the order of dropping.
    _folder: tempfile::TempDir,
}

impl TemporaryLab {
    /// Makes three hosts and a cluster of them. The number is this story's own.
    #[track_caller]
    pub fn up(number: u8) -> TemporaryLab {
        TemporaryLab::made(number, 3, Lab::up)
    }

    /// Makes hosts only.
    #[track_caller]
    pub fn bare(number: u8, nodes: u8) -> TemporaryLab {
        TemporaryLab::made(number, nodes, Lab::bare)
    }

    #[track_caller]
    fn made(number: u8, nodes: u8, make: fn(Lab) -> anyhow::Result<Lab>) -> TemporaryLab {
        let folder = tempfile::Builder::new().prefix("lab-").tempdir_in("/var/tmp");
        let folder = folder.expect("/var/tmp takes a folder");
        let programs = program("clusterctl");
        let programs = programs.parent().expect("a program lies in a folder").to_owned();
        let lab = Lab { number, nodes, data: folder.path().join("lab"), programs };
        let temporary = TemporaryLab { lab, _folder: folder };
        make(temporary.lab.clone()).unwrap_or_else(|error| panic!("no lab: {error:#}"));
        temporary
    }
}

impl Deref for TemporaryLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for TemporaryLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.lab.hosts() {
                for name in ["controller", "agent", "router", "builder"] {
                    let said = run(&mut host.clusterctl(&["logs", "-n", "15", name])).stdout;
                    step(&format!("{name} of {} said\n{said}", host.name));
                }
            }
        }
        let down = self.lab.down();
        assert!(down.is_ok() || std::thread::panicking(), "the lab was not cleared: {down:?}");
    }
}
