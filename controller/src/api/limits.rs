//! Limits of memory and CPU by process type.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::name::ProcessType;
use model::release::{Limits, Release};
use proto::api::{Change, LimitsByProcess, LimitsInfo};
use service::Size;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;
use super::answer::{Answer, Body};
use super::changing::{Changed, change, current_release};
use crate::change::Refusal;
use crate::change::settings::{
    Limit, LimitsPatch, MAX_CPU_MILLIS, MAX_MEMORY_BYTES, MIN_CPU_MILLIS, MIN_MEMORY_BYTES,
    set_limits,
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show, patch))
}

fn info(limits: &Limits) -> LimitsInfo {
    LimitsInfo {
        memory: limits.memory_bytes.map(|bytes| Size(bytes).to_string()),
        cpu: limits.cpu_millis.map(shown_cpu),
    }
}

fn shown_cpu(millis: u32) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

fn read<T: Copy>(
    given: Option<&str>,
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<Limit<T>, Refusal> {
    match given {
        None => Ok(Limit::Leave),
        Some("none") => Ok(Limit::Remove),
        Some(text) => parse(text).map(Limit::Set),
    }
}

fn memory(text: &str) -> Result<u64, Refusal> {
    let size = text.parse::<Size>().ok().map(|size| size.0);
    size.filter(|bytes| (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(bytes)).ok_or_else(|| {
        Refusal::Value {
            what: "memory".to_owned(),
            given: text.chars().take(40).collect(),
            rule: "must be a size from 16M to 4T, such as `512M` or `1G`, or `none`",
        }
    })
}

/// `0.5`, `2`, `250m`.
fn cpu(text: &str) -> Result<u32, Refusal> {
    let millis = match text.strip_suffix('m') {
        Some(millis) => millis.parse().ok(),
        None => millis_of(text),
    };
    millis.filter(|millis| (MIN_CPU_MILLIS..=MAX_CPU_MILLIS).contains(millis)).ok_or_else(|| {
        Refusal::Value {
            what: "cpu".to_owned(),
            given: text.chars().take(40).collect(),
            rule: "must be cores from 0.01 to 64, such as `0.5`, `2` or `250m`, or `none`",
        }
    })
}

/// A decimal number with at most three places, in thousandths.
fn millis_of(text: &str) -> Option<u32> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !are_digits(places) || places.len() > 3 {
        return None;
    }
    let thousandths: u32 = format!("{places:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(thousandths)
}

/// Shows limits by type.
#[utoipa::path(get, path = "/v1/apps/{app}/limits",
    responses((status = 200, body = LimitsByProcess)))]
async fn show(State(api): State<Api>, access: AppAccess) -> Answer<Json<LimitsByProcess>> {
    let current = current_release(&api, &access.app.value).await?;
    let types = current.iter().flat_map(types_of);
    let limits = types.map(|(process, limits)| (process.to_string(), info(&limits)));
    Ok(Json(LimitsByProcess { limits: limits.collect() }))
}

/// Types that run and types that have settings.
fn types_of(release: &Release) -> BTreeMap<ProcessType, Limits> {
    let build = release.build.iter().flat_map(|build| build.processes.keys());
    let all = build.chain(release.settings.keys()).cloned();
    all.map(|process| (process.clone(), release.limits(&process))).collect()
}

/// Changes limits.
#[utoipa::path(patch, path = "/v1/apps/{app}/limits", request_body = LimitsByProcess,
    responses((status = 202, body = Change)))]
async fn patch(
    State(api): State<Api>,
    access: AppAccess,
    Body(request): Body<LimitsByProcess>,
) -> Answer<Changed> {
    let mut patches = BTreeMap::new();
    for (process, wanted) in &request.limits {
        let memory_bytes = read(wanted.memory.as_deref(), memory)?;
        let cpu_millis = read(wanted.cpu.as_deref(), cpu)?;
        patches.insert(process.parse()?, LimitsPatch { memory_bytes, cpu_millis });
    }
    change(&api, access, "limited", |asked| Ok(set_limits(asked, &patches)?)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_in_cores_and_thousandths() {
        for (text, millis) in
            [("0.01", 10), ("0.5", 500), ("1", 1000), ("1.25", 1250), ("250m", 250), ("64", 64_000)]
        {
            assert_eq!(cpu(text), Ok(millis), "{text}");
        }
        for wrong in ["", "0", "0.001", "65", "-1", "1.2345", ".5", "1.", "m", "1e3", "4294968"] {
            assert!(cpu(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_is_refused_below_what_can_start() {
        assert_eq!(memory("16M"), Ok(16 << 20));
        for wrong in ["", "15M", "5T", "lots", "-1"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }
}
