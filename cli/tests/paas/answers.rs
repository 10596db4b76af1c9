//! Documents as the controller answers them.

use crate::fake::Answer;

pub const INFO: &str = r#"{"version":"0.1.0","domain":"apps.localhost","git_remote_base":"ssh://git@localhost:2222","http_port":80,"https_port":443,"registration_open":true}"#;
pub const SESSION: &str = r#"{"username":"ann","token":"tok-1","id":"t1"}"#;
pub const WHOAMI: &str =
    r#"{"username":"ann","email":"ann@example.com","is_admin":true,"scope":"full"}"#;
pub const TOKENS: &str = r#"[
  {"id":"t1","label":"paasctl on laptop","scope":"full","created":"2026-05-04T10:00:00Z","expires":null,"current":true},
  {"id":"t2","label":"ci","scope":"deploy","created":"2026-05-04T10:00:00Z","expires":"2026-08-02T10:00:00Z","current":false}]"#;
pub const KEY: &str = r#"{"name":"laptop","fingerprint":"SHA256:abc","algorithm":"ssh-ed25519","created":"2026-05-04T10:00:00Z"}"#;
pub const USERS: &str = r#"[
  {"username":"ann","email":"ann@example.com","is_admin":true,"created":"2026-05-04T10:00:00Z"},
  {"username":"bob","email":"","is_admin":false,"created":"2026-05-04T10:00:00Z"}]"#;
pub const APP: &str = r#"{"name":"shop","owner":"ann","collaborators":["bob"],"created":"2026-05-04T10:00:00Z","url":"http://shop.apps.localhost","git_remote":"ssh://git@localhost:2222/shop.git","deploy_branch":null,"maintenance":false,"release":"v7","deploying":null,"formation":{"web":2,"worker":0},"domains":["www.example.com"]}"#;
pub const CHANGE: &str = r#"{"generation":7,"release":"v8","changed":true}"#;
pub const PROCESSES: &str = r#"{
  "formation":{
    "web":{"count":3,"stopped":false,"command":"gunicorn app:app","waiting":"1 unit missing: no node has 512 MiB free"},
    "worker":{"count":1,"stopped":true,"command":null,"waiting":null}},
  "units":[
    {"name":"web.1","process":"web","release":"v7","state":"ready","since":"2026-05-04T10:00:00Z","node":"n1","restarts":0,"reason":null},
    {"name":"web.2","process":"web","release":"v7","state":"backoff","since":"2026-05-04T10:00:00Z","node":"n1","restarts":4,"reason":"out of memory (limit 512M)"}]}"#;
pub const RELEASE: &str = r#"{"release":"v7","state":"succeeded","current":true,"summary":"ann pushed 1a2b3c4","created":"2026-05-04T10:00:00Z","created_by":"ann","image":"127.0.0.1:5000/shop@sha256:00","commit":"1a2b3c4d","reason":null,"config_keys":["A","B"],"processes":{"web":"gunicorn app:app","worker":null}}"#;
pub const CHECKS: &str = r#"{"checks":{
  "web":{"kind":"http","method":"GET","path":"/health","host":"shop.example.com","status":"200-299","grace_seconds":30.0,"period_seconds":5.0,"timeout_seconds":5.0,"rise":1,"fall":3},
  "worker":{"kind":"exec","command":["test","-e","/tmp/alive"]}}}"#;

pub fn problem(code: &str, message: &str) -> String {
    format!(r#"{{"code":"{code}","message":"{message}","hint":"A hint."}}"#)
}

/// A rollout of generation 7 that ends well.
pub fn deploying(lines: &[&str]) -> Answer {
    let mut events: Vec<String> =
        lines.iter().map(|text| format!(r#"{{"event":"progress","text":"{text}"}}"#)).collect();
    events.push(r#"{"event":"live","release":"v8"}"#.to_owned());
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    Answer::events("GET /v1/apps/shop/rollout?generation=7", &events)
}
