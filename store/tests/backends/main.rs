//! Every backend against the contract, against crashes, and against each other.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails that should not")]

mod crash;
mod embedded;
mod etcd;
mod histories;
mod memory;
mod server;
mod tls;
