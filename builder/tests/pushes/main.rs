//! Pushes by real git over real SSH to a builder that runs as its own process; what stands around it is played.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]
#![expect(clippy::print_stderr, reason = "a failed test shows the builder's log")]

mod build;
mod history;
mod refusals;
mod support;
