//! `clusterctl nodes` and its kin: the nodes of the cluster, their labels and duty, and the end of one.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use http::Method;
use proto::api::{Capacity, LossInfo, NodeChange, NodeDetail};

use super::{api::Api, layout::Layout, provision::saved_choices};
use crate::output::{self, Progress};

/// How often a drain is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// The API of this node's cluster.
pub struct Nodes(Api);

impl Nodes {
    /// Of the cluster in this folder.
    pub fn of(layout: &Layout) -> anyhow::Result<Nodes> {
        let choices = saved_choices(layout).context("read the choices of this cluster")?;
        let Some(choices) = choices else {
            bail!("find a cluster in `{}`; name its folder with --data", layout.data.display());
        };
        Ok(Nodes(Api::of_operator(layout, &choices)?))
    }

    /// Lists them. Exit code 1 when one is not ready.
    pub async fn list(&self, json: bool) -> anyhow::Result<ExitCode> {
        let nodes = self.all().await?;
        if json {
            output::json(&nodes)?;
        } else {
            let headers = ["NODE", "STATE", "DUTY", "ROLE", "UNITS", "MEMORY", "ADDRESS", "LABELS"];
            output::table(&headers, nodes.iter().map(row).collect());
        }
        let is_ready = nodes.iter().all(|node| node.state == "ready");
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Shows one.
    pub async fn info(&self, node: &str, json: bool) -> anyhow::Result<ExitCode> {
        let detail: NodeDetail = self.0.get(&path(node)?).await.context("show the node")?;
        if json {
            output::json(&detail)?;
        } else {
            show(&detail);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Sets labels (`zone=a`) or takes them away (`zone=`).
    pub async fn label(&self, node: &str, labels: &[String]) -> anyhow::Result<ExitCode> {
        let labels = labels.iter().map(|text| parse_label(text)).collect::<anyhow::Result<_>>()?;
        let change = NodeChange { labels, duty: None };
        let detail = self.change(node, &change).await.context("label the node")?;
        output::line(format_args!("{}: {}", detail.name, labels_of(&detail)));
        Ok(ExitCode::SUCCESS)
    }

    /// Sets whether it takes units.
    pub async fn set_duty(&self, node: &str, duty: &str) -> anyhow::Result<ExitCode> {
        let change = NodeChange { duty: Some(duty.to_owned()), ..NodeChange::default() };
        let detail = self.change(node, &change).await.context("change the node's duty")?;
        output::line(match duty {
            "cordoned" => {
                format!("{} keeps its {} units and gets no new ones.", detail.name, detail.units)
            }
            _ => format!("{} takes units.", detail.name),
        });
        Ok(ExitCode::SUCCESS)
    }

    /// Lets its units move away, and waits until the last has.
    pub async fn drain(&self, node: &str) -> anyhow::Result<ExitCode> {
        let change = NodeChange { duty: Some("draining".to_owned()), ..NodeChange::default() };
        let mut detail = self.change(node, &change).await.context("drain the node")?;
        let mut progress = Progress::new();
        while detail.units > 0 {
            progress.say(&format!(
                "{} units left on {node}; they move on if you stop waiting",
                detail.units
            ));
            tokio::time::sleep(LOOK_PERIOD).await;
            detail = self.0.get(&path(node)?).await.context("look at the node")?;
            if detail.duty != "draining" {
                bail!("drain the node: meanwhile its duty was set to `{}`", detail.duty);
            }
        }
        drop(progress);
        output::line(format_args!(
            "{node} runs no units. `clusterctl nodes:remove {node}` takes it out, `clusterctl uncordon {node}` gives it units again."
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// Takes one out of the cluster.
    pub async fn remove(&self, node: &str) -> anyhow::Result<ExitCode> {
        self.0.delete(&path(node)?).await.context("remove the node")?;
        output::line(format_args!(
            "{node} is out of the cluster. If that machine still runs: `clusterctl down --wipe` there."
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// Takes one whose machine is gone out of the cluster, if it still is in it.
    pub async fn give_up(&self, node: &str) -> anyhow::Result<()> {
        let path = path(node)?;
        let all = self.all().await?;
        let Some(known) = all.iter().find(|known| known.name == node) else { return Ok(()) };
        if !["lost", "silent"].contains(&known.state.as_str()) {
            bail!(
                "replace {node}: it is {}, and this is for a machine that is gone. Add the new one with `clusterctl token:create`, then `clusterctl drain {node}` and `clusterctl nodes:remove {node}`",
                known.state
            );
        }
        self.0.delete(&path).await.context("take the lost node out")?;
        output::line(format_args!(
            "{node} is out of the cluster; its certificates prove nothing any more."
        ));
        Ok(())
    }

    /// What room there is.
    pub async fn capacity(&self, json: bool) -> anyhow::Result<ExitCode> {
        let nodes = self.all().await?;
        let capacity: Capacity =
            self.0.get("/v1/cluster/capacity").await.context("ask what a loss would cost")?;
        if json {
            output::json(&serde_json::json!({"nodes": nodes, "losses": capacity.losses}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let headers = ["NODE", "MEMORY", "RESERVED", "FREE", "CPU", "DISK FREE", "UNITS"];
        output::table(&headers, nodes.iter().map(room).collect());
        capacity.losses.iter().map(loss).for_each(output::line);
        Ok(ExitCode::SUCCESS)
    }

    async fn all(&self) -> anyhow::Result<Vec<NodeDetail>> {
        self.0.get("/v1/nodes").await.context("list the nodes")
    }

    async fn change(&self, node: &str, change: &NodeChange) -> anyhow::Result<NodeDetail> {
        self.0.send(Method::PATCH, &path(node)?, change).await
    }
}

/// What the loss of nodes would cost, in a sentence.
fn loss(loss: &LossInfo) -> String {
    let lost = format!("without {}", loss.nodes.join(" and "));
    let waiting = |apps: &[String], what: &str| {
        (!apps.is_empty()).then(|| format!("{what} wait: {}", apps.join(", ")))
    };
    let waits: Vec<String> = waiting(&loss.production, "production apps")
        .into_iter()
        .chain(waiting(&loss.others, "other apps"))
        .collect();
    if waits.is_empty() {
        format!("{lost}: all apps run")
    } else {
        format!("{lost}: {}", waits.join("; "))
    }
}

/// A node's name holds nothing that has a meaning in a path.
fn path(node: &str) -> anyhow::Result<String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if node.is_empty() || !node.bytes().all(is_name) {
        bail!("find node `{node}`: names have lowercase letters, digits, `-` and dots only");
    }
    Ok(format!("/v1/nodes/{node}"))
}

fn parse_label(text: &str) -> anyhow::Result<(String, Option<String>)> {
    let Some((label, value)) = text.split_once('=') else {
        bail!("understand `{text}`: write `label=value` to set one, `label=` to take it away");
    };
    Ok((label.to_owned(), (!value.is_empty()).then(|| value.to_owned())))
}

fn labels_of(node: &NodeDetail) -> String {
    let labels: Vec<String> =
        node.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
}

fn role(node: &NodeDetail) -> &'static str {
    if node.control { "control" } else { "apps" }
}

fn host(node: &NodeDetail) -> String {
    let address = &node.addresses.agent;
    address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned()
}

fn row(node: &NodeDetail) -> Vec<String> {
    vec![
        node.name.clone(),
        node.state.clone(),
        node.duty.clone(),
        role(node).to_owned(),
        node.units.to_string(),
        format!("{} of {}", mebibytes(node.reserved_bytes), mebibytes(node.memory_bytes)),
        host(node),
        labels_of(node),
    ]
}

fn room(node: &NodeDetail) -> Vec<String> {
    vec![
        node.name.clone(),
        mebibytes(node.memory_bytes),
        mebibytes(node.reserved_bytes),
        mebibytes(node.memory_bytes.saturating_sub(node.reserved_bytes)),
        format!("{:.1}", f64::from(node.cpu_millis) / 1000.0),
        mebibytes(node.disk_free_bytes),
        node.units.to_string(),
    ]
}

fn show(node: &NodeDetail) {
    let heard = node.heard_ms_ago.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms ago"));
    let memory =
        format!("{} of {} reserved", mebibytes(node.reserved_bytes), mebibytes(node.memory_bytes));
    let rows = [
        ("name", node.name.clone()),
        ("state", format!("{} (heard {heard})", node.state)),
        ("duty", node.duty.clone()),
        ("role", role(node).to_owned()),
        ("labels", labels_of(node)),
        ("units", node.units.to_string()),
        ("memory", memory),
        ("disk", format!("{} free", mebibytes(node.disk_free_bytes))),
        ("joined", node.joined.clone()),
    ];
    for (title, value) in rows {
        output::line(format_args!("{title:<8}{value}"));
    }
    for (unit, until) in &node.left_running {
        output::line(format_args!("unknown {unit} is left running until {until}"));
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_with_whom_it_makes_wait() {
        let of = |production: &[&str], others: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            loss(&LossInfo {
                nodes: names(&["n1", "n2"]),
                production: names(production),
                others: names(others),
            })
        };
        assert_eq!(of(&[], &[]), "without n1 and n2: all apps run");
        let said = "without n1 and n2: production apps wait: shop; other apps wait: blog, wiki";
        assert_eq!(of(&["shop"], &["blog", "wiki"]), said);
    }

    #[test]
    fn labels_are_set_and_taken_away() {
        assert_eq!(parse_label("zone=a").unwrap(), ("zone".to_owned(), Some("a".to_owned())));
        assert_eq!(parse_label("zone=").unwrap(), ("zone".to_owned(), None));
        assert!(parse_label("zone").is_err());
    }

    #[test]
    fn a_name_never_leaves_its_place_in_a_path() {
        assert_eq!(path("n-1.example").unwrap(), "/v1/nodes/n-1.example");
        for bad in ["", "a/b", "a?b", "a b", "a%2f"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
