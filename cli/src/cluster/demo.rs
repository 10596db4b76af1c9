//! The newcomer's path, walked with the real clients: register, add a key, create an app, push it, ask it.

use std::{path::Path, process::ExitCode};

use super::{choices::Choices, layout::Layout};

/// Pushes the folder as the app `demo` and shows that it answers.
pub async fn show(
    _layout: &Layout,
    _choices: &Choices,
    _folder: &Path,
) -> anyhow::Result<ExitCode> {
    anyhow::bail!("show the demo: not yet")
}
