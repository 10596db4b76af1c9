//! A whole cluster for end-to-end tests: the real binaries, real Docker, git, ssh and curl.
//!
//! [`Cluster`] brings one up in a folder and on ports of its own and takes it down again;
//! [`Person`] is somebody with an account who uses `paasctl` and `git`; [`Load`] is steady traffic
//! that counts what fails; [`lab::Lab`] is several hosts on one machine. Nothing here knows how the parts work inside.

pub mod bench;
pub mod cluster;
pub mod command;
pub mod disk;
pub mod lab;
pub mod load;
pub mod person;
pub mod programs;
pub mod repository;
pub mod terminal;
pub mod wait;

pub use cluster::Cluster;
pub use command::{Output, kill_at, program, rows, run};
pub use disk::Disk;
pub use load::Load;
pub use person::{Person, Platform};
pub use repository::{DEMO, Repository};
pub use terminal::Terminal;
pub use wait::until;

/// Says which step of a story begins, so that a failing log reads as one.
pub fn step(text: &str) {
    say(&format!("== {text}"));
}

/// Says a line to whoever started the program.
pub fn say(text: &str) {
    use std::io::Write;
    let line = format!("{text}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}
