//! What every program of the platform shares: its main, settings, logs, tasks, reconcile driver, clock, admin endpoint, files and TLS identities.
//!
//! In comes a program's `Config::read` and `run`; out goes an exit code. This crate knows no domain word
//! (no app, no release) and opens no socket but the admin endpoint. Read `program.rs` first, then `settings.rs`.

pub mod admin;
pub mod clock;
pub mod durable;
mod fresh;
pub mod identity;
mod log;
pub mod metrics;
mod program;
pub mod quantity;
pub mod reconcile;
pub mod settings;
pub mod stop;
pub mod tasks;

pub use admin::Admin;
pub use clock::{Clock, ManualClock};
pub use fresh::Fresh;
pub use identity::{Authority, Identity, Peer, Subject, channel, peer};
pub use metrics::{Counter, Gauge, Metrics};
pub use program::{install_crypto, main};
pub use quantity::{List, Size, Span};
pub use reconcile::{Wake, drive};
pub use settings::{SettingDoc, Settings};
pub use stop::Stop;
pub use tasks::Tasks;

/// The version all programs of one build share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
