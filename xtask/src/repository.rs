//! Where this repository and its built programs lie.

use std::path::{Path, PathBuf};

/// The folder that holds the workspace manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// The folder cargo builds into.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A program built with the release profile.
pub fn release_program(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// A program built along with the tests.
pub fn debug_program(name: &str) -> PathBuf {
    target().join("debug").join(name)
}
