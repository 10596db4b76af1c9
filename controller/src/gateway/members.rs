//! The nodes of the cluster, for every part that has to find another.

use futures_util::{Stream, stream};
use model::node::Member;
use model::snapshot::Snapshot;
use proto::gateway::MemberSet;
use tonic::Status;

use crate::view::ViewReceiver;

/// Every node that is in the cluster, and each list after it.
pub fn members(
    mut view: ViewReceiver,
    incarnation: String,
) -> impl Stream<Item = Result<MemberSet, Status>> + Send {
    view.mark_changed();
    stream::unfold((view, incarnation, None), |(mut view, incarnation, told)| async move {
        loop {
            view.changed().await.ok()?;
            let nodes = list(&view.borrow_and_update().snapshot);
            if told.as_ref() != Some(&nodes) {
                let set = member_set(&incarnation, &nodes);
                return Some((Ok(set), (view, incarnation, Some(nodes))));
            }
        }
    })
}

/// The members, and the revision of the last change of any of them.
fn list(snapshot: &Snapshot) -> (u64, Vec<Member>) {
    let revision = snapshot.specs.values().map(|spec| spec.revision).max().unwrap_or_default();
    let members = snapshot.specs.values().map(|spec| &spec.value).filter(|spec| spec.is_member());
    let members =
        members.map(|spec| Member { name: spec.name.clone(), addresses: spec.addresses.clone() });
    (revision, members.collect())
}

fn member_set(incarnation: &str, (revision, members): &(u64, Vec<Member>)) -> MemberSet {
    let json = |member| serde_json::to_string(member).expect("a member is plain data");
    MemberSet {
        incarnation: incarnation.to_owned(),
        revision: *revision,
        members_json: members.iter().map(json).collect(),
    }
}
