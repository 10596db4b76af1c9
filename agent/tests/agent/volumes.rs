//! Volumes: what units write to them, and when that goes.

use model::{release::Probe, unit::Phase};
use proto::agent::{RemoveVolumeRequest, agent_client::AgentClient};
use tonic::{Code, Status};

use crate::rig::{Rig, change, change_check, with_rig};

const VOLUME: &str = "shop-data-1";

async fn remove(rig: &Rig, role: &str, volume: &str) -> Result<(), Status> {
    let channel = service::channel(&rig.identity(role), &rig.agent.to_string(), "agent").unwrap();
    let request = RemoveVolumeRequest { volume: volume.to_owned() };
    AgentClient::new(channel).remove_volume(request).await.map(|_| ())
}

#[test]
fn a_volume_is_of_all_its_units_and_goes_when_the_controller_names_it() {
    with_rig(async |mut rig| {
        // The image's user is not root.
        let write = "test $(id -u) != 0 && echo kept >> /data/file && sleep 600";
        for (id, line) in [("web-1", write), ("web-2", "grep kept /data/file && sleep 600")] {
            let mut unit = rig.unit(id, line);
            change(&mut unit, |unit| {
                unit.mounts.insert("/data".parse().unwrap(), VOLUME.parse().unwrap());
            });
            change_check(&mut unit, |check| check.probe = Probe::Running);
            rig.order(unit);
            let status = rig.until(id, "ready", |status| status.phase == Phase::Ready).await;
            assert_eq!(status.trouble, None);
            rig.drop_order(id);
        }
        let file = rig.volumes().join(VOLUME).join("file");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n");
        for role in ["agent", "router", "logger"] {
            let refused = remove(&rig, role, VOLUME).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
        }
        for bad in ["", "..", "../orders", "/etc", "a/b"] {
            let refused = remove(&rig, "controller", bad).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
        }
        assert!(file.exists(), "no order to run is no order to delete");
        remove(&rig, "controller", VOLUME).await.unwrap();
        assert!(!rig.volumes().join(VOLUME).exists());
        remove(&rig, "controller", VOLUME).await.unwrap();
    });
}
