//! The real program over real sockets: what Docker, the builder and the controller see of it.
#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

mod harness;

mod cluster;
mod crash;
mod docker;
mod pull;
mod push;
mod retention;
