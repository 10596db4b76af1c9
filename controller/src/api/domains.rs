//! Host names an app answers to beside its own.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::name::Hostname;
use model::route::{Certificate, Domain};
use model::time::Time;
use proto::api::{DomainInfo, NewDomain};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body, Failure, rfc3339};
use crate::records::{CommitError, Write, domain_key};

/// The most host names of one app.
const MAX_DOMAINS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

fn info(domain: &Domain, certificates: &[Certificate]) -> DomainInfo {
    let serving = certificates
        .iter()
        .filter(|certificate| certificate.app == domain.app && certificate.covers(&domain.host));
    DomainInfo {
        host: domain.host.to_string(),
        created: rfc3339(domain.created),
        certificate: serving.max_by_key(|known| known.not_after).map(|known| known.name.clone()),
    }
}

async fn certificates(api: &Api) -> Answer<Vec<Certificate>> {
    let all = api.records.all::<Certificate>().await?;
    Ok(all.into_iter().map(|certificate| certificate.value).collect())
}

/// Lists an app's own host names.
#[utoipa::path(get, path = "/v1/apps/{app}/domains",
    responses((status = 200, body = Vec<DomainInfo>)))]
async fn list(State(api): State<Api>, access: AppAccess) -> Answer<Json<Vec<DomainInfo>>> {
    let certificates = certificates(&api).await?;
    let domains = api.records.all::<Domain>().await?.into_iter();
    let own = domains.filter(|domain| domain.value.app == *access.name());
    Ok(Json(own.map(|domain| info(&domain.value, &certificates)).collect()))
}

/// Binds a host name, which belongs to one app at most.
#[utoipa::path(post, path = "/v1/apps/{app}/domains", request_body = NewDomain,
    responses((status = 201, body = DomainInfo)))]
async fn add(
    State(api): State<Api>,
    access: AppAccess,
    Body(wanted): Body<NewDomain>,
) -> Answer<(StatusCode, Json<DomainInfo>)> {
    let host: Hostname = wanted.host.trim().to_ascii_lowercase().parse()?;
    refuse_platform(&api.platform.domain, &host)?;
    let own = api.records.all::<Domain>().await?;
    if own.iter().filter(|domain| domain.value.app == *access.name()).count() >= MAX_DOMAINS {
        let message = format!("the app has {MAX_DOMAINS} host names, which is the most");
        return Err(Problem::new(Code::TooMany, message).into());
    }
    let created = Time(api.clock.now_ms());
    let domain = Domain { host, app: access.name().clone(), created };
    // The app must still be there as it was: a domain never outlives a destroyed app.
    let write = Write::new().require(&access.app.value, access.app.revision).create(&domain);
    match api.records.commit(write).await {
        Ok(_) => {}
        Err(CommitError::Conflict) => return Err(collision(&api, &domain).await),
        Err(error) => return Err(error.into()),
    }
    api.wake.kick();
    api.logs.say(access.name(), format!("domain {} added by {}", domain.host, access.user()));
    Ok((StatusCode::CREATED, Json(info(&domain, &certificates(&api).await?))))
}

async fn collision(api: &Api, domain: &Domain) -> Failure {
    let found = match api.records.get::<Domain>(&domain_key(&domain.host)).await {
        Ok(found) => found,
        Err(error) => return error.into(),
    };
    let Some(found) = found else { return Failure::Conflict };
    let message = format!("`{}` is bound already", domain.host);
    let hint = match found.value.app == domain.app {
        true => "it is bound to this app: nothing is to be done",
        false => "it is bound to another app: its owner must remove it first",
    };
    Problem::new(Code::Exists, message).hint(hint).into()
}

/// Names at and below the platform's domain are given out by the platform.
fn refuse_platform(domain: &str, host: &Hostname) -> Answer<()> {
    let bare = host.as_str().strip_prefix("*.").unwrap_or(host.as_str());
    if bare != domain && !bare.ends_with(&format!(".{domain}")) {
        return Ok(());
    }
    Err(Problem::new(Code::Invalid, format!("`{host}` belongs to the platform"))
        .hint(format!("every app answers at `<app>.{domain}` by itself; bind names of your own"))
        .into())
}

/// Unbinds a host name.
#[utoipa::path(delete, path = "/v1/apps/{app}/domains/{host}", responses((status = 204)))]
async fn remove(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, host)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let host: Hostname = host.to_ascii_lowercase().parse()?;
    let found = api.records.get::<Domain>(&domain_key(&host)).await?;
    let Some(domain) = found.filter(|domain| domain.value.app == *access.name()) else {
        return Err(Problem::new(Code::NotFound, format!("the app has no domain `{host}`"))
            .hint("`paasctl domains` lists them")
            .into());
    };
    api.records.commit(Write::new().delete(&domain.value, domain.revision)).await?;
    api.wake.kick();
    api.logs.say(access.name(), format!("domain {host} removed by {}", access.user()));
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_own_names_are_not_given_away() {
        let refused = |host: &str| refuse_platform("apps.example.com", &host.parse().unwrap());
        for host in ["apps.example.com", "blog.apps.example.com", "*.apps.example.com"] {
            assert!(refused(host).is_err(), "{host}");
        }
        for host in ["example.com", "myapps.example.com", "*.example.com"] {
            assert!(refused(host).is_ok(), "{host}");
        }
    }
}
