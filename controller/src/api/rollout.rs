//! A change's progress and end, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use proto::api::RolloutEvent;
use proto::problem::{Code, Problem};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::FollowAccess;
use super::answer::Answer;
use crate::follow::{Follow, Step};
use crate::progress::End;

/// How often a comment shows that the line is alive.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(rollout))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Followed {
    /// As the change's answer said; absent: the latest.
    generation: Option<u64>,
}

/// Streams what happens until the change is live or given up. May be asked again at any time.
#[utoipa::path(get, path = "/v1/apps/{app}/rollout", params(Followed),
    responses((status = 200, content_type = "text/event-stream", body = RolloutEvent)))]
async fn rollout(
    State(api): State<Api>,
    FollowAccess(access): FollowAccess,
    Query(followed): Query<Followed>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let app = &access.app.value;
    let generation = followed.generation.unwrap_or(app.generation);
    if generation > app.generation {
        let message = format!("`{}` has had no change number {generation}", app.name);
        return Err(Problem::new(Code::Invalid, message)
            .hint("give the generation that the change's answer told")
            .into());
    }
    let follow = Follow::new((*api).clone(), app, generation);
    let events = unfold(follow, async |mut follow| {
        let event = event(follow.next().await?);
        Some((Ok(sse_event(&event)), follow))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn event(step: Step) -> RolloutEvent {
    match step {
        Step::Said(text) => RolloutEvent::Progress { text },
        Step::End(End::Live { release }) => {
            RolloutEvent::Live { release: release.map(|release| release.to_string()) }
        }
        Step::End(End::Failed(problem)) => RolloutEvent::Failed { problem },
    }
}

/// JSON as one event's data.
pub(super) fn sse_event(data: &impl serde::Serialize) -> Event {
    Event::default().json_data(data).expect("event data holds only text and numbers")
}
