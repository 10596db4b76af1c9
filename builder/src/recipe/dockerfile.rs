//! Apps that bring their own Dockerfile.

use std::collections::BTreeMap;

use model::name::ProcessType;

use super::{Files, Ignore, Layout, Plan, Procfile};

/// The Dockerfile makes the image; a Procfile, if there is one, says what runs, else the image's own command is `web`.
pub fn plan(files: &Files, procfile: Option<Procfile>) -> Plan {
    let (processes, processes_from) = match procfile {
        Some(procfile) => (procfile.processes, "Procfile"),
        None => (BTreeMap::from([(ProcessType::web(), None)]), "the image's own command"),
    };
    Plan {
        kind: "Dockerfile",
        layout: Layout::Own,
        ignore: Ignore::docker(files.text(".dockerignore").unwrap_or_default()),
        processes,
        processes_from,
        notes: Vec::new(),
    }
}
