//! Static sites: files that the stack's file server sends as they are.

use std::collections::BTreeMap;

use model::name::ProcessType;

use super::{Base, COPY_APP, Files, Ignore, Layout, Plan, Procfile, command};

/// The stack's file server is `web`, unless the Procfile has its own.
pub fn plan(files: &Files, base: Base<'_>, procfile: Option<Procfile>) -> Plan {
    let serve = || (ProcessType::web(), Some(command::from_line("serve-static .")));
    let (processes, processes_from) = match procfile {
        Some(procfile) if procfile.has_web() => (procfile.processes, "Procfile"),
        Some(mut procfile) => {
            procfile.processes.extend([serve()]);
            (procfile.processes, "Procfile and the default for static files")
        }
        None => (BTreeMap::from([serve()]), "the default for static files"),
    };
    let mut ignored = files.text(".slugignore").unwrap_or_default().to_owned();
    // Nobody should read these over HTTP.
    ignored.push_str("\n/Procfile\n/.slugignore\n");
    Plan {
        kind: "Static site",
        layout: Layout::Made(format!("FROM {}\n{COPY_APP}", base.stack)),
        ignore: Ignore::slug(&ignored),
        processes,
        processes_from,
        notes: Vec::new(),
    }
}
