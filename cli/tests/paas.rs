//! The real `paasctl` against a stand-in for the controller: what it asks, prints and ends with.
//!
//! `TRIREME_BLESS=1` rewrites the transcripts in `paas/transcripts`.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

#[path = "paas/answers.rs"]
mod answers;
#[path = "paas/fake.rs"]
mod fake;
#[path = "paas/prompts.rs"]
mod prompts;
#[path = "paas/pty.rs"]
mod pty;
#[path = "paas/terminal.rs"]
mod terminal;
#[path = "paas/transcript.rs"]
mod transcript;

use answers::{APP, CHANGE, deploying, problem};
use fake::{Answer, Fake};
use transcript::Transcript;

#[test]
fn accounts() {
    let fake = Fake::start(&[
        Answer::json("GET /v1/info", 200, answers::INFO),
        Answer::json("POST /v1/auth/register", 201, answers::SESSION),
        Answer::json(
            "POST /v1/auth/login",
            401,
            &problem("wrong-password", "the user name or the password is wrong"),
        ),
        Answer::json("POST /v1/auth/login", 200, answers::SESSION),
        Answer::json("GET /v1/auth/whoami", 200, answers::WHOAMI),
        Answer::json("POST /v1/auth/passwd", 204, ""),
        Answer::json("POST /v1/auth/tokens", 201, answers::SESSION),
        Answer::json("GET /v1/auth/tokens", 200, answers::TOKENS),
        Answer::json("DELETE /v1/auth/tokens/t2", 204, ""),
        Answer::json("POST /v1/auth/logout", 204, ""),
        Answer::json("POST /v1/keys", 201, answers::KEY),
        Answer::json("GET /v1/keys", 200, &format!("[{}]", answers::KEY)),
        Answer::json("DELETE /v1/keys/laptop", 204, ""),
        Answer::json("GET /v1/users", 200, answers::USERS),
        Answer::json(
            "DELETE /v1/users/bob?confirm=bob",
            409,
            &problem("in-use", "`bob` owns apps: shop"),
        ),
        Answer::json("DELETE /v1/users/bob?confirm=bob", 204, ""),
        Answer::json("PUT /v1/settings/registration", 200, r#"{"open":true}"#),
        Answer::json("PUT /v1/settings/registration", 200, r#"{"open":false}"#),
    ]);
    let mut at = Transcript::new("accounts", &fake);
    at.write("id.pub", "ssh-ed25519 AAAAC3 ann@laptop\n");
    at.write("id", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    at.run("whoami");
    at.typed("pass word\n", "register URL --username ann --password-stdin --email ann@example.com");
    at.run("whoami");
    at.run("whoami --json");
    at.typed("wrong\n", "login --username ann --password-stdin");
    at.typed("pass word\n", "login URL --username ann --password-stdin -c prod");
    at.run("login URL --username ann");
    at.run("login http://example.com --username ann --password x");
    at.typed("old\nnew\n", "passwd --password-stdin");
    at.run("tokens:create ci --days 90");
    at.run("tokens");
    at.run("tokens:remove t2");
    at.run("keys:add id");
    at.run("keys add id.pub");
    at.run("keys");
    at.run("keys:remove laptop");
    at.run("users --json");
    at.run("users");
    at.run("users:delete bob");
    at.run("users:delete bob --confirm bab");
    at.run("users:delete bob --confirm bob");
    at.run("auth:cancel bob --confirm bob");
    at.run("registration:open");
    at.run("registration:close");
    at.run("logout -c prod");
    at.run("whoami -c prod");
    at.run("whoami -c nowhere");
    at.finish();
}

#[test]
fn apps() {
    let fake = Fake::start(&[
        Answer::json("GET /v1/info", 200, answers::INFO),
        Answer::json("GET /v1/apps", 200, "[]"),
        Answer::json("POST /v1/apps", 201, APP),
        Answer::json("POST /v1/apps", 409, &problem("exists", "there is an app `shop` already")),
        Answer::json("GET /v1/apps", 200, &format!("[{APP}]")),
        Answer::json("GET /v1/apps/shop", 200, APP),
        Answer::json(
            "PUT /v1/apps/shop/deploy-branch",
            200,
            &APP.replace("\"deploy_branch\":null", "\"deploy_branch\":\"production\""),
        ),
        Answer::json("PUT /v1/apps/shop/deploy-branch", 200, APP),
        Answer::json(
            "POST /v1/apps/shop/transfer",
            200,
            &APP.replace("\"owner\":\"ann\"", "\"owner\":\"bob\""),
        ),
        Answer::json("GET /v1/apps/shop/perms", 200, r#"["bob"]"#),
        Answer::json("POST /v1/apps/shop/perms", 200, r#"["bob"]"#),
        Answer::json("DELETE /v1/apps/shop/perms/bob", 204, ""),
        Answer::json("DELETE /v1/apps/shop?confirm=shop", 202, CHANGE),
        Answer::json(
            "GET /v1/apps/shop/rollout?generation=7",
            404,
            &problem("not-found", "there is no app `shop`"),
        ),
    ]);
    let mut at = Transcript::logged_in("apps", &fake);
    at.run("apps");
    at.run("info");
    at.run("apps:create shop");
    at.git("init -q");
    at.run("apps:create Shop!");
    at.run("info");
    at.run("apps:create shop");
    at.git("remote add origin https://github.com/ann/shop.git");
    at.run("info");
    at.run("git:remote -a shop");
    at.git("remote -v");
    at.run("git:remote -a shop");
    at.run("apps:list");
    at.run("apps --json");
    at.run("info");
    at.run("apps:open");
    at.run("apps:branch");
    at.run("apps:branch production");
    at.run("apps:branch --default");
    at.run("apps:transfer bob");
    at.run("perms:add bob");
    at.run("perms");
    at.run("perms:remove bob");
    at.run("apps:destroy");
    at.run("apps:destroy --confirm shap");
    at.run("apps:destroy --confirm shop");
    at.git("remote -v");
    at.finish();
}

#[test]
fn processes() {
    let failed = r#"{"event":"failed","problem":{"code":"no-room","message":"`shop` needs 1 more web unit but no node has 512 MiB free","hint":"Add a node, or lower the limit.","details":["web.3: waiting"]}}"#;
    let fake = Fake::start(&[
        Answer::json("GET /v1/apps/shop/ps", 200, answers::PROCESSES),
        Answer::json("POST /v1/apps/shop/scale", 202, CHANGE),
        Answer::json("POST /v1/apps/shop/scale", 202, CHANGE),
        deploying(&["web.2 starts", "web.2 is ready"]),
        Answer::events("GET /v1/apps/shop/rollout?generation=7", &[failed]),
        Answer::json("POST /v1/apps/shop/restart", 202, CHANGE),
        deploying(&["web.1 is ready"]),
        Answer::json("POST /v1/apps/shop/stop", 202, CHANGE),
        Answer::json(
            "POST /v1/apps/shop/start",
            200,
            r#"{"generation":7,"release":null,"changed":false}"#,
        ),
        Answer::json(
            "POST /v1/apps/shop/scale",
            409,
            &problem("busy", "a deploy of `shop` is under way"),
        ),
    ]);
    let mut at = Transcript::logged_in("processes", &fake);
    at.run("ps -a shop");
    at.run("ps -a shop --json");
    at.run("scale web=2 worker=x -a shop");
    at.run("ps scale web=2 worker=0 -a shop");
    at.run("scale web=3 -a shop");
    at.run("restart web -a shop");
    at.run("restart web.1 -a shop");
    at.run("ps:stop -a shop --no-wait");
    at.run("ps:start -a shop");
    at.run("scale web=3 -a shop");
    at.finish();
}

#[test]
fn config() {
    let revealed = r#"{"values":{"A":"1","TEXT":"two\nlines \"quoted\" =ü"}}"#;
    let fake = Fake::start(&[
        Answer::json("GET /v1/apps/shop/config", 200, r#"{"values":{"A":null,"TEXT":null}}"#),
        Answer::json("GET /v1/apps/shop/config?reveal=true", 200, revealed),
        Answer::json("PATCH /v1/apps/shop/config", 202, CHANGE),
        deploying(&["web.1 of v8 is ready", "web.1 of v7 drains"]),
    ]);
    let mut at = Transcript::logged_in("config", &fake);
    at.run("config -a shop");
    at.run("config -a shop --reveal");
    at.run("config -a shop --reveal --oneline");
    at.run("config -a shop --json");
    at.run("config:get TEXT -a shop");
    at.run("config:get NONE -a shop");
    at.run("config:set A=1 B -a shop");
    at.run("config:set A=1=2 B= -a shop");
    at.run("config:unset A -a shop");
    at.run("config:pull -a shop");
    at.run("config:pull -a shop");
    at.run("config:pull -o -a shop");
    at.show(".env");
    at.run("config:push -a shop");
    at.typed("A=1\nB='x\n", "config:push - -a shop");
    at.finish();
}

#[test]
fn placement() {
    let shown = r#"{"class":"standard","types":{"clock":{"tags":{},"exclusive":true},"web":{"tags":{"disk":"ssd"},"exclusive":false}}}"#;
    let plan = r#"{"starts":[{"app":"shop","name":"web.2","node":"n2"}],"stops":[],"preempts":[{"app":"trial","name":"web.1","node":"n1"}],"waits":["trial web.1 waits: no node has 512 MiB of memory free"],"beyond_reserve":null}"#;
    let still = r#"{"starts":[],"stops":[],"preempts":[],"waits":[],"beyond_reserve":"if n1 is lost, web.2 waits"}"#;
    let fake = Fake::start(&[
        Answer::json("GET /v1/apps/shop/placement", 200, shown),
        Answer::json("PATCH /v1/apps/shop/placement", 202, CHANGE),
        Answer::json("PUT /v1/apps/shop/class", 200, shown),
        Answer::json("POST /v1/apps/shop/scale/plan", 200, plan),
        Answer::json("POST /v1/apps/shop/scale/plan", 200, still),
        deploying(&["web.1 is ready"]),
    ]);
    let mut at = Transcript::logged_in("placement", &fake);
    at.run("tags -a shop");
    at.run("tags:list -a shop --json");
    at.run("tags:set web disk=ssd env=prod -a shop");
    at.run("tags:set web disk -a shop");
    at.run("tags:unset web disk -a shop");
    at.run("class:set standard -a shop");
    at.run("class:set gold -a shop");
    at.run("exclusive:on clock -a shop");
    at.run("exclusive:off clock -a shop --no-wait");
    at.run("scale --plan web=2 -a shop");
    at.run("scale --plan web=2 -a shop --json");
    at.finish();
}

#[test]
fn volumes() {
    let volume = r#"{"name":"data","node":"n2","state":"ready","mounts":{"web":"/var/data","worker":"/data"},"created":"2026-01-02T03:04:05Z"}"#;
    let mounted = problem("in-use", "volume `data` is mounted by web");
    let fake = Fake::start(&[
        Answer::json("GET /v1/apps/shop/volumes", 200, &format!("[{volume}]")),
        Answer::json("POST /v1/apps/shop/volumes", 201, volume),
        Answer::json("PATCH /v1/apps/shop/volumes/data", 202, CHANGE),
        Answer::json("DELETE /v1/apps/shop/volumes/data?confirm=data", 409, &mounted),
        Answer::json("DELETE /v1/apps/shop/volumes/data?confirm=data", 204, ""),
        Answer::json("GET /v1/apps/blog/volumes", 200, "[]"),
        deploying(&["web.1 is ready"]),
    ]);
    let mut at = Transcript::logged_in("volumes", &fake);
    at.run("volumes -a blog");
    at.run("volumes:create data -a shop");
    at.run("volumes:create data --node n2 -a shop");
    at.run("volumes:create Data -a shop");
    at.run("volumes:mount data web=/var/data worker=/data -a shop");
    at.run("volumes:mount data web -a shop");
    at.run("volumes -a shop");
    at.run("volumes:list -a shop --json");
    at.run("volumes:unmount data web worker -a shop");
    at.run("volumes:destroy data -a shop");
    at.run("volumes:destroy data -a shop --confirm date");
    at.run("volumes:destroy data -a shop --confirm data");
    at.run("volumes:destroy data -a shop --confirm data");
    at.finish();
}

#[test]
fn releases() {
    let fake = Fake::start(&[
        Answer::json("GET /v1/apps/shop/releases", 200, &format!("[{}]", answers::RELEASE)),
        Answer::json("GET /v1/apps/shop/releases/v7", 200, answers::RELEASE),
        Answer::json("POST /v1/apps/shop/rollback", 202, CHANGE),
        Answer::json(
            "GET /v1/apps/shop/limits",
            200,
            r#"{"limits":{"web":{"memory":"512M"},"worker":{"cpu":"0.5"}}}"#,
        ),
        Answer::json("PATCH /v1/apps/shop/limits", 202, CHANGE),
        Answer::json("GET /v1/apps/shop/checks", 200, answers::CHECKS),
        Answer::json("PUT /v1/apps/shop/checks/web", 202, CHANGE),
        Answer::json("PUT /v1/apps/shop/checks/worker", 202, CHANGE),
        Answer::json("DELETE /v1/apps/shop/checks/web", 202, CHANGE),
        deploying(&["web.1 is ready"]),
    ]);
    let mut at = Transcript::logged_in("releases", &fake);
    at.run("releases -a shop");
    at.run("releases:info v7 -a shop");
    at.run("releases:info seven -a shop");
    at.run("rollback -a shop");
    at.run("releases rollback v3 -a shop --no-wait");
    at.run("limits -a shop");
    at.run("limits:set web=512M worker=1G -a shop");
    at.run("limits:set -c web=0.5 -a shop");
    at.run("limits:set web -a shop");
    at.run("limits:unset worker -a shop");
    at.run("checks -a shop");
    at.run("checks:set web http --path /health --status 200-299 --grace 30 -a shop");
    at.run("checks:set worker exec -a shop -- test -e /tmp/alive");
    at.run("checks:set web tcp --path / -a shop");
    at.run("checks:unset web -a shop");
    at.finish();
}

#[test]
fn traffic() {
    let domain =
        r#"{"host":"*.shop.example.com","created":"2026-05-04T10:00:00Z","certificate":null}"#;
    let certificate =
        r#"{"name":"www","hosts":["www.example.com"],"not_after":"2027-05-04T10:00:00Z"}"#;
    let fake = Fake::start(&[
        Answer::json("POST /v1/apps/shop/domains", 201, domain),
        Answer::json("GET /v1/apps/shop/domains", 200, &format!("[{domain}]")),
        Answer::json("DELETE /v1/apps/shop/domains/%2A.shop.example.com", 204, ""),
        Answer::json("POST /v1/apps/shop/certs", 201, certificate),
        Answer::json("GET /v1/apps/shop/certs", 200, &format!("[{certificate}]")),
        Answer::json("DELETE /v1/apps/shop/certs/www", 204, ""),
        Answer::json("GET /v1/apps/shop", 200, APP),
        Answer::json(
            "PUT /v1/apps/shop/maintenance",
            200,
            &APP.replace("\"maintenance\":false", "\"maintenance\":true"),
        ),
        Answer::json("PUT /v1/apps/shop/maintenance", 200, APP),
    ]);
    let mut at = Transcript::logged_in("traffic", &fake);
    at.write("chain.pem", "-----BEGIN CERTIFICATE-----\n");
    at.write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    at.run("domains:add not_a_host -a shop");
    at.run("domains:add *.Shop.example.com. -a shop");
    at.run("domains -a shop");
    at.run("domains:remove *.shop.example.com -a shop");
    at.run("certs:add www key.pem chain.pem -a shop");
    at.run("certs:add www chain.pem key.pem -a shop");
    at.run("certs -a shop");
    at.run("certs:remove www -a shop");
    at.run("maintenance -a shop");
    at.run("maintenance:on -a shop");
    at.run("maintenance off -a shop");
    at.finish();
}

#[test]
fn logs() {
    let line = |at: &str, text: &str| {
        format!(
            r#"{{"at":"2026-05-04T10:00:{at}Z","process":"web.1","stream":"stdout","text":"{text}"}}"#
        )
    };
    let (first, second, third) = (line("01.5", "one"), line("02", "two"), line("02", "three"));
    let since = "GET /v1/apps/shop/logs?follow=true&since=2026-05-04T10%3A00%3A02Z";
    let fake = Fake::start(&[
        Answer::events("GET /v1/apps/shop/logs?follow=false", &[&first, &second]),
        Answer::events(
            "GET /v1/apps/shop/logs?follow=false&lines=5&process=web.1&since=2026-05-04T10%3A00%3A00Z",
            &[],
        ),
        Answer::broken("GET /v1/apps/shop/logs?follow=true", &[&first, &second]),
        Answer::events(since, &[&second, &third, &problem("unavailable", "the logger is gone")]),
        Answer::json(since, 404, &problem("not-found", "there is no app `shop`")),
    ]);
    let mut at = Transcript::logged_in("logs", &fake);
    at.run("logs -a shop");
    at.run("logs -a shop --json");
    at.run("logs -a shop -n 5 --ps web.1 --since 2026-05-04T10:00:00Z");
    at.run("logs -a shop --since yesterday");
    at.run("logs -a shop -f");
    at.finish();
}

#[test]
fn run() {
    let fake = Fake::start(&[]);
    let mut at = Transcript::logged_in("run", &fake);
    at.run("run -a shop");
    at.run("run -a shop false -x --no-tty");
    at.typed("piped\0bytes\n", "run -a shop -e KEY=VALUE -- cat -a -");
    at.run("run -a shop --detach reindex");
    at.run("run -a shop refused");
    at.run("run -a shop dropped");
    at.run("run -a secret ls");
    at.finish();
}

#[test]
fn failures() {
    let fake = Fake::start(&[
        Answer::json(
            "GET /v1/apps",
            500,
            r#"{"code":"internal","message":"something broke here","request_id":"r-17"}"#,
        ),
        Answer::json("GET /v1/apps", 502, "<html>bad gateway</html>"),
        Answer::json(
            "GET /v1/apps",
            401,
            &problem("login-needed", "the token is not valid any more"),
        ),
        Answer::json("POST /v1/apps/shop/restart", 202, CHANGE),
        Answer::broken(
            "GET /v1/apps/shop/rollout?generation=7",
            &[r#"{"event":"progress","text":"web.1 starts"}"#],
        ),
        Answer::json(
            "GET /v1/apps/shop/rollout?generation=7",
            503,
            &problem("unavailable", "the leader is away"),
        ),
        deploying(&["web.1 is ready"]),
    ]);
    let mut at = Transcript::logged_in("failures", &fake);
    at.run("apps");
    at.run("apps");
    at.run("apps");
    at.run("restart -a shop");
    at.run("apps:crate");
    at.run("apps crate");
    at.run("nonsense");
    at.run("scale");
    at.run("info -a Shop");
    drop(fake);
    at.run("apps");
    at.finish();
}

#[test]
fn help() {
    let fake = Fake::start(&[]);
    let mut at = Transcript::new("help", &fake);
    at.run("help");
    at.run("help apps");
    at.run("apps:create --help");
    at.run("limits:set --help");
    at.run("version");
    at.run("completion bash | head -1");
    at.finish();
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_the_way_out() {
    let (fake, ca_pem) = Fake::start_with_tls(&[
        Answer::json("GET /v1/info", 200, answers::INFO),
        Answer::json("POST /v1/auth/login", 200, answers::SESSION),
        Answer::json("GET /v1/apps", 200, "[]"),
    ]);
    let mut at = Transcript::new("tls", &fake);
    at.write("ca.pem", &ca_pem);
    at.run("login URL --username ann --password x");
    at.run("login URL --username ann --password x --ca-file ca.pem");
    at.remove("ca.pem");
    at.run("apps");
    at.finish();
}

#[test]
fn every_command_has_a_transcript() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paas/transcripts");
    let texts: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let grammar = cli::paas::command::grammar();
    for command in grammar.get_subcommands() {
        let name = command.get_name();
        let mut forms = vec![name.to_owned(), name.replace(':', " ")];
        forms.extend(name.strip_suffix(":list").map(str::to_owned));
        forms.extend(command.get_all_aliases().map(str::to_owned));
        let is_shown = forms.iter().any(|form| {
            texts.iter().any(|text| {
                text.lines().any(|line| {
                    line.strip_prefix("$ paasctl ").is_some_and(|typed| {
                        typed == form || typed.starts_with(&format!("{form} "))
                    })
                })
            })
        });
        assert!(is_shown, "{name} has no transcript");
    }
}
