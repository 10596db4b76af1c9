//! The whole controller on its embedded store, with agents and routers played by the tests over the real gateway.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

#[path = "core/cluster.rs"]
mod cluster;
#[path = "core/parts.rs"]
mod parts;
#[path = "core/renewal.rs"]
mod renewal;

#[path = "core/door.rs"]
mod door;
#[path = "core/orders.rs"]
mod orders;
#[path = "core/stories.rs"]
mod stories;
