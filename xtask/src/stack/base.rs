//! The first step: a Debian root folder with the recipe's packages, from the host's own archives.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Recipe, Workshop};
use crate::program;

/// Fills `workshop.root()`.
pub fn make(recipe: &Recipe, workshop: &Workshop) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=apt", "--format=directory"]);
    command.arg(format!("--include={}", recipe.list("packages")?.join(",")));
    command.args([
        "--aptopt=Acquire::Languages \"none\"",
        "--aptopt=APT::Install-Recommends \"false\"",
    ]);
    command.args(recipe.options.iter().map(|option| format!("--aptopt={option}")));
    command.args(recipe.list("dpkg.cfg")?.iter().map(|option| format!("--dpkgopt={option}")));
    command.arg("bookworm").arg(workshop.root());
    let sources =
        [("debian.list", &recipe.sources.lines), ("debian.sources", &recipe.sources.paragraphs)];
    for (name, text) in sources.into_iter().filter(|(_, text)| !text.is_empty()) {
        let path = workshop.path().join(name);
        fs::write(&path, text)?;
        command.arg(path);
    }
    program::quiet("Stack image: installing Debian into a folder", &mut command)
}
