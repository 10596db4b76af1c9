//! How a change of an app is made: read, decide, write in one transaction, try anew after a lost race.

use axum::Json;
use axum::http::StatusCode;
use model::app::App;
use model::release::Release;
use model::snapshot::Versioned;
use model::time::Time;
use proto::api::Change;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Failure, WRITE_ATTEMPTS};
use crate::Context;
use crate::change::{Asked, Next};
use crate::records::{CommitError, Write};

/// Answer of every change that units must follow.
pub(super) type Changed = (StatusCode, Json<Change>);

/// Makes the change that `decide` decides. `event` is said in the app's log when no release tells it.
pub(super) async fn change(
    api: &Api,
    mut access: AppAccess,
    event: &str,
    decide: impl Fn(Asked<'_>) -> Answer<Option<Next>>,
) -> Answer<Changed> {
    for _ in 0..WRITE_ATTEMPTS {
        let current = current_release(api, &access.app.value).await?;
        let asked = Asked {
            app: &access.app.value,
            current: current.as_ref(),
            by: access.user(),
            now: Time(api.clock.now_ms()),
        };
        let Some(next) = decide(asked)? else {
            return Ok(accepted(&access.app.value, None, false));
        };
        match write(api, &access.app, &next).await {
            Ok(()) => {
                say(api, &next, event, access.user().as_str());
                return Ok(accepted(&next.app, next.release.as_ref(), true));
            }
            Err(CommitError::Conflict) => access.again().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}

/// The release in force.
pub(crate) async fn current_release(context: &Context, app: &App) -> Answer<Option<Release>> {
    let Some(number) = app.current else { return Ok(None) };
    let release = context.records.release(&app.name, number).await?;
    Ok(release.map(|release| release.value))
}

/// Writes the documents, if the app is still as it was read.
pub(crate) async fn write(
    context: &Context,
    read: &Versioned<App>,
    next: &Next,
) -> Result<(), CommitError> {
    let mut write = Write::new().replace(&next.app, read.revision);
    if let Some(release) = &next.release {
        write = write.create(release);
    }
    context.records.commit(write).await?;
    context.wake.kick();
    Ok(())
}

/// Says it in the app's log. Names of variables only, never values.
pub(crate) fn say(context: &Context, next: &Next, event: &str, by: &str) {
    let text = match &next.release {
        Some(release) => format!("release {} by {by}: {}", release.number, release.summary),
        None => format!("{event} by {by}"),
    };
    context.logs.say(&next.app.name, text);
}

fn accepted(app: &App, release: Option<&Release>, changed: bool) -> Changed {
    let release = release.map(|release| release.number.to_string());
    (StatusCode::ACCEPTED, Json(Change { generation: app.generation, release, changed }))
}

/// Edits the app's own document: settings that make no release and move no unit.
pub(super) async fn edit(
    api: &Api,
    access: &mut AppAccess,
    edit: impl Fn(&mut App) -> Answer<()>,
) -> Answer<bool> {
    for _ in 0..WRITE_ATTEMPTS {
        let mut app = access.app.value.clone();
        edit(&mut app)?;
        if app == access.app.value {
            return Ok(false);
        }
        match api.records.commit(Write::new().replace(&app, access.app.revision)).await {
            Ok(revision) => {
                access.app = Versioned { value: app, revision: revision.0 };
                api.wake.kick();
                return Ok(true);
            }
            Err(CommitError::Conflict) => access.again().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Conflict)
}
