//! The agent against a real Docker Engine, with a gateway and a logger of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

mod addresses;
mod images;
mod lifecycle;
mod lines;
mod rig;
mod sessions;
mod simulated;
mod survival;
mod volumes;
