//! What an app is and how its image is made: files in, plan or refusal out. Pure.
//!
//! The first that fits decides: a `Dockerfile`, Python, Node, static files, a bare `Procfile`.

mod command;
mod dockerfile;
mod glob;
mod ignore;
mod node;
mod procfile;
mod python;
mod statics;

use std::collections::{BTreeMap, BTreeSet};

use model::{name::ProcessType, release::Command};
use proto::problem::{Code, Problem};

pub use ignore::Ignore;
pub use procfile::{Procfile, ProcfileError};

/// The files whose text a recipe may ask for; each only at the root, and only up to [`MAX_TEXT`].
pub const READ: &[&str] =
    &["Procfile", "Dockerfile", "requirements.txt", "package.json", ".slugignore", ".dockerignore"];
/// A file a recipe reads is at most this long.
pub const MAX_TEXT: usize = 1 << 20;

/// What a recipe sees of a commit.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Every file's path.
    pub paths: BTreeSet<String>,
    /// The texts of those in [`READ`] that exist.
    pub texts: BTreeMap<String, String>,
}

/// Names that stand in a recipe but not in the files.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The stack image that language apps stand on.
    pub stack: &'a str,
    /// The app; its caches are its own.
    pub app: &'a str,
}

/// How an image is made and what it can run. Leaves no choice open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the app was found to be: "Python".
    pub kind: &'static str,
    /// The instructions, and where the app's files lie for them.
    pub layout: Layout,
    /// What of the app is left out.
    pub ignore: Ignore,
    /// Process types; none as command means the image's own.
    pub processes: BTreeMap<ProcessType, Option<Command>>,
    /// Where the types come from, for the pusher.
    pub processes_from: &'static str,
    /// Things the pusher should know, one line each.
    pub notes: Vec<String>,
}

/// Where the build finds its instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// The app's own `Dockerfile`, with the app's files at the root of the build.
    Own,
    /// Instructions of ours, with the app's files below `app/`.
    Made(String),
}

/// The plan for a commit's files.
pub fn plan(files: &Files, base: Base<'_>) -> Result<Plan, Problem> {
    let procfile = match files.text("Procfile") {
        Some(text) => Some(Procfile::parse(text)?),
        None => None,
    };
    if files.has("Dockerfile") {
        return Ok(dockerfile::plan(files, procfile));
    }
    if files.has("requirements.txt") {
        return python::plan(files, base, procfile);
    }
    if files.has("package.json") {
        return node::plan(files, base, procfile);
    }
    if files.has("index.html") {
        return Ok(statics::plan(files, base, procfile));
    }
    match procfile {
        Some(procfile) => Ok(bare(files, base, procfile)),
        None => Err(unknown()),
    }
}

/// An app that brings all it needs, or needs only what the stack has.
fn bare(files: &Files, base: Base<'_>, procfile: Procfile) -> Plan {
    let instructions = format!("FROM {}\n{COPY_APP}", base.stack);
    Plan {
        kind: "Procfile",
        layout: Layout::Made(instructions),
        ignore: Ignore::slug(files.text(".slugignore").unwrap_or_default()),
        processes: procfile.processes,
        processes_from: "Procfile",
        notes: Vec::new(),
    }
}

fn unknown() -> Problem {
    Problem::new(Code::Unsupported, "nothing at the top of this commit says how to build it").hint(
        "Add one of: Dockerfile, requirements.txt (Python), package.json (Node), index.html (static files), \
         or a Procfile for what runs on the stack image as it is",
    )
}

/// Puts the app's files in their place, owned by the user they run as.
const COPY_APP: &str = "COPY --chown=1000:1000 app/ /app/\n";

/// Makes the app's configuration readable to one step; no layer keeps it.
const CONFIG_MOUNT: &str =
    "--mount=type=secret,id=config,target=/run/config,uid=1000,gid=1000,mode=0400";
/// Puts it into the step's environment.
pub const READ_CONFIG: &str = "if [ -f /run/config ]; then . /run/config; fi && ";

impl Files {
    fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
