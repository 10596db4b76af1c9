//! A health check as users write it, and as it is kept.

use model::release::{Check, Probe};
use proto::api::CheckInfo;

use crate::change::Refusal;

/// The longest path, host or argument.
const MAX_TEXT_BYTES: usize = 2_000;
/// The most arguments of a command.
const MAX_ARGUMENTS: usize = 100;

/// Reads a check; what does not belong to its kind is refused.
pub(super) fn read(form: &CheckInfo) -> Result<Check, Refusal> {
    let probe = probe(form)?;
    let check = Check {
        probe,
        grace_ms: seconds("grace_seconds", form.grace_seconds, 60.0, 0.0..=3600.0)?,
        period_ms: seconds("period_seconds", form.period_seconds, 5.0, 0.5..=3600.0)?,
        timeout_ms: seconds("timeout_seconds", form.timeout_seconds, 5.0, 0.1..=300.0)?,
        rise: count("rise", form.rise, 1)?,
        fall: count("fall", form.fall, 3)?,
    };
    Ok(check)
}

fn refused(what: &str, given: impl ToString, rule: &'static str) -> Refusal {
    let given = given.to_string().chars().take(80).collect();
    Refusal::Value { what: what.to_owned(), given, rule }
}

fn probe(form: &CheckInfo) -> Result<Probe, Refusal> {
    let http_only = [&form.method, &form.path, &form.host, &form.status];
    if form.kind != "http" && http_only.iter().any(|field| field.is_some()) {
        return Err(refused("kind", &form.kind, "takes no method, path, host or status"));
    }
    if form.kind != "exec" && !form.command.is_empty() {
        return Err(refused("kind", &form.kind, "takes no command"));
    }
    match form.kind.as_str() {
        "http" => http(form),
        "tcp" => Ok(Probe::Tcp),
        "running" => Ok(Probe::Running),
        "exec" => exec(&form.command),
        other => Err(refused("kind", other, "must be `http`, `tcp`, `exec` or `running`")),
    }
}

fn http(form: &CheckInfo) -> Result<Probe, Refusal> {
    let method = form.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    if !matches!(method.as_str(), "GET" | "HEAD") {
        return Err(refused("method", method, "must be `GET` or `HEAD`"));
    }
    let path = form.path.clone().unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || !is_visible_ascii(&path) {
        return Err(refused("path", path, "must start with `/` and hold only visible characters"));
    }
    if let Some(host) = form.host.as_ref().filter(|host| host.is_empty() || !is_visible_ascii(host))
    {
        return Err(refused("host", host, "must hold only visible characters"));
    }
    let (status_from, status_to) = status(form.status.as_deref().unwrap_or("200-399"))?;
    Ok(Probe::Http { method, path, host: form.host.clone(), status_from, status_to })
}

fn is_visible_ascii(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn status(text: &str) -> Result<(u16, u16), Refusal> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let parsed = from.parse().ok().zip(to.parse().ok());
    let is_sane =
        |(from, to): &(u16, u16)| (100..=599).contains(from) && (*from..=599).contains(to);
    parsed
        .filter(is_sane)
        .ok_or_else(|| refused("status", text, "must be a status or a range, such as `200-399`"))
}

fn exec(command: &[String]) -> Result<Probe, Refusal> {
    let is_sane = (1..=MAX_ARGUMENTS).contains(&command.len())
        && !command[0].is_empty()
        && command.iter().all(|word| word.len() <= MAX_TEXT_BYTES && !word.contains('\0'));
    match is_sane {
        true => Ok(Probe::Exec { command: command.to_vec() }),
        false => Err(refused("command", command.join(" "), "must be a list of 1 to 100 arguments")),
    }
}

fn seconds(
    what: &str,
    given: Option<f64>,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<u64, Refusal> {
    let seconds = given.unwrap_or(default);
    if !range.contains(&seconds) {
        return Err(refused(
            what,
            seconds,
            "is out of range: grace up to 3600, period 0.5 to 3600, timeout 0.1 to 300",
        ));
    }
    Ok((seconds * 1000.0).round() as u64)
}

fn count(what: &str, given: Option<u32>, default: u32) -> Result<u32, Refusal> {
    match given.unwrap_or(default) {
        count @ 1..=100 => Ok(count),
        count => Err(refused(what, count, "must be from 1 to 100")),
    }
}

/// A check as users see it, with every number said.
pub(super) fn shown(check: Check) -> CheckInfo {
    let mut form = CheckInfo {
        kind: String::new(),
        method: None,
        path: None,
        host: None,
        status: None,
        command: Vec::new(),
        grace_seconds: Some(check.grace_ms as f64 / 1000.0),
        period_seconds: Some(check.period_ms as f64 / 1000.0),
        timeout_seconds: Some(check.timeout_ms as f64 / 1000.0),
        rise: Some(check.rise),
        fall: Some(check.fall),
    };
    form.kind = match check.probe {
        Probe::Tcp => "tcp".to_owned(),
        Probe::Running => "running".to_owned(),
        Probe::Exec { command } => {
            form.command = command;
            "exec".to_owned()
        }
        Probe::Http { method, path, host, status_from, status_to } => {
            form.method = Some(method);
            form.path = Some(path);
            form.host = host;
            form.status = Some(match status_from == status_to {
                true => status_from.to_string(),
                false => format!("{status_from}-{status_to}"),
            });
            "http".to_owned()
        }
    };
    form
}

#[cfg(test)]
mod tests {
    use model::name::ProcessType;

    use super::*;

    fn form(json: &str) -> CheckInfo {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_check_is_shown_as_it_was_read() {
        for json in [
            r#"{"kind":"http","path":"/health?x=1","host":"a.b","status":"200"}"#,
            r#"{"kind":"http","method":"head","status":"200-299","grace_seconds":1.5,"fall":9}"#,
            r#"{"kind":"exec","command":["pg_isready","-q"],"timeout_seconds":0.1}"#,
            r#"{"kind":"tcp"}"#,
            r#"{"kind":"running","period_seconds":0.5}"#,
        ] {
            let check = read(&form(json)).unwrap();
            assert_eq!(read(&shown(check.clone())), Ok(check), "{json}");
        }
    }

    #[test]
    fn an_empty_form_of_a_kind_is_its_default() {
        let web = Check::default_for(&ProcessType::web());
        assert_eq!(read(&form(r#"{"kind":"tcp"}"#)), Ok(web));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for json in [
            r#"{"kind":"ping"}"#,
            r#"{"kind":"tcp","path":"/"}"#,
            r#"{"kind":"tcp","command":["x"]}"#,
            r#"{"kind":"exec"}"#,
            r#"{"kind":"exec","command":[""]}"#,
            r#"{"kind":"http","method":"POST"}"#,
            r#"{"kind":"http","path":"health"}"#,
            r#"{"kind":"http","path":"/a b"}"#,
            r#"{"kind":"http","path":"/\r\nHost: x"}"#,
            r#"{"kind":"http","host":""}"#,
            r#"{"kind":"http","status":"99"}"#,
            r#"{"kind":"http","status":"300-200"}"#,
            r#"{"kind":"http","status":"ok"}"#,
            r#"{"kind":"tcp","rise":0}"#,
            r#"{"kind":"tcp","fall":101}"#,
            r#"{"kind":"tcp","grace_seconds":-1}"#,
            r#"{"kind":"tcp","period_seconds":0.1}"#,
            r#"{"kind":"tcp","timeout_seconds":1e9}"#,
        ] {
            assert!(read(&form(json)).is_err(), "{json}");
        }
    }
}
