//! The words and rules of Trireme: names, apps, releases, units, nodes, routes and accounts.
//!
//! Pure: no I/O, no async, no clock. Time and ids come in as arguments. Everything else in the
//! workspace may depend on this crate; it depends on nothing of ours. Read `app`, `release` and
//! `unit` first: an [`App`](app::App) has numbered [`Release`](release::Release)s, a release has
//! process types, and each process type runs as [`Unit`](unit::Unit)s placed on nodes.

pub mod name;
pub mod time;

pub mod app;
pub mod release;
pub mod unit;

pub mod node;
pub mod route;
pub mod volume;

pub mod account;
pub mod incarnation;
pub mod snapshot;
pub mod standing;
