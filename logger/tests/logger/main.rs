//! The real program over real gRPC: what agents, the builder and the controller see of it.
#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

mod harness;

mod cluster;
mod follow;
mod limits;
mod store;
