//! Registering, logging in and out, passwords, tokens, keys.

use std::time::Duration;

use controller::accounts::secret;
use controller::records::Write;
use proto::problem::Code;
use serde_json::{Value, json};

use crate::harness::{Answer, Platform};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPDhYW1Z0pDwLF5F9C4IuSuJ9Q4NZMiLEVpKcehk49oV olga@desk";

fn named(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password, "email": "a@b.c"})
}

#[tokio::test]
async fn the_first_user_is_the_administrator_and_closes_the_door() {
    let platform = Platform::start().await;
    let info = platform.get("", "/v1/info").await.ok(200);
    assert_eq!(info["registration_open"], true);
    let root = platform.register("root").await;
    assert_eq!(platform.get("", "/v1/info").await.ok(200)["registration_open"], false);
    let whoami = platform.get(&root, "/v1/auth/whoami").await.ok(200);
    assert_eq!((&whoami["is_admin"], &whoami["scope"]), (&json!(true), &json!("full")));

    let olga = named("olga", "correct horse");
    let refused = platform.call("", "POST", "/v1/auth/register", olga.clone()).await;
    refused.problem(Code::RegistrationClosed);
    let made = platform.call(&root, "POST", "/v1/auth/register", olga.clone()).await.ok(201);
    let token = made["token"].as_str().unwrap();
    let whoami = platform.get(token, "/v1/auth/whoami").await.ok(200);
    assert_eq!((&whoami["username"], &whoami["is_admin"]), (&json!("olga"), &json!(false)));
    let refused = platform.call(token, "POST", "/v1/auth/register", named("x", "correct horse"));
    refused.await.problem(Code::RegistrationClosed);

    let open = platform.call(&root, "PUT", "/v1/settings/registration", json!({"open": true}));
    assert_eq!(open.await.ok(200)["open"], true);
    platform.call("", "POST", "/v1/auth/register", named("carl", "correct horse")).await.ok(201);
    platform.call("", "POST", "/v1/auth/register", olga).await.problem(Code::Exists);
}

#[tokio::test]
async fn of_two_who_race_for_the_first_account_one_is_administrator() {
    let platform = Platform::start().await;
    let register =
        |name| platform.call("", "POST", "/v1/auth/register", named(name, "correct horse"));
    let (one, other) = tokio::join!(register("one"), register("other"));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort();
    assert_eq!(statuses, [201, 403], "{} {}", one.text(), other.text());
    let users = platform.context.records.all::<model::account::User>().await.unwrap();
    assert_eq!(users.iter().filter(|user| user.value.is_admin).count(), 1);
    assert_eq!(users.len(), 1);
}

#[tokio::test]
async fn bad_registrations_are_refused() {
    let platform = Platform::start().await;
    for (name, password) in [
        ("olga", "1234567"),
        ("", "correct horse"),
        ("ol/ga", "correct horse"),
        ("-x", "correct horse"),
    ] {
        let answer = platform.call("", "POST", "/v1/auth/register", named(name, password)).await;
        answer.problem(Code::Invalid);
    }
    let huge = named("olga", &"x".repeat(2000));
    platform.call("", "POST", "/v1/auth/register", huge).await.problem(Code::Invalid);
    assert!(platform.context.records.all::<model::account::User>().await.unwrap().is_empty());
}

#[tokio::test]
async fn login_gives_a_token_and_logout_ends_it() {
    let platform = Platform::start().await;
    platform.register("root").await;
    let login = |password| {
        platform.call(
            "",
            "POST",
            "/v1/auth/login",
            json!({"username": "root", "password": password}),
        )
    };
    let wrong = login("wrong horse").await.problem(Code::WrongPassword);
    let nobody = json!({"username": "nobody", "password": "correct horse"});
    let unknown = platform.call("", "POST", "/v1/auth/login", nobody).await;
    let unknown = unknown.problem(Code::WrongPassword);
    assert_eq!(
        wrong.message, unknown.message,
        "a name that exists must not be told from one that does not"
    );

    let token = login("correct horse").await.ok(200)["token"].as_str().unwrap().to_owned();
    platform.get(&token, "/v1/auth/whoami").await.ok(200);
    platform.call(&token, "POST", "/v1/auth/logout", Value::Null).await.ok(204);
    platform.get(&token, "/v1/auth/whoami").await.problem(Code::LoginNeeded);
    platform.get("made-up", "/v1/auth/whoami").await.problem(Code::LoginNeeded);
}

