//! A volume: a folder of an app's on one node, which outlives the units that mount it.
//!
//! Its node is chosen when it is made and never changes, so planners know a constraint and never a choice: a unit that
//! mounts it runs there or nowhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::name::{AppName, MountPath, NodeName, ProcessType, VolumeId, VolumeName};
use crate::node::NodeSpec;
use crate::time::Time;

/// One volume of an app. Part of the app's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The folder's name on its node: of no other volume, whatever the app's or the volume's own name is.
    pub id: VolumeId,
    /// Where it is.
    pub node: NodeName,
    /// When it was made; no earlier than its node joined.
    pub created: Time,
    /// Which types mount it, and where.
    pub mounts: BTreeMap<ProcessType, MountPath>,
}

/// A volume that was destroyed and whose data is not gone yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doomed {
    /// Which.
    pub id: VolumeId,
    /// Where its data is.
    pub node: NodeName,
    /// Whose it was.
    pub app: AppName,
}

impl Volume {
    /// Whether this node has its data. A machine that came into the cluster after the volume was made has not, whatever it is called.
    pub fn is_on(&self, spec: &NodeSpec) -> bool {
        spec.name == self.node && spec.is_member() && spec.joined <= self.created
    }

    /// What is left of it when its app destroys it or is destroyed itself.
    pub fn doomed(&self, app: &AppName) -> Doomed {
        Doomed { id: self.id.clone(), node: self.node.clone(), app: app.clone() }
    }
}

impl App {
    /// The volumes that a type mounts. All of them are on one node.
    pub fn volumes_of(
        &self,
        process: &ProcessType,
    ) -> impl Iterator<Item = (&VolumeName, &Volume)> {
        let process = process.clone();
        self.volumes.iter().filter(move |(_, volume)| volume.mounts.contains_key(&process))
    }

    /// What units of a type mount, and where.
    pub fn mounts_of(&self, process: &ProcessType) -> BTreeMap<MountPath, VolumeId> {
        let volumes = self.volumes_of(process).map(|(_, volume)| volume);
        volumes.map(|volume| (volume.mounts[process].clone(), volume.id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Addresses, Duty};

    #[test]
    fn a_later_machine_of_the_same_name_has_not_the_data() {
        let volume = Volume {
            id: "shop-data-1".parse().unwrap(),
            node: "n1".parse().unwrap(),
            created: Time(10),
            mounts: BTreeMap::new(),
        };
        let spec = |name: &str, joined: u64, duty: Duty| NodeSpec {
            name: name.parse().unwrap(),
            addresses: Addresses::default(),
            labels: BTreeMap::new(),
            duty,
            joined: Time(joined),
            admission: String::new(),
        };
        assert!(volume.is_on(&spec("n1", 10, Duty::Cordoned)));
        assert!(!volume.is_on(&spec("n1", 11, Duty::Open)));
        assert!(!volume.is_on(&spec("n2", 1, Duty::Open)));
        assert!(!volume.is_on(&spec("n1", 1, Duty::Removed { at: Time(12) })));
    }
}
