//! The whole memory as it stands at one revision, for `clusterctl backup`.

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::iter;
use model::account::User;
use model::app::App;
use proto::dump::{self, AuthorityKey, Entry, Head};
use proto::problem::{Code, Problem};
use serde::Deserialize;
use store::Listing;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Failure};
use crate::admission::Authorities;
use crate::doubt::note_stale;
use crate::founding::{find, images_in_force};
use crate::incarnation::Life;
use crate::records::Document;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(backup))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Without a quorum, give what the nearest member remembers.
    #[serde(default)]
    stale: bool,
}

/// Gives everything the cluster remembers, at one revision, as lines of JSON: a head, then the entries.
#[utoipa::path(get, path = "/v1/cluster/backup", params(Wanted),
    responses((status = 200, content_type = "application/x-ndjson", body = Head)))]
async fn backup(
    State(api): State<Api>,
    _: Allowed,
    Query(wanted): Query<Wanted>,
) -> Answer<Response> {
    let (listing, is_stale) = listing(&api, wanted.stale).await?;
    let head = head(&api, &listing, is_stale)?;
    let entries = u64::try_from(listing.entries.len()).unwrap_or(u64::MAX);
    tracing::info!(entries, revision = head.revision, is_stale, "a backup is taken");
    let entries = listing
        .entries
        .into_iter()
        .map(|entry| line(&Entry { key: entry.key, value: STANDARD.encode(&entry.value) }));
    let lines = std::iter::once(line(&head)).chain(entries).map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(iter(lines));
    let response = Response::builder().header(CONTENT_TYPE, dump::CONTENT_TYPE).body(body);
    response.map_err(|error| Failure::internal("begin the answer", &error))
}

/// Everything, and whether it is only what one member remembers.
async fn listing(api: &Api, may_be_stale: bool) -> Answer<(Listing, bool)> {
    let store = api.records.store();
    if !api.records.doubt().is_set() {
        return Ok((store.list("").await?, false));
    }
    if !may_be_stale {
        let message = "too few of the cluster's control nodes are there to say what is newest";
        return Err(Problem::new(Code::NoQuorum, message)
            .hint(
                "wait until more return, or add --stale: then it is what the nearest one remembers",
            )
            .into());
    }
    note_stale();
    Ok((store.recall("").await?, true))
}

fn head(api: &Api, listing: &Listing, is_stale: bool) -> Answer<Head> {
    let life = find::<Life>(listing, Life::PREFIX)?;
    let authority = match find::<Authorities>(listing, Authorities::PREFIX)? {
        Some(authorities) => {
            let opened = authorities.parts.open(&api.seal);
            let opened = opened.map_err(|error| Failure::internal("open the authority", &error))?;
            Some(AuthorityKey { ca_pem: opened.ca_pem().to_owned(), key_pem: opened.key_pem() })
        }
        None => None,
    };
    Ok(Head {
        version: dump::VERSION,
        incarnation: life.map(|it| it.incarnation().to_string()).unwrap_or_default(),
        revision: listing.revision.0,
        is_stale,
        entries: count(listing, ""),
        apps: count(listing, App::PREFIX),
        users: count(listing, User::PREFIX),
        authority,
        images: images_in_force(listing)?,
    })
}

fn count(listing: &Listing, prefix: &str) -> u64 {
    let found = listing.entries.iter().filter(|entry| entry.key.starts_with(prefix)).count();
    u64::try_from(found).unwrap_or(u64::MAX)
}

fn line(value: &impl serde::Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("it holds text and numbers");
    line.push(b'\n');
    line.into()
}