#[tokio::test]
async fn nothing_secret_of_an_account_is_stored() {
    let platform = Platform::start().await;
    let token = platform.register("root").await;
    let all = platform.context.records.store().list("").await.unwrap();
    for entry in all.entries {
        let text = format!("{}{}", entry.key, String::from_utf8_lossy(&entry.value));
        assert!(!text.contains(&token) && !text.contains("correct horse"), "{text}");
    }
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down() {
    let platform = Platform::start().await;
    platform.register("root").await;
    let guess = |password: &'static str| {
        platform.call(
            "",
            "POST",
            "/v1/auth/login",
            json!({"username": "root", "password": password}),
        )
    };
    for _ in 0..10 {
        guess("wrong horse").await.problem(Code::WrongPassword);
    }
    guess("correct horse").await.problem(Code::TooMany);
    platform.clock.advance(Duration::from_secs(61));
    guess("correct horse").await.ok(200);
}

#[tokio::test]
async fn a_new_password_revokes_all_other_tokens() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let olga = platform.register("olga").await;
    let other = platform.store_token("olga", model::account::Scope::Deploy).await;
    async fn passwd(platform: &Platform, token: &str, body: Value) -> u16 {
        platform.call(token, "POST", "/v1/auth/passwd", body).await.status.as_u16()
    }
    let change = json!({"current": "wrong horse", "new": "battery staple"});
    assert_eq!(passwd(&platform, &olga, change).await, 401);
    let change = json!({"current": "correct horse", "new": "short"});
    assert_eq!(passwd(&platform, &olga, change).await, 400);
    platform.get(&other, "/v1/auth/whoami").await.ok(200);
    let change = json!({"current": "correct horse", "new": "battery staple"});
    assert_eq!(passwd(&platform, &olga, change).await, 204);
    platform.get(&olga, "/v1/auth/whoami").await.ok(200);
    platform.get(&other, "/v1/auth/whoami").await.problem(Code::LoginNeeded);

    let anothers = json!({"username": "root", "new": "battery staple"});
    assert_eq!(passwd(&platform, &olga, anothers).await, 403);
    let anothers = json!({"username": "olga", "new": "third password"});
    assert_eq!(passwd(&platform, &root, anothers).await, 204);
    platform.get(&olga, "/v1/auth/whoami").await.problem(Code::LoginNeeded);
}

#[tokio::test]
async fn tokens_have_a_scope_and_an_end() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let make = |body: Value| platform.call(&root, "POST", "/v1/auth/tokens", body);
    for wrong in [
        json!({"label": "ci", "scope": "admin"}),
        json!({"label": "", "scope": "read"}),
        json!({"label": "ci", "scope": "read", "expires_days": 0}),
        json!({"scope": "read"}),
    ] {
        make(wrong).await.problem(Code::Invalid);
    }
    let made = make(json!({"label": "ci", "scope": "read", "expires_days": 1})).await.ok(201);
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    platform.get(token, "/v1/apps").await.ok(200);
    let create = platform.call(token, "POST", "/v1/apps", json!({"name": "shop"})).await;
    create.problem(Code::ScopeTooSmall);

    let list = platform.get(&root, "/v1/auth/tokens").await.ok(200);
    let current: Vec<&Value> =
        list.as_array().unwrap().iter().filter(|token| token["current"] == true).collect();
    assert_eq!((list.as_array().unwrap().len(), current.len()), (2, 1));
    assert!(!list.to_string().contains(token));
    platform.clock.advance(Duration::from_secs(86_401));
    platform.get(token, "/v1/apps").await.problem(Code::LoginNeeded);

    let path = format!("/v1/auth/tokens/{id}");
    platform.call(&root, "DELETE", &path, Value::Null).await.ok(204);
    platform.call(&root, "DELETE", &path, Value::Null).await.problem(Code::NotFound);
}

#[tokio::test]
async fn keys_belong_to_one_user() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let olga = platform.register("olga").await;
    let add = |token, body| platform.call(token, "POST", "/v1/keys", body);
    let key = add(&olga, json!({"public_key": KEY})).await.ok(201);
    assert_eq!(key["name"], "olga@desk");
    assert_eq!(key["fingerprint"], "SHA256:5p0+KuBVY3encovKJN8NLmONP+SzWvq/MqP2tDsWf54");
    add(&root, json!({"public_key": KEY, "name": "mine"})).await.problem(Code::Exists);
    add(&olga, json!({"public_key": KEY})).await.problem(Code::Exists);
    let private = add(&olga, json!({"public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"})).await;
    assert!(private.problem(Code::Invalid).hint.contains(".pub"));
    assert_eq!(platform.get(&root, "/v1/keys").await.ok(200), json!([]));
    platform.call(&root, "DELETE", "/v1/keys/olga@desk", Value::Null).await.problem(Code::NotFound);
    platform.call(&olga, "DELETE", "/v1/keys/olga@desk", Value::Null).await.ok(204);
    assert_eq!(platform.get(&olga, "/v1/keys").await.ok(200), json!([]));
}

