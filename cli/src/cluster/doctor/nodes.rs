//! How the nodes of the cluster are, as a controller sees them: silent ones, old ones, full ones, clocks, and the reserve.

use proto::api::{Capacity, NodeDetail};

use super::finding::{Finding, Grade};
use crate::cluster::preflight::MIN_FREE_BYTES;

/// Clocks that are kept by a service differ by less.
const MAX_CLOCK_ERROR_MS: u64 = 5_000;

/// All of them.
pub(super) fn nodes(seen: &[NodeDetail], capacity: &Capacity) -> Vec<Finding> {
    let mut findings: Vec<Finding> = seen.iter().map(node).collect();
    findings.extend(versions(seen));
    findings.extend(reserve(capacity));
    findings
}

fn node(node: &NodeDetail) -> Finding {
    let area = format!("node {}", node.name);
    let problem = |seen: String, advice: String| Finding::new(&area, Grade::Problem, seen, advice);
    if node.state != "ready" {
        let name = &node.name;
        return problem(
            format!("it is {}", node.state),
            format!(
                "see `clusterctl doctor` there; if the machine is gone, `clusterctl nodes:remove {name}`"
            ),
        );
    }
    if node.clock_ahead_ms.unsigned_abs() > MAX_CLOCK_ERROR_MS {
        return problem(
            format!("its clock is {} s off", node.clock_ahead_ms / 1000),
            "set it there, for example with `apt-get install systemd-timesyncd`".to_owned(),
        );
    }
    if node.disk_free_bytes < MIN_FREE_BYTES {
        let seen = format!("{} MiB of disk free where images are kept", node.disk_free_bytes >> 20);
        return Finding::new(&area, Grade::Warning, seen, "free some there".to_owned());
    }
    Finding::well(&area, format!("ready, {} units", node.units))
}

/// Nodes of different versions work together, but not for long.
fn versions(nodes: &[NodeDetail]) -> Option<Finding> {
    let told = || nodes.iter().filter(|node| !node.version.is_empty());
    let first = told().next()?;
    if told().all(|node| node.version == first.version) {
        return None;
    }
    let all: Vec<String> = told().map(|node| format!("{} {}", node.name, node.version)).collect();
    let advice = "`clusterctl upgrade --check` says which node is next".to_owned();
    Some(Finding::new(
        "versions",
        Grade::Warning,
        format!("they differ: {}", all.join(", ")),
        advice,
    ))
}

/// The loss of which single node would leave production without room.
fn reserve(capacity: &Capacity) -> Option<Finding> {
    let wanting =
        capacity.losses.iter().find(|loss| loss.nodes.len() == 1 && !loss.production.is_empty())?;
    let (node, apps) = (wanting.nodes.join(", "), wanting.production.join(", "));
    Some(Finding::new(
        "reserve",
        Grade::Warning,
        format!("without {node} these production apps wait: {apps}"),
        "add a node or memory, or lower limits; see `clusterctl capacity`".to_owned(),
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use proto::api::LossInfo;

    use super::*;

    pub fn detail(name: &str) -> NodeDetail {
        serde_json::from_value(serde_json::json!({
            "name": name, "state": "ready", "duty": "open", "control": true, "labels": {},
            "addresses": {"agent": "", "logger": "", "registry": "", "gateway": null},
            "joined": "", "heard_ms_ago": 1, "memory_bytes": 1, "reserved_bytes": 0,
            "cpu_millis": 1, "disk_free_bytes": 1_u64 << 40, "units": 0, "version": "0.1.0",
            "clock_ahead_ms": 0,
        }))
        .unwrap()
    }

    #[test]
    fn a_node_that_is_silent_off_or_full_is_told() {
        let grade = |change: fn(&mut NodeDetail)| {
            let mut changed = detail("n1");
            change(&mut changed);
            node(&changed).grade
        };
        assert_eq!(grade(|_| {}), Grade::Well);
        assert_eq!(grade(|node| node.state = "lost".to_owned()), Grade::Problem);
        assert_eq!(grade(|node| node.clock_ahead_ms = -6_000), Grade::Problem);
        assert_eq!(grade(|node| node.clock_ahead_ms = 4_000), Grade::Well);
        assert_eq!(grade(|node| node.disk_free_bytes = 1 << 20), Grade::Warning);
    }

    #[test]
    fn versions_that_differ_are_told_with_whose_they_are() {
        let newer = NodeDetail { version: "0.2.0".to_owned(), ..detail("n2") };
        assert_eq!(versions(&[detail("n1"), detail("n3")]), None);
        let told = versions(&[detail("n1"), newer]).unwrap();
        assert_eq!(told.seen, "they differ: n1 0.1.0, n2 0.2.0");
    }

    #[test]
    fn a_reserve_that_is_not_kept_names_the_node_and_the_apps() {
        let loss = |nodes: &[&str], production: &[&str]| LossInfo {
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            production: production.iter().map(|name| (*name).to_owned()).collect(),
            others: Vec::new(),
        };
        let kept = Capacity { losses: vec![loss(&["n1"], &[]), loss(&["n1", "n2"], &["shop"])] };
        assert_eq!(reserve(&kept), None);
        let told = reserve(&Capacity { losses: vec![loss(&["n2"], &["shop"])] }).unwrap();
        assert_eq!(told.seen, "without n2 these production apps wait: shop");
    }
}
