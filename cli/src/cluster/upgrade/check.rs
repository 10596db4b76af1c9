//! Whether this node can be upgraded now, and which node is next.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use proto::api::NodeDetail;

use super::{
    files::{self, Files},
    version::Version,
};
use crate::cluster::{
    api::Api,
    choices::Choices,
    health,
    layout::{HOOK, Layout},
    provision::saved_choices,
    supervisor,
};

/// A program tells its version at once.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// What was seen.
pub struct Checked {
    /// This node's choices.
    pub choices: Choices,
    /// Whether an upgrade was begun and cut off: what is ill here may be so by it.
    pub begun: bool,
    /// What would be put in place; none where there is nothing to do.
    pub files: Option<Files>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What is in the way.
    pub problems: Vec<String>,
}

/// Looks at this node, at the newer programs if a folder is named, and at the other nodes.
pub async fn check(layout: &Layout, from: Option<&Path>) -> anyhow::Result<Checked> {
    let choices = saved_choices(layout).context("read the choices of this cluster")?;
    let Some(choices) = choices else {
        bail!("find a cluster in `{}`; name its folder with --data", layout.data.display());
    };
    let to = supervisor::programs_folder(layout)?;
    let begun = Files::is_begun(&to);
    let mut checked =
        Checked { choices, begun, files: None, notes: Vec::new(), problems: Vec::new() };
    if begun {
        checked.notes.push(
            "An upgrade was begun here and cut off: `clusterctl upgrade --from FOLDER` goes on with it; with a copy of what is in `previous`, it goes back.".to_owned(),
        );
    } else {
        checked.problems.extend(health::problems(layout, &checked.choices).await);
    }
    let present =
        version_of(&to.join("trireme-agent")).await.context("ask the present programs")?;
    let mut wanted = present;
    if let Some(from) = from {
        let from = from.canonicalize().with_context(|| format!("find `{}`", from.display()))?;
        if Files::is_previous(&from, &to) {
            checked.problems.push(format!(
                "an upgrade begins with replacing what is in `{}`. Copy it, and name the copy.",
                from.display()
            ));
            return Ok(checked);
        }
        match newer(&from).await {
            Ok(version) => wanted = version,
            Err(problems) => {
                checked.problems.extend(problems);
                return Ok(checked);
            }
        }
        checked.offer(from, to, present, wanted)?;
    }
    let several = checked.choices.several.as_ref();
    match several.map(|several| several.control) {
        None => checked.notes.push(
            "One node: apps are served throughout; the API and `git push` are away for seconds.".to_owned(),
        ),
        Some(false) => checked.notes.push(
            "How the other nodes are is known on nodes with a controller: run `clusterctl upgrade --check` there first.".to_owned(),
        ),
        Some(true) => {
            let api = Api::of_operator(layout, &checked.choices)?;
            match api.get::<Vec<NodeDetail>>("/v1/nodes").await.context("list the nodes") {
                Ok(nodes) => checked.look_around(&nodes, wanted),
                Err(error) if begun => {
                    checked.notes.push(format!("How the other nodes are is not known: {error:#}."));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(checked)
}

impl Checked {
    fn offer(
        &mut self,
        from: PathBuf,
        to: PathBuf,
        present: Version,
        wanted: Version,
    ) -> anyhow::Result<()> {
        if !wanted.may_follow(present) {
            self.problems.push(format!(
                "version {wanted} cannot follow {present}: what is stored is only understood from one minor version to the next. Upgrade to a version between them first."
            ));
        }
        let files = Files::new(from, to);
        let mut there = true;
        for name in files::names() {
            there &= files.is_there(&name).with_context(|| format!("compare `{name}`"))?;
        }
        if there && !self.begun {
            self.notes.push(format!("This node has these programs, of version {wanted}, already."));
            return Ok(());
        }
        self.notes.push(match present == wanted {
            true => format!("From {present} to another build of the same version."),
            false => format!("From version {present} to {wanted}."),
        });
        self.notes.push("Take a backup first: `clusterctl backup`.".to_owned());
        self.files = Some(files);
        Ok(())
    }

    /// What the other nodes have to say to it.
    fn look_around(&mut self, nodes: &[NodeDetail], wanted: Version) {
        // This one is looked at here; after an upgrade that was cut off it need not be well.
        let others = || nodes.iter().filter(|node| node.name != self.choices.node);
        for node in others().filter(|node| node.state != "ready") {
            self.problems.push(format!(
                "node `{}` is {}. Bring it back, or take it out with `clusterctl nodes:remove`, so that the others can carry this one's apps.",
                node.name, node.state
            ));
        }
        let controls = nodes.iter().filter(|node| node.control).count();
        let ready = others().filter(|node| node.control && node.state == "ready").count();
        if controls > 2 && ready <= controls / 2 {
            self.problems.push(format!(
                "only {ready} of {controls} controllers answer beside this one: without it there is no quorum."
            ));
        }
        for node in nodes {
            let Ok(version) = node.version.parse::<Version>() else { continue };
            if version != wanted && !wanted.may_follow(version) && !version.may_follow(wanted) {
                self.problems.push(format!(
                    "node `{}` has version {version}, which does not understand {wanted}. Upgrade it first.",
                    node.name
                ));
            }
        }
        self.notes.extend(next(nodes, wanted, &self.choices.node));
    }
}

/// Which node is behind the newest version that is known.
fn next(nodes: &[NodeDetail], wanted: Version, own: &str) -> Option<String> {
    let versions: Vec<(&str, Version)> = nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.version.parse().ok()?)))
        .collect();
    let newest = versions.iter().map(|(_, version)| *version).chain([wanted]).max()?;
    let behind: Vec<&str> =
        versions.iter().filter(|(_, version)| *version < newest).map(|(name, _)| *name).collect();
    match behind.first() {
        None => Some(format!("All nodes have version {newest}.")),
        Some(_) if behind.contains(&own) => {
            Some(format!("Next is this node; behind {newest}: {}.", behind.join(", ")))
        }
        Some(first) => Some(format!("Next is `{first}`; behind {newest}: {}.", behind.join(", "))),
    }
}

/// The one version of all programs of a folder, or what is wrong with them.
async fn newer(from: &Path) -> Result<Version, Vec<String>> {
    let mut problems = Vec::new();
    let mut versions: Vec<(String, Version)> = Vec::new();
    for name in files::names() {
        let path = from.join(&name);
        if !path.is_file() {
            problems.push(format!("`{}` is not there.", path.display()));
        } else if name != HOOK {
            match version_of(&path).await {
                Ok(version) => versions.push((name, version)),
                Err(error) => problems
                    .push(format!("`{}` does not tell its version: {error:#}.", path.display())),
            }
        }
    }
    if versions.iter().any(|(_, version)| *version != versions[0].1) {
        let all: Vec<String> =
            versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        problems.push(format!("the programs are not of one version: {}.", all.join(", ")));
    }
    match versions.first() {
        Some((_, version)) if problems.is_empty() => Ok(*version),
        Some(_) | None => Err(problems),
    }
}

async fn version_of(program: &Path) -> anyhow::Result<Version> {
    let mut command = tokio::process::Command::new(program);
    let asked =
        command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(VERSION_LIMIT, asked).await.context("wait for it")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().last().unwrap_or_default();
    version.parse().with_context(|| format!("understand `{}`", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, version: &str) -> NodeDetail {
        serde_json::from_value(serde_json::json!({
            "name": name, "state": "ready", "duty": "open", "control": true, "labels": {},
            "addresses": {"agent": "", "logger": "", "registry": "", "gateway": null},
            "joined": "", "heard_ms_ago": 1, "memory_bytes": 1, "reserved_bytes": 0,
            "cpu_millis": 1, "disk_free_bytes": 1, "units": 0, "version": version, "clock_ahead_ms": 0,
        }))
        .unwrap()
    }

    #[test]
    fn the_next_node_is_one_that_is_behind() {
        let nodes = [node("n1", "0.2.0"), node("n2", "0.1.0"), node("n3", "0.1.0")];
        let version = |text: &str| text.parse::<Version>().unwrap();
        let said = next(&nodes, version("0.2.0"), "n1").unwrap();
        assert_eq!(said, "Next is `n2`; behind 0.2.0: n2, n3.");
        let said = next(&nodes, version("0.2.0"), "n3").unwrap();
        assert!(said.starts_with("Next is this node"), "{said}");
        assert_eq!(
            next(&nodes[..1], version("0.2.0"), "n1").unwrap(),
            "All nodes have version 0.2.0."
        );
    }
}
