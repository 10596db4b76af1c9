//! The agent against a real Docker Engine, with a gateway and a logger of the tests' own.

mod lifecycle;
mod lines;
mod rig;
mod sessions;
mod simulated;
mod survival;
