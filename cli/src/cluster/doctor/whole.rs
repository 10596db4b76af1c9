//! How the whole cluster is, as a controller sees it: its nodes, the members of its store, its routers, and what waits.

use proto::api::{Capacity, Cluster, NodeDetail, RouterInfo, StoreInfo};

use super::{
    finding::{Finding, Grade},
    nodes::nodes,
};
use crate::cluster::{api::Api, choices::Choices, layout::Layout};

/// What was told.
struct Told {
    cluster: Cluster,
    nodes: Vec<NodeDetail>,
    /// Of a cluster of several nodes.
    several: Option<(Capacity, StoreInfo)>,
}

/// All of it.
pub(super) async fn whole(layout: &Layout, choices: &Choices) -> Vec<Finding> {
    match ask(layout, choices).await {
        Ok(told) => findings(&told),
        Err(error) => vec![Finding::new(
            "controller",
            Grade::Problem,
            format!("it tells nothing of the cluster: {error:#}"),
            "if most controllers are lost, bring one back; apps that run go on".to_owned(),
        )],
    }
}

async fn ask(layout: &Layout, choices: &Choices) -> anyhow::Result<Told> {
    let api = Api::of_operator(layout, choices)?;
    Ok(Told {
        cluster: api.get("/v1/cluster").await?,
        nodes: api.get("/v1/nodes").await?,
        several: match &choices.several {
            Some(_) => {
                Some((api.get("/v1/cluster/capacity").await?, api.get("/v1/cluster/store").await?))
            }
            None => None,
        },
    })
}

fn findings(told: &Told) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((capacity, store)) = &told.several {
        findings.extend(nodes(&told.nodes, capacity));
        findings.extend(members(&told.nodes, store));
    }
    findings.extend(routers(&told.cluster, &told.nodes));
    findings.extend(waiting(&told.cluster));
    findings.extend(strangers(&told.nodes));
    findings
}

/// The store has a member on each node that controls, and nowhere else.
fn members(nodes: &[NodeDetail], store: &StoreInfo) -> Vec<Finding> {
    let problem = |seen, advice: &str| Finding::new("store", Grade::Problem, seen, advice.into());
    let mut findings = Vec::new();
    if let Some(without_ms) = store.without_quorum_ms {
        findings.push(problem(
            format!("too few of its members are there, for {} s", without_ms / 1000),
            "apps serve on; bring nodes back, or, if they are gone for good, `clusterctl recover` here",
        ));
    }
    let is_member = |node: &NodeDetail| store.members.iter().any(|member| member.node == node.name);
    let controls = || nodes.iter().filter(|node| node.control);
    for node in controls().filter(|node| !is_member(node)) {
        findings.push(problem(
            format!("{} controls and has no member of it", node.name),
            "`clusterctl up` there goes on with what was cut off; otherwise take the node out and join it again",
        ));
    }
    let is_node = |name: &str| controls().any(|node| node.name == name);
    for member in store.members.iter().filter(|member| !is_node(&member.node)) {
        findings.push(problem(
            format!("its member {} ({}) is of no node", member.node, member.address),
            "a join that was cut off left it: run that join again",
        ));
    }
    let count = store.members.len();
    match findings.is_empty() {
        true if count.is_multiple_of(2) => findings.push(Finding::new(
            "store",
            Grade::Warning,
            format!("{count} members bear no more losses than {} would", count - 1),
            "join one more node that controls".to_owned(),
        )),
        true => findings.push(Finding::well("store", format!("{count} members"))),
        false => {}
    }
    findings
}

/// A router that is behind serves by an older table. Those of nodes that were taken out are heard no more.
fn routers(cluster: &Cluster, nodes: &[NodeDetail]) -> Vec<Finding> {
    let is_member = |router: &&RouterInfo| nodes.iter().any(|node| node.name == router.node);
    let late = cluster.routers.iter().filter(is_member).filter(|router| router.state != "ready");
    let finding = |router: &RouterInfo| {
        let advice = format!("see `clusterctl doctor` on {}", router.node);
        let area = format!("router of {}", router.node);
        Finding::new(&area, Grade::Warning, format!("it is {}", router.state), advice)
    };
    late.map(finding).collect()
}

