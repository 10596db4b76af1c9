//! The public API over real HTTP, and the builders' side of the gateway, against the memory store.
//!
//! The tests play the planner: [`harness::Platform::settle`] ends a change as a leader would.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

#[path = "api/harness.rs"]
mod harness;
#[path = "api/join.rs"]
mod join;

#[path = "api/access.rs"]
mod access;
#[path = "api/accounts.rs"]
mod accounts;
#[path = "api/apps.rs"]
mod apps;
#[path = "api/builds.rs"]
mod builds;
#[path = "api/changes.rs"]
mod changes;
#[path = "api/hosts.rs"]
mod hosts;
#[path = "api/loggers.rs"]
mod loggers;
#[path = "api/placement.rs"]
mod placement;
#[path = "api/shape.rs"]
mod shape;
#[path = "api/streams.rs"]
mod streams;
