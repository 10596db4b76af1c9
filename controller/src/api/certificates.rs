//! Certificates of owners: checked whole, the key sealed at rest.

mod reading;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::route::Certificate;
use model::time::Time;
use proto::api::{CertificateInfo, NewCertificate};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body, Failure, rfc3339};
use crate::records::{Document, Write};

/// The most certificates of one app.
const MAX_CERTIFICATES: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

fn info(certificate: &Certificate) -> CertificateInfo {
    CertificateInfo {
        name: certificate.name.clone(),
        hosts: certificate.hosts.iter().map(ToString::to_string).collect(),
        not_after: rfc3339(certificate.not_after),
    }
}

/// Lists an app's certificates.
#[utoipa::path(get, path = "/v1/apps/{app}/certs",
    responses((status = 200, body = Vec<CertificateInfo>)))]
async fn list(State(api): State<Api>, access: AppAccess) -> Answer<Json<Vec<CertificateInfo>>> {
    let all = api.records.all::<Certificate>().await?;
    let own = all.iter().filter(|certificate| certificate.value.app == *access.name());
    Ok(Json(own.map(|certificate| info(&certificate.value)).collect()))
}

/// Adds a certificate, or replaces one of the same name.
#[utoipa::path(post, path = "/v1/apps/{app}/certs", request_body = NewCertificate,
    responses((status = 201, body = CertificateInfo)))]
async fn add(
    State(api): State<Api>,
    access: AppAccess,
    Body(given): Body<NewCertificate>,
) -> Answer<(StatusCode, Json<CertificateInfo>)> {
    check_name(&given.name)?;
    let now = Time(api.clock.now_ms());
    let read = reading::read(&given.chain_pem, &given.key_pem, now)
        .map_err(|error| Problem::new(Code::Invalid, error.to_string()).hint(error.hint()))?;
    let place = format!("{}{}", Certificate::PREFIX, given.name);
    let certificate = Certificate {
        name: given.name,
        app: access.name().clone(),
        hosts: read.hosts,
        chain_pem: given.chain_pem,
        key: api.seal.seal(&place, given.key_pem.as_bytes()),
        not_after: read.not_after,
        created: now,
    };
    let all = api.records.all::<Certificate>().await?;
    let known = all.iter().find(|known| known.value.name == certificate.name);
    let write = Write::new().require(&access.app.value, access.app.revision);
    let write = match known {
        Some(known) if known.value.app != certificate.app => {
            let message = format!("there is a certificate `{}` already", certificate.name);
            return Err(Problem::new(Code::Exists, message).hint("choose another name").into());
        }
        Some(known) => write.replace(&certificate, known.revision),
        None => {
            let own = all.iter().filter(|known| known.value.app == certificate.app);
            if own.count() >= MAX_CERTIFICATES {
                let message = format!("the app has {MAX_CERTIFICATES} certificates, the most");
                return Err(Problem::new(Code::TooMany, message).into());
            }
            write.create(&certificate)
        }
    };
    api.records.commit(write).await?;
    api.wake.kick();
    let name = &certificate.name;
    api.logs.say(access.name(), format!("certificate {name} added by {}", access.user()));
    Ok((StatusCode::CREATED, Json(info(&certificate))))
}

fn check_name(name: &str) -> Answer<()> {
    let is_sane = (1..=60).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_sane {
        return Ok(());
    }
    let message = "a certificate's name has 1 to 60 letters, digits, `-`, `_` and `.`";
    Err(Failure::invalid(message))
}

/// Removes a certificate.
#[utoipa::path(delete, path = "/v1/apps/{app}/certs/{name}", responses((status = 204)))]
async fn remove(
    State(api): State<Api>,
    access: AppAccess,
    Path((_app, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let all = api.records.all::<Certificate>().await?;
    let mut own = all.iter().filter(|certificate| certificate.value.app == *access.name());
    let Some(certificate) = own.find(|certificate| certificate.value.name == name) else {
        return Err(Problem::new(Code::NotFound, "the app has no certificate of that name")
            .hint("`paasctl certs` lists them")
            .into());
    };
    api.records.commit(Write::new().delete(&certificate.value, certificate.revision)).await?;
    api.wake.kick();
    api.logs.say(access.name(), format!("certificate {name} removed by {}", access.user()));
    Ok(StatusCode::NO_CONTENT)
}
