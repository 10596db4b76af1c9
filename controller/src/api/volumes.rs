//! Volumes: folders of an app that outlive its units, each on one node.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use model::name::{AppName, VolumeName};
use model::node::NodeSpec;
use model::snapshot::Snapshot;
use model::time::Time;
use model::volume::Volume;
use proto::api::{Change, NewVolume, VolumeInfo, VolumeMounts};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body, Failure, WRITE_ATTEMPTS, rfc3339};
use super::changing::{Changed, change, edit};
use super::confirm::Confirmation;
use crate::accounts::secret;
use crate::change::volumes::{create as created, destroy as destroyed, mount as mounted};
use crate::plan::home::Home;
use crate::plan::placement::Room;
use crate::records::{CommitError, Write};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(mount, destroy))
}

fn info(api: &Api, name: &VolumeName, volume: &Volume) -> VolumeInfo {
    let view = api.view.borrow();
    let trouble = Home::at(name, volume).trouble(&view.snapshot, view.as_of);
    let mounts = volume.mounts.iter();
    VolumeInfo {
        name: name.to_string(),
        node: volume.node.to_string(),
        state: trouble.unwrap_or_else(|| "ready".to_owned()),
        mounts: mounts.map(|(process, path)| (process.to_string(), path.to_string())).collect(),
        created: rfc3339(volume.created),
    }
}

/// Lists an app's volumes.
#[utoipa::path(get, path = "/v1/apps/{app}/volumes",
    responses((status = 200, body = Vec<VolumeInfo>)))]
async fn list(State(api): State<Api>, access: AppAccess) -> Json<Vec<VolumeInfo>> {
    let volumes = access.app.value.volumes.iter();
    Json(volumes.map(|(name, volume)| info(&api, name, volume)).collect())
}

/// Makes a volume on a node, which is the one with the most free memory if none is named.
#[utoipa::path(post, path = "/v1/apps/{app}/volumes", request_body = NewVolume,
    responses((status = 201, body = VolumeInfo)))]
async fn create(
    State(api): State<Api>,
    mut access: AppAccess,
    Body(wanted): Body<NewVolume>,
) -> Answer<(StatusCode, Json<VolumeInfo>)> {
    let name: VolumeName = wanted.name.parse()?;
    let now = Time(api.clock.now_ms());
    let volume = {
        let view = api.view.borrow();
        let spec = choose(&view.snapshot, wanted.node.as_deref(), view.as_of)?;
        made(access.name(), &name, spec, now)
    };
    edit(&api, &mut access, |app| {
        *app = created(app, &name, volume.clone())?;
        Ok(())
    })
    .await?;
    let said = format!("volume {name} made on {} by {}", volume.node, access.user());
    api.logs.say(access.name(), said);
    Ok((StatusCode::CREATED, Json(info(&api, &name, &volume))))
}

fn made(app: &AppName, name: &VolumeName, spec: &NodeSpec, now: Time) -> Volume {
    let id = format!("{app}-{name}-{}", secret::new_id());
    Volume {
        id: id.parse().expect("an app, a volume and an id make a volume id"),
        node: spec.name.clone(),
        // The clock that says when a node joined may be ahead of ours.
        created: now.max(spec.joined),
        mounts: BTreeMap::new(),
    }
}

/// The named node, or the one with the most free memory, if it takes units.
fn choose<'s>(
    snapshot: &'s Snapshot,
    named: Option<&str>,
    now: Time,
) -> Result<&'s NodeSpec, Problem> {
    let room = Room::of(snapshot, now);
    let node = match named {
        Some(named) => room.open_nodes().find(|node| node.as_str() == named),
        None => room.roomiest(),
    };
    let spec = node.and_then(|node| snapshot.specs.get(node)).map(|spec| &spec.value);
    let spec = spec.filter(|spec| spec.is_member());
    spec.ok_or_else(|| match named {
        Some(named) => {
            let shown: String = named.chars().take(80).collect();
            Problem::new(Code::NotFound, format!("no node `{shown}` takes units now"))
                .hint("an administrator sees the nodes with `clusterctl nodes`; without `--node` one is chosen")
        }
        None => Problem::new(Code::NoRoom, "no node takes units now")
            .hint("an administrator sees the nodes with `clusterctl nodes`"),
    })
}

/// Mounts a volume in types, or no longer. Their units are replaced.
#[utoipa::path(patch, path = "/v1/apps/{app}/volumes/{volume}", request_body = VolumeMounts,
    responses((status = 202, body = Change)))]
async fn mount(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, volume)): Path<(String, String)>,
    Body(wanted): Body<VolumeMounts>,
) -> Answer<Changed> {
    let name: VolumeName = volume.parse()?;
    let mut patches = BTreeMap::new();
    for (process, path) in wanted.mounts {
        let path = path.map(|path| path.parse()).transpose()?;
        patches.insert(process.parse()?, path);
    }
    let event = format!("mounts of volume {name} changed");
    change(&api, access, &event, |asked| Ok(mounted(asked, &name, &patches)?)).await
}

/// Destroys a volume that nothing mounts, with its data.
#[utoipa::path(delete, path = "/v1/apps/{app}/volumes/{volume}", params(Confirmation),
    responses((status = 204)))]
async fn destroy(
    State(api): State<Api>,
    mut access: AppAccess,
    Path((_app, volume)): Path<(String, String)>,
    Query(given): Query<Confirmation>,
) -> Answer<StatusCode> {
    let name: VolumeName = volume.parse()?;
    for _ in 0..WRITE_ATTEMPTS {
        let (app, volume) = destroyed(&access.app.value, &name)?;
        given.check(name.as_str(), "all data in it")?;
        let write = Write::new().replace(&app, access.app.revision);
        match api.records.commit(write.put(&volume.doomed(&app.name))).await {
            Ok(_) => {
                api.wake.kick();
                api.logs
                    .say(access.name(), format!("volume {name} destroyed by {}", access.user()));
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(CommitError::Conflict) => access.again().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}
