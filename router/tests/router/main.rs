//! The router over real sockets: a fake gateway with real mutual TLS before it, small servers as units behind it.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails that should not")]

mod client;
mod connections;
mod drain;
mod gateway;
mod heads;
mod retries;
mod rig;
mod routing;
mod streams;
mod tls;
mod unit;