/// What is wanted and cannot be.
fn waiting(cluster: &Cluster) -> Vec<Finding> {
    let finding = |reason: &String| {
        let advice = "`clusterctl capacity` shows the room there is; `paasctl ps` the app's units";
        Finding::new("waiting", Grade::Warning, reason.clone(), advice.to_owned())
    };
    cluster.waiting.iter().map(finding).collect()
}

/// Units that an older copy of the store does not know are left running for a while, for somebody to see.
fn strangers(nodes: &[NodeDetail]) -> Vec<Finding> {
    let all = nodes.iter().flat_map(|node| node.left_running.iter().map(move |it| (node, it)));
    let finding = |(node, (unit, until)): (&NodeDetail, (&String, &String))| {
        let seen = format!(
            "`{unit}` on {} runs although the cluster, since it was recovered or restored, does not know it",
            node.name
        );
        let advice = format!("it is ended at {until}; push or scale its app if it is missed");
        Finding::new("unknown unit", Grade::Warning, seen, advice)
    };
    all.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use proto::api::StoreMember;

    use super::{super::nodes::tests::detail, *};

    fn store(members: &[&str]) -> StoreInfo {
        let member = |name: &&str| StoreMember {
            node: (*name).to_owned(),
            address: "10.0.0.1:7405".to_owned(),
            is_here: false,
        };
        StoreInfo { without_quorum_ms: None, members: members.iter().map(member).collect() }
    }

    fn seen(nodes: &[&str], store: &StoreInfo) -> Vec<(Grade, String)> {
        let nodes: Vec<NodeDetail> = nodes.iter().map(|name| detail(name)).collect();
        members(&nodes, store).into_iter().map(|it| (it.grade, it.seen)).collect()
    }

    #[test]
    fn the_stores_members_are_the_nodes_that_control() {
        let three = ["n1", "n2", "n3"];
        assert_eq!(seen(&three, &store(&three)), [(Grade::Well, "3 members".to_owned())]);
        let two = seen(&three[..2], &store(&three[..2]));
        assert_eq!(two.iter().map(|(grade, _)| *grade).collect::<Vec<_>>(), [Grade::Warning]);
        let lacking = seen(&three, &store(&["n1", "n2", "10.0.0.9"]));
        assert_eq!(
            lacking,
            [
                (Grade::Problem, "n3 controls and has no member of it".to_owned()),
                (Grade::Problem, "its member 10.0.0.9 (10.0.0.1:7405) is of no node".to_owned()),
            ]
        );
        let cut = StoreInfo { without_quorum_ms: Some(61_000), ..store(&three) };
        assert_eq!(seen(&three, &cut)[0].1, "too few of its members are there, for 61 s");
    }

    #[test]
    fn what_waits_and_routers_that_are_late_are_told() {
        let router = |node: &str, state: &str| RouterInfo {
            node: node.to_owned(),
            state: state.to_owned(),
            version: 1,
        };
        let cluster = Cluster {
            version: String::new(),
            nodes: Vec::new(),
            routers: vec![router("n1", "ready"), router("n2", "behind"), router("n9", "silent")],
            apps: 1,
            units: 0,
            waiting: vec!["shop: no node has 512 MiB free for web.2".to_owned()],
        };
        let told =
            findings(&Told { cluster, nodes: vec![detail("n1"), detail("n2")], several: None });
        let told: Vec<_> = told.iter().map(|it| (it.area.as_str(), it.seen.as_str())).collect();
        let waits = ("waiting", "shop: no node has 512 MiB free for web.2");
        assert_eq!(told, [("router of n2", "it is behind"), waits]);
    }
}
