//! Units that were started while the machine was alone: no other node's router reaches them, so each app's are replaced, new
//! ones first, as at a restart.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use http::Method;
use proto::api::{Change, NodeDetail, ProcessSelection, RolloutEvent};

use super::step;
use crate::cluster::{
    api::Api,
    choices::Choices,
    docker::{Docker, Unreached},
    layout::Layout,
};

/// The type whose units take requests.
const WEB: &str = "web";
/// How long an app may be busy with a change of its own, and old units may take to leave.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Replaces them, app by app. Gives those that could not be, with the reason.
pub async fn replace(layout: &Layout, choices: &Choices) -> anyhow::Result<Vec<String>> {
    let docker = Docker::new(&choices.docker_socket);
    let node = Node { docker, api: Api::of_operator(layout, choices)?.here(), choices };
    let unreached = node.unreached().await?;
    node.until_heard().await?;
    let mut left = Vec::new();
    for app in unreached.into_keys() {
        step(&format!("replacing the units of `{app}`, new ones first"));
        if let Err(error) = node.replace(&app).await {
            left.push(format!("{app}: {error:#}"));
        }
    }
    Ok(left)
}

struct Node<'a> {
    docker: Docker,
    api: Api,
    choices: &'a Choices,
}

impl Node<'_> {
    /// The units that other nodes do not reach, by app.
    async fn unreached(&self) -> anyhow::Result<BTreeMap<String, Vec<Unreached>>> {
        let units = self.docker.unreached(&self.choices.node, WEB).await;
        let mut apps: BTreeMap<String, Vec<Unreached>> = BTreeMap::new();
        for unit in units.context("look for units that other nodes do not reach")? {
            apps.entry(unit.app.clone()).or_default().push(unit);
        }
        Ok(apps)
    }

    /// Room is only known when the node was heard.
    async fn until_heard(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.detail().await?.heard_ms_ago.is_none() {
            if begun.elapsed() > DEADLINE {
                bail!("hear the agent of this node: see `clusterctl doctor`, then run this again");
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        Ok(())
    }

    async fn detail(&self) -> anyhow::Result<NodeDetail> {
        let detail = self.api.get(&format!("/v1/nodes/{}", self.choices.node)).await;
        detail.context("ask what room this node has")
    }

    async fn replace(&self, app: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut is_asked = false;
        loop {
            let units = self.unreached().await?.remove(app).unwrap_or_default();
            if units.is_empty() {
                return Ok(());
            }
            // What was asked for is done but for the old ones' leaving.
            if !is_asked {
                self.check_room(&units).await?;
                match self.restart(app).await {
                    Ok(change) => {
                        self.follow(app, &change).await?;
                        is_asked = true;
                    }
                    // It may be busy with another change, which replaces them as well.
                    Err(error) if begun.elapsed() > DEADLINE => return Err(error),
                    Err(_) => {}
                }
            } else if begun.elapsed() > DEADLINE {
                bail!("the old units are still there");
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// One that is alone would have to go first where there is no room for two.
    async fn check_room(&self, units: &[Unreached]) -> anyhow::Result<()> {
        let [unit] = units else { return Ok(()) };
        let node = self.detail().await?;
        let free = node.memory_bytes.saturating_sub(node.reserved_bytes);
        if free < unit.memory_bytes {
            bail!(
                "its unit needs {} MiB beside the old one and {} MiB are free",
                unit.memory_bytes >> 20,
                free >> 20
            );
        }
        Ok(())
    }

    async fn restart(&self, app: &str) -> anyhow::Result<Change> {
        let web = ProcessSelection { processes: vec![WEB.to_owned()] };
        self.api.send(Method::POST, &format!("/v1/apps/{app}/restart"), &web).await
    }

    /// Waits for the end of a change.
    async fn follow(&self, app: &str, change: &Change) -> anyhow::Result<()> {
        let path = format!("/v1/apps/{app}/rollout?generation={}", change.generation);
        match self.api.last_event(&path).await? {
            RolloutEvent::Failed { problem } => bail!("{}", problem.message),
            RolloutEvent::Live { .. } | RolloutEvent::Progress { .. } => Ok(()),
        }
    }
}
