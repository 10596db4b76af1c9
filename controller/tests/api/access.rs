//! Every endpoint by every role, over real HTTP: who gets in stands in `access.txt`.

use std::fmt::Write as _;

use controller::api::access::ENDPOINTS;
use model::account::Scope;
use proto::problem::{Code, Problem};
use serde_json::{Value, json};

use crate::harness::Platform;
use crate::shape::compare_golden;

const ROLES: [&str; 7] =
    ["anonymous", "stranger", "collaborator", "owner", "admin", "owner/read", "owner/deploy"];

/// What is asked of an endpoint: harmless, and refused for another reason than access where it would change much.
fn body(method: &str, path: &str) -> Value {
    match (method, path) {
        ("GET" | "DELETE", _) => Value::Null,
        // No request here shall end a password, a token or registration for the roles that come after.
        _ => json!({"nothing": "sensible"}),
    }
}

/// `yes`, or the code of the refusal. Whatever else goes wrong comes after access was given.
fn verdict(status: u16, body: &[u8]) -> String {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    match (status, problem) {
        (401 | 403 | 404, Some(problem)) if is_about_access(&problem) => {
            problem.code.as_str().to_owned()
        }
        _ => "yes".to_owned(),
    }
}

fn is_about_access(problem: &Problem) -> bool {
    match problem.code {
        Code::LoginNeeded | Code::Forbidden | Code::ScopeTooSmall | Code::RegistrationClosed => {
            true
        }
        Code::NotFound => problem.message.starts_with("there is no app"),
        _ => false,
    }
}

#[tokio::test]
async fn who_may_do_what_is_as_checked_in() {
    let platform = Platform::start().await;
    let owner = platform.with_shop().await;
    let collaborator = platform.register("carl").await;
    let stranger = platform.register("sam").await;
    let share = json!({"username": "carl"});
    platform.call(&owner, "POST", "/v1/apps/shop/perms", share).await.ok(200);
    let admin = platform.store_token("root", Scope::Full).await;
    let read = platform.store_token("olga", Scope::Read).await;
    let deploy = platform.store_token("olga", Scope::Deploy).await;
    let tokens = ["", &stranger, &collaborator, &owner, &admin, &read, &deploy];
    let mut table = format!("{:<7}{:<38}", "", "");
    for role in ROLES {
        write!(table, "{role:<20}").unwrap();
    }
    for endpoint in ENDPOINTS {
        let path = endpoint
            .path
            .replace("{app}", "shop")
            .replace("{process}", "web")
            .replace("{release}", "v1")
            .replace("{host}", "a.example.com")
            .replace(['{', '}'], "");
        let mut line = format!("{:<7}{:<38}", endpoint.method, endpoint.path);
        for (role, token) in ROLES.iter().zip(tokens) {
            let token = match (endpoint.path, *role) {
                // Logging out ends the token: each role gets one for it.
                ("/v1/auth/logout", "anonymous") => String::new(),
                ("/v1/auth/logout", role) => spare(&platform, role).await,
                _ => token.to_owned(),
            };
            let answer =
                platform.call(&token, endpoint.method, &path, body(endpoint.method, &path)).await;
            write!(line, "{:<20}", verdict(answer.status.as_u16(), &answer.body)).unwrap();
        }
        table.push('\n');
        table.push_str(line.trim_end());
    }
    table.push('\n');
    compare_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/access.txt"), &table);
}

async fn spare(platform: &Platform, role: &str) -> String {
    let (user, scope) = match role {
        "stranger" => ("sam", Scope::Full),
        "collaborator" => ("carl", Scope::Full),
        "admin" => ("root", Scope::Full),
        "owner/read" => ("olga", Scope::Read),
        "owner/deploy" => ("olga", Scope::Deploy),
        _ => ("olga", Scope::Full),
    };
    platform.store_token(user, scope).await
}
