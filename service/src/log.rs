//! Logs on standard error: text for a person at a terminal, one JSON object per line for everything else.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging. `$TRIREME_LOG`, else `$RUST_LOG`, says what is logged; the default is `info`.
/// A filter that cannot be read is told and replaced by the default.
pub fn start() {
    let wanted = ["TRIREME_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    let parsed = EnvFilter::try_new(wanted.as_deref().unwrap_or("info"));
    let (filter, problem) = match parsed {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    // A line that cannot be written, on a full disk say, is lost: the subscriber would tell so on the same standard error,
    // and panic when that fails too.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    // A subscriber may exist already where a test runs two programs; the first then stays.
    let started = if io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    if let (Ok(()), Some(problem)) = (started, problem) {
        tracing::warn!(%problem, "the log filter cannot be read; logging at `info`");
    }
}
