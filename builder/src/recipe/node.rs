//! Node apps: `package.json` installed by npm, an optional `build` script, then pruned to what runs.

use std::collections::BTreeMap;

use model::name::ProcessType;
use proto::problem::{Code, Problem};
use serde::Deserialize;

use super::{
    Base, CONFIG_MOUNT, COPY_APP, Files, Ignore, Layout, Plan, Procfile, READ_CONFIG, command,
};

#[derive(Debug, Default, Deserialize)]
struct Package {
    #[serde(default)]
    scripts: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(default, rename = "devDependencies")]
    dev_dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    workspaces: serde_json::Value,
}

/// Scripts that npm runs while it installs, which may read any file of the app.
const INSTALL_SCRIPTS: [&str; 5] =
    ["preinstall", "install", "postinstall", "prepare", "prepublish"];

/// Dependencies are a layer of their own, keyed by the package and lock files where they stand alone.
pub fn plan(files: &Files, base: Base<'_>, procfile: Option<Procfile>) -> Result<Plan, Problem> {
    let package: Package = serde_json::from_str(files.text("package.json").unwrap_or_default())
        .map_err(|error| {
            Problem::new(Code::Invalid, format!("package.json cannot be read: {error}"))
        })?;
    let (processes, processes_from) = match procfile {
        Some(procfile) => (procfile.processes, "Procfile"),
        None => {
            let line = start_line(files, &package).ok_or_else(no_start)?;
            let web = (ProcessType::web(), Some(command::from_line(&line)));
            (BTreeMap::from([web]), "the start script of package.json")
        }
    };
    let locked = files.has("package-lock.json") || files.has("npm-shrinkwrap.json");
    Ok(Plan {
        kind: "Node",
        layout: Layout::Made(instructions(files, base, &package, locked)),
        ignore: Ignore::slug(&format!(
            "{}\n/node_modules\n",
            files.text(".slugignore").unwrap_or_default()
        ))
        .keeping("package.json")
        .keeping("package-lock.json")
        .keeping("npm-shrinkwrap.json")
        .keeping(".npmrc"),
        processes,
        processes_from,
        notes: notes(files, locked),
    })
}

/// The start script itself where it stands alone, so that its program and not npm gets the signals.
fn start_line(files: &Files, package: &Package) -> Option<String> {
    let alone = !["prestart", "poststart"].iter().any(|name| package.scripts.contains_key(*name));
    match package.scripts.get("start") {
        Some(line) if alone && !line.contains("npm_") && !line.trim().is_empty() => {
            Some(line.trim().to_owned())
        }
        Some(_) => Some("npm start".to_owned()),
        None if files.has("server.js") => Some("node server.js".to_owned()),
        None => None,
    }
}

fn no_start() -> Problem {
    Problem::new(
        Code::Unsupported,
        "package.json has no `start` script and there is no Procfile, so nothing says how to start it",
    )
    .hint("Add `\"scripts\": {\"start\": \"node server.js\"}` to package.json, or a Procfile with a `web:` line")
}

fn instructions(files: &Files, base: Base<'_>, package: &Package, locked: bool) -> String {
    let builds = package.scripts.contains_key("build");
    let cache = format!(
        "RUN --mount=type=cache,id=trireme-npm-{},target=/tmp/npm-cache,uid=1000,gid=1000,sharing=locked \
         {CONFIG_MOUNT} {READ_CONFIG}export npm_config_cache=/tmp/npm-cache &&",
        base.app
    );
    let install = format!(
        "{cache} npm {} --no-audit --no-fund --no-progress{}\n",
        if locked { "ci" } else { "install --no-package-lock" },
        if builds { " --include=dev" } else { " --omit=dev" }
    );
    let mut text = format!("FROM {}\nWORKDIR /app\n", base.stack);
    if needs_tree(package) {
        text += COPY_APP;
        text += &install;
    } else {
        let alone = ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];
        let present: Vec<String> =
            alone.iter().filter(|name| files.has(name)).map(|name| format!("app/{name}")).collect();
        text += &format!("COPY --chown=1000:1000 {} /app/\n", present.join(" "));
        text += &install;
        text += COPY_APP;
    }
    if builds {
        text += &format!(
            "{cache} npm run build && npm prune --omit=dev --no-audit --no-fund --no-progress\n"
        );
    }
    text + "ENV NODE_ENV=production PATH=/app/node_modules/.bin:$PATH\n"
}

/// Whether installing may read more of the app than its package and lock files.
fn needs_tree(package: &Package) -> bool {
    let local = |version: &serde_json::Value| {
        version.as_str().is_some_and(|version| {
            ["file:", "link:", "./", "../", "/", "workspace:"]
                .iter()
                .any(|start| version.starts_with(start))
        })
    };
    INSTALL_SCRIPTS.iter().any(|script| package.scripts.contains_key(*script))
        || !package.workspaces.is_null()
        || package.dependencies.values().chain(package.dev_dependencies.values()).any(local)
}

fn notes(files: &Files, locked: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !locked {
        notes.push(
            "no package-lock.json: npm chooses the versions anew with each install".to_owned(),
        );
    }
    for other in ["yarn.lock", "pnpm-lock.yaml", "bun.lockb"] {
        if files.has(other) && !locked {
            notes.push(format!("{other} is not read; add a package-lock.json to fix the versions"));
        }
    }
    if files
        .paths
        .range("node_modules/".to_owned()..)
        .next()
        .is_some_and(|path| path.starts_with("node_modules/"))
    {
        notes.push("node_modules of the commit is left out; npm makes it".to_owned());
    }
    notes
}
