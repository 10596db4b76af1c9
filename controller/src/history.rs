//! Where the git history of each app is kept: a manifest in the registries, named in the store.

use model::name::AppName;
use model::time::Time;
use proto::gateway::KeepHistoryRequest;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::records::{CommitError, Document, ReadError, Records, Write};

/// The document of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Whose.
    pub app: AppName,
    /// When the app was created: that of an earlier app of the same name is nobody's.
    pub app_created: Time,
    /// The digest of the manifest in [`repository`].
    pub manifest: String,
}

impl Document for History {
    const PREFIX: &'static str = "histories/";

    fn key(&self) -> String {
        key(&self.app)
    }
}

/// Where an app's document stands.
pub fn key(app: &AppName) -> String {
    format!("{}{app}", History::PREFIX)
}

/// The repository in the registries. No app's own has a slash.
pub fn repository(app: &AppName) -> String {
    format!("git/{app}")
}

/// The manifest that holds the history of an app created then; empty if nothing was pushed.
pub async fn manifest(
    records: &Records,
    app: &AppName,
    created: Time,
) -> Result<String, ReadError> {
    let history = records.get::<History>(&key(app)).await?.map(|history| history.value);
    let own = history.filter(|history| history.app_created == created);
    Ok(own.map(|history| history.manifest).unwrap_or_default())
}

/// Takes a newer one, if the caller knew the one before.
pub async fn keep(records: &Records, request: KeepHistoryRequest) -> Result<(), Status> {
    let name: AppName =
        request.app.parse().map_err(|_| Status::invalid_argument("the app's name is not valid"))?;
    let is_digest = request.history.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    if !is_digest {
        return Err(Status::invalid_argument("the history's digest is not one"));
    }
    loop {
        let app = records.app(&name).await.map_err(unreadable)?.filter(|app| {
            app.value.destroyed.is_none() && app.value.created.0 == request.app_created_ms
        });
        let app =
            app.ok_or_else(|| Status::failed_precondition("there is no such app any more"))?;
        let known = records.get::<History>(&key(&name)).await.map_err(unreadable)?;
        let before = known.as_ref().filter(|known| known.value.app_created == app.value.created);
        if before.map_or("", |before| before.value.manifest.as_str()) != request.before {
            return Err(Status::failed_precondition("the history is kept elsewhere by now"));
        }
        let (app_created, manifest) = (app.value.created, request.history.clone());
        let next = History { app: name.clone(), app_created, manifest };
        let write = match &known {
            Some(known) => Write::new().replace(&next, known.revision),
            None => Write::new().create(&next),
        };
        match records.commit(write).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict) => continue,
            Err(CommitError::Store(error)) => return Err(unreadable(error.into())),
            Err(CommitError::NoQuorum) => {
                return Err(Status::unavailable("the store takes no writes"));
            }
        }
    }
}

fn unreadable(error: ReadError) -> Status {
    tracing::warn!(%error, "a history could not be kept");
    Status::unavailable("the store does not answer")
}
