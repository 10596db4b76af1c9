//! Who comes in and with what: passwords, sessions, tokens, keys; and whose an app is.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::process::Command;

use serde_json::Value;
use tests::person::PASSWORD;
use tests::{Cluster, DEMO, Person, Repository, Terminal, rows, run, step};

#[test]
fn accounts_tokens_keys_and_apps_belong_to_somebody() {
    let cluster = Cluster::up("acct", 22200);
    let olga = Person::new(&cluster, "olga");
    sessions(&cluster, &olga);
    let app = Repository::new(&olga, "shop", DEMO);
    app.paasctl(&olga, &["apps:create", "shop"]).ok();
    keys(&olga, &app);
    tokens(&cluster, &olga, &app);
    interface(&cluster, &olga);
    owners(&cluster, &olga, &app);
    names_and_ends(&olga);
}

fn sessions(cluster: &Cluster, olga: &Person<'_>) {
    step("a controller that cannot be verified gets no password");
    let anybody = ["--username", "olga", "--password", PASSWORD];
    let blind = |command: &str| olga.does(&[&[command, &cluster.api()], &anybody[..]].concat());
    blind("register").fails_with("--ca-file");
    olga.register().ok();
    olga.does(&["whoami"]).ok().says("olga at https://").says("administrator");

    step("a new password ends every other session, and the old password");
    let tablet = Person::new(cluster, "tablet");
    tablet.log_in("olga", "not the password").fails_with("password is wrong");
    tablet.log_in("olga", PASSWORD).ok();
    tablet.does(&["whoami"]).ok().says("olga");
    let change = |old: &str, new: &str| {
        olga.does_with_input(&["passwd", "--password-stdin"], format!("{old}\n{new}\n").as_bytes())
    };
    change("not the password", "battery staple").fails_with("password");
    change(PASSWORD, "battery staple").ok();
    assert_eq!(tablet.does(&["whoami"]).fails_with("log in").code, Some(3));
    olga.does(&["whoami"]).ok();
    tablet.log_in("olga", PASSWORD).fails_with("password is wrong");
    tablet.log_in("olga", "battery staple").ok();

    step("a logout ends the session there, not only here");
    let file = tablet.home().join("session.json");
    let before = std::fs::read(&file).unwrap();
    tablet.does(&["logout"]).ok();
    std::fs::write(&file, before).unwrap();
    assert_eq!(tablet.does(&["apps"]).fails_with("log in").code, Some(3));
}

fn keys(olga: &Person<'_>, app: &Repository) {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        step(&format!("a key of kind {kind} pushes and fetches until it is removed"));
        let key = olga.new_key(kind);
        let with_key =
            |mut git: Command| run(git.env("GIT_SSH_COMMAND", olga.ssh_command_with(&key)));
        app.commit(&[("kind.txt", kind)]);
        with_key(app.push_command(olga, "master")).fails_with("Permission denied");
        let public = key.with_extension("pub");
        run(olga.paasctl(&["keys:add", "--name", kind]).arg(&public)).ok();
        run(olga.paasctl(&["keys:add", "--name", "again"]).arg(&public)).fails_with("key");
        let listed = olga.does(&["keys", "--json"]).ok().json();
        let listed: Vec<&Value> = rows(&listed).iter().filter(|row| row["name"] == kind).collect();
        assert!(listed[0]["algorithm"].as_str().unwrap().contains(kind), "{listed:?}");
        with_key(app.push_command(olga, "master")).ok().says("deployed");
        with_key(app.git_command(olga, &["fetch", "deis"])).ok();
        assert_eq!(app.git(&["rev-parse", "deis/master"]).ok().stdout.trim(), app.head());
        olga.does(&["keys:remove", kind]).ok();
        with_key(app.git_command(olga, &["fetch", "deis"])).fails_with("Permission denied");
        assert_eq!(olga.does(&["keys", "--json"]).ok().json(), serde_json::json!([]));
    }
    run(olga.paasctl(&["keys:add"]).arg(olga.key().with_extension("pub"))).ok();
}

fn tokens(cluster: &Cluster, olga: &Person<'_>, app: &Repository) {
    step("a token may what its scope says, for as long as it lasts");
    let robot = Person::new(cluster, "robot");
    let made = |scope: &str| {
        let create = ["tokens:create", scope, "--scope", scope, "--days", "2", "--json"];
        olga.does(&create).ok().json()
    };
    let with = |token: &Value, arguments: &[&str]| {
        let mut command = robot.paasctl(arguments);
        command.env("TRIREME_URL", cluster.api()).env("TRIREME_CA_FILE", cluster.ca_file());
        run(command.env("TRIREME_TOKEN", token["token"].as_str().unwrap()))
    };
    let (read, deploy) = (made("read"), made("deploy"));
    with(&read, &["ps", "-a", "shop"]).ok();
    with(&read, &["scale", "web=1", "-a", "shop"]).fails_with("scope");
    with(&deploy, &["config:set", "A=1", "-a", "shop"]).ok();
    for beyond in [&["run", "-a", "shop", "true"][..], &["config", "--reveal", "-a", "shop"]] {
        with(&deploy, beyond).fails_with("scope");
    }
    with(&deploy, &["tokens:create", "more", "--scope", "full"]).fails_with("scope");
    let listed = olga.does(&["tokens", "--json"]).ok().json();
    let row = rows(&listed).iter().find(|row| row["id"] == read["id"]).unwrap();
    let lasts = |from: &Value, to: &Value| {
        let seconds = |at: &Value| {
            let mut date = Command::new("date");
            let text = run(date.args(["+%s", "-d", at.as_str().unwrap()])).ok().stdout;
            text.trim().parse::<i64>().unwrap()
        };
        seconds(to) - seconds(from)
    };
    assert_eq!(lasts(&row["created"], &row["expires"]), 2 * 24 * 3600, "{row}");
    olga.does(&["tokens:remove", read["id"].as_str().unwrap()]).ok();
    assert_eq!(with(&read, &["ps", "-a", "shop"]).fails_with("log in").code, Some(3));
    app.paasctl(olga, &["ps"]).ok();
}

