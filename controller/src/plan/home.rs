//! Units whose data is on one node: they run there or nowhere.

use model::app::App;
use model::name::{NodeName, ProcessType, VolumeName};
use model::node::Duty;
use model::snapshot::Snapshot;
use model::standing::{Standing, standing};
use model::time::Time;
use model::volume::Volume;

/// The volume that says where a type's units run.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    name: &'a VolumeName,
    volume: &'a Volume,
}

impl<'a> Home<'a> {
    /// Of a type, if it mounts a volume; all it mounts are on one node.
    pub fn of(app: &'a App, process: &ProcessType) -> Option<Home<'a>> {
        app.volumes_of(process).next().map(|(name, volume)| Home::at(name, volume))
    }

    /// Where a volume is.
    pub fn at(name: &'a VolumeName, volume: &'a Volume) -> Home<'a> {
        Home { name, volume }
    }

    /// The node.
    pub fn node(&self) -> &'a NodeName {
        &self.volume.node
    }

    /// Whether units can start there now.
    pub fn is_open(&self, snapshot: &Snapshot, now: Time) -> bool {
        self.closed(snapshot, now).is_none()
    }

    /// Why nothing can start there now, in words a user reads.
    pub fn closed(&self, snapshot: &Snapshot, now: Time) -> Option<String> {
        let trouble = self.trouble(snapshot, now)?;
        Some(format!("its volume `{}` is on {}, which is {trouble}", self.name, self.node()))
    }

    /// What its node is that keeps it from taking units.
    pub fn trouble(&self, snapshot: &Snapshot, now: Time) -> Option<String> {
        let name = self.node();
        let spec = snapshot.specs.get(name).map(|spec| &spec.value);
        let Some(spec) = spec.filter(|spec| self.volume.is_on(spec)) else {
            let trouble = "no longer in the cluster; to go on without the data: `paasctl volumes:unmount`, `volumes:destroy`, `volumes:create`";
            return Some(trouble.to_owned());
        };
        let node = snapshot.nodes.get(name);
        match (standing(snapshot, name, now), node.map(|node| &node.trouble), spec.duty) {
            (Standing::Lost { .. }, ..) => Some("lost".to_owned()),
            (Standing::Suspect, ..) | (Standing::Here, None, _) => Some("not heard".to_owned()),
            (Standing::Here, Some(Some(trouble)), _) => Some(format!("in trouble: {trouble}")),
            (Standing::Here, Some(None), Duty::Cordoned) => Some("cordoned".to_owned()),
            (Standing::Here, Some(None), Duty::Draining { .. }) => Some("being drained".to_owned()),
            (Standing::Here, Some(None), Duty::Open | Duty::Removed { .. }) => None,
        }
    }
}