async fn delete(platform: &Platform, token: &str, name: &str) -> Answer {
    let path = format!("/v1/users/{name}?confirm={name}");
    platform.call(token, "DELETE", &path, Value::Null).await
}

#[tokio::test]
async fn a_deleted_user_leaves_no_key_no_token_and_no_share() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let carl = platform.register("carl").await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    platform.call(&carl, "POST", "/v1/keys", json!({"public_key": KEY})).await.ok(201);
    let share = json!({"username": "carl"});
    platform.call(&olga, "POST", "/v1/apps/shop/perms", share).await.ok(200);

    delete(&platform, &olga, "carl").await.problem(Code::Forbidden);
    delete(&platform, &root, "nobody").await.problem(Code::NotFound);
    let unsure = platform.call(&carl, "DELETE", "/v1/users/carl", Value::Null).await;
    assert!(unsure.problem(Code::Invalid).hint.contains("confirm=carl"));
    platform.get(&carl, "/v1/auth/whoami").await.ok(200);
    delete(&platform, &carl, "carl").await.ok(204);

    platform.get(&carl, "/v1/auth/whoami").await.problem(Code::LoginNeeded);
    assert_eq!(platform.get(&olga, "/v1/apps/shop/perms").await.ok(200), json!([]));
    let all = platform.context.records.store().list("").await.unwrap();
    for entry in all.entries {
        let text = format!("{} {}", entry.key, String::from_utf8_lossy(&entry.value));
        assert!(!text.contains("carl"), "{text}");
    }
    platform.register("carl").await;
    platform.get(&carl, "/v1/auth/whoami").await.problem(Code::LoginNeeded);
}

#[tokio::test]
async fn an_owner_of_apps_and_the_only_administrator_stay() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    let refused = delete(&platform, &root, "olga").await.problem(Code::InUse);
    assert!(refused.message.contains("shop") && refused.hint.contains("apps:transfer"));
    let handed = json!({"to": "root"});
    platform.call(&olga, "POST", "/v1/apps/shop/transfer", handed).await.ok(200);
    delete(&platform, &root, "olga").await.ok(204);
    delete(&platform, &root, "root").await.problem(Code::InUse);
    platform.get(&root, "/v1/auth/whoami").await.ok(200);
}

#[tokio::test]
async fn nobody_comes_by_the_rights_of_an_earlier_user_of_the_name() {
    let platform = Platform::start().await;
    platform.with_shop().await;
    let root = platform.store_token("root", model::account::Scope::Full).await;
    let carl = platform.register("carl").await;
    let late = platform.store_token("carl", model::account::Scope::Full).await;
    let tokens = platform.context.records.all::<model::account::Token>().await.unwrap();
    let token = tokens.into_iter().find(|token| secret::hash(&late) == token.value.secret_hash);
    let token = token.unwrap().value;
    delete(&platform, &carl, "carl").await.ok(204);
    // A login and a share that were written while the account was being deleted.
    platform.context.records.commit(Write::new().create(&token)).await.unwrap();
    let mut app = platform.app("shop").await;
    let shop = app.value.clone();
    app.value.collaborators.insert("carl".parse().unwrap());
    let revision = platform
        .context
        .records
        .commit(Write::new().replace(&app.value, app.revision))
        .await
        .unwrap();
    let again = named("carl", "correct horse");
    let refused = platform.call(&root, "POST", "/v1/auth/register", again.clone()).await;
    refused.problem(Code::Exists);
    platform.context.records.commit(Write::new().replace(&shop, revision.0)).await.unwrap();
    platform.clock.advance(Duration::from_secs(1));
    platform.call(&root, "POST", "/v1/auth/register", again).await.ok(201);
    platform.get(&late, "/v1/auth/whoami").await.problem(Code::LoginNeeded);
}

#[tokio::test]
async fn who_registered_at_a_controller_whose_clock_is_ahead_can_log_in_at_this_one() {
    let platform = Platform::start().await;
    platform.register("olga").await;
    let records = &platform.context.records;
    let mut user = records.all::<model::account::User>().await.unwrap().remove(0);
    user.value.created = user.value.created.plus_ms(50);
    records.commit(Write::new().replace(&user.value, user.revision)).await.unwrap();
    let login = json!({"username": "olga", "password": "correct horse"});
    let session = platform.call("", "POST", "/v1/auth/login", login).await.ok(200);
    let token = session["token"].as_str().unwrap();
    platform.get(token, "/v1/auth/whoami").await.ok(200);
    let wanted = json!({"label": "more", "scope": "full"});
    let more = platform.call(token, "POST", "/v1/auth/tokens", wanted).await.ok(201);
    platform.get(more["token"].as_str().unwrap(), "/v1/auth/whoami").await.ok(200);
}