/// The API as programs see it.
fn interface(cluster: &Cluster, olga: &Person<'_>) {
    step("the API describes itself, and its refusals can be found again");
    let (status, document) = cluster.curl(&[&format!("{}/v1/openapi.json", cluster.api())]);
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(status, 200);
    assert_eq!(read(&document), read(include_str!("../../controller/openapi.json")));
    let (status, problem) = cluster.curl(&["-i", &format!("{}/v1/apps", cluster.api())]);
    let (head, body) = problem.split_once("\r\n\r\n").unwrap();
    let body = read(body);
    assert_eq!((status, body["code"].as_str()), (401, Some("login-needed")));
    let id = body["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")), "{head} {body}");

    step("every read comes as JSON too, and bash completes it");
    let of_app = [
        "info",
        "ps",
        "config",
        "limits",
        "checks",
        "releases",
        "releases:info v1",
        "domains",
        "certs",
        "perms",
        "maintenance",
    ];
    for read in of_app {
        let words: Vec<&str> = read.split(' ').chain(["-a", "shop", "--json"]).collect();
        olga.does(&words).ok().json();
    }
    for read in ["whoami", "apps", "keys", "tokens", "users"] {
        olga.does(&[read, "--json"]).ok().json();
    }
    let lines = olga.does(&["logs", "-n", "3", "-a", "shop", "--json"]).ok().stdout;
    assert_eq!(lines.lines().map(read).collect::<Vec<_>>().len(), 3, "{lines}");
    let script = olga.does(&["completion", "bash"]).ok().stdout;
    let mut bash = Command::new("bash");
    run(bash.args(["--norc", "-c", &format!("{script}\ncomplete -p paasctl")]))
        .ok()
        .says("paasctl");
}

fn owners(cluster: &Cluster, olga: &Person<'_>, app: &Repository) {
    step(
        "a collaborator operates an app, its owner decides about it, a stranger knows nothing of it",
    );
    olga.does(&["registration:open"]).ok();
    let (carl, dora) = (Person::registered(cluster, "carl"), Person::registered(cluster, "dora"));
    olga.does(&["registration:close"]).ok();
    Person::new(cluster, "mallory").register().fails_with("registration");
    app.commit(&[("by.txt", "carl")]);
    carl.does(&["ps", "-a", "shop"]).fails_with("no app");
    app.push(&carl, "master").fails_with("no app");
    app.paasctl(olga, &["perms:add", "carl"]).ok();
    app.paasctl(olga, &["perms", "--json"]).ok().says("carl");
    carl.does(&["ps", "-a", "shop"]).ok();
    app.push(&carl, "master").ok().says("deployed");
    for beyond in [
        &["apps:transfer", "carl"][..],
        &["perms:add", "dora"],
        &["apps:destroy", "--confirm", "shop"],
    ] {
        app.paasctl(&carl, beyond).fails_with("owner");
    }
    app.paasctl(olga, &["apps:transfer", "nobody"]).fails_with("nobody");
    app.paasctl(olga, &["apps:transfer", "dora"]).ok();
    let info = app.paasctl(&dora, &["info", "--json"]).ok().json();
    assert_eq!((info["owner"].as_str(), &info["release"]), (Some("dora"), &"v5".into()), "{info}");
    app.paasctl(&dora, &["perms:remove", "carl"]).ok();
    carl.does(&["info", "-a", "shop"]).fails_with("no app");
    assert_eq!(carl.does(&["apps", "--json"]).ok().json(), serde_json::json!([]));
}

fn names_and_ends(olga: &Person<'_>) {
    step("an app without a name gets one, an address and a remote");
    let nameless = Repository::new(olga, "nameless", DEMO);
    nameless.paasctl(olga, &["apps:create"]).ok().says("git push deis master");
    let info = nameless.paasctl(olga, &["info", "--json"]).ok().json();
    let name = info["name"].as_str().unwrap();
    assert!(name.split('-').count() == 3, "two words and a number: {name}");
    nameless.git(&["remote", "get-url", "deis"]).ok().says(info["git_remote"].as_str().unwrap());
    let address = nameless.paasctl(olga, &["open"]).ok().stdout;
    assert_eq!(Some(address.trim()), info["url"].as_str());
    assert!(address.contains(name), "{address}");
    olga.does(&["apps"]).ok().says(name);

    step("an app ends only when its name is typed");
    let destroy = || {
        let mut command = olga.paasctl(&["apps:destroy"]);
        command.current_dir(nameless.folder());
        let mut terminal = Terminal::start(&command, 24, 80);
        terminal.shows("Type");
        terminal
    };
    let mut terminal = destroy();
    terminal.types("shop\r");
    terminal.shows("nothing was done");
    assert_eq!(terminal.ends(), Some(2));
    nameless.paasctl(olga, &["info"]).ok();
    let mut terminal = destroy();
    terminal.types(&format!("{name}\r"));
    terminal.shows("is gone");
    assert_eq!(terminal.ends(), Some(0));
    olga.does(&["info", "-a", name]).fails_with("no app");
    assert!(!nameless.git(&["remote"]).ok().stdout.contains("deis"));
}
