//! Running an app day by day: configuration, limits, health, one-off commands, logs, domains.

use tests::{Cluster, Person, Repository, rows, step, until};

const SERVER: &str = include_str!("../fixtures/daily.py");

#[test]
fn an_app_is_run_day_by_day() {
    let cluster = Cluster::up("daily", 22000);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::new(
        &olga,
        "app",
        &[
            (
                "Procfile",
                "web: python3 server.py\nworker: sleep 1000\nloop: echo looping && exit 4\n",
            ),
            ("server.py", SERVER),
        ],
    );
    app.paasctl(&olga, &["apps:create", "app"]).ok();
    app.push(&olga, "master").ok();
    let host = format!("app.{}", cluster.domain());
    let paas = |arguments: &[&str]| app.paasctl(&olga, arguments);

    step("a value with everything in it arrives as it was given");
    let odd = format!("line one\nline 'two' \"three\" = $HOME `id` \\ üñ☃ {}", "x".repeat(60_000));
    paas(&["config:set", &format!("ODD={odd}")]).ok();
    let (_, body) = cluster.get(&host, "/");
    assert!(body.ends_with(&odd), "{}", &body[..200.min(body.len())]);
    let listed = paas(&["config"]).ok();
    assert!(!listed.stdout.contains("line one"), "values are masked");
    paas(&["config", "--reveal"]).ok().says("line one");
    paas(&["config:pull"]).ok();
    paas(&["config:unset", "ODD"]).ok();
    paas(&["config:push"]).ok();
    assert!(cluster.get(&host, "/").1.ends_with(&odd), "pull and push bring it back");
    paas(&["config:unset", "ODD"]).ok();
    paas(&["config:set", "9BAD=1", "GOOD=1"]).fails_with("9BAD");
    assert!(paas(&["config", "--json"]).ok().json()["values"].get("GOOD").is_none());

    step("a one-off command gives its bytes and its exit code");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let echoed = olga.does_with_input(&["run", "-a", "app", "--", "cat"], &bytes).ok();
    assert_eq!(echoed.stdout_bytes, bytes);
    let failed =
        olga.does(&["run", "-a", "app", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(
        (failed.code, failed.stdout.as_str(), failed.stderr.contains("err")),
        (Some(42), "out\n", true)
    );
    let spaced = olga.does(&["run", "-a", "app", "--", "printf", "%s|", "a b", "$HOME", "c"]).ok();
    assert_eq!(spaced.stdout, "a b|$HOME|c|");
    olga.does(&["run", "-a", "app", "--detach", "--", "echo", "from afar"]).ok();
    until("the detached command's output is in the log", || {
        paas(&["logs", "-n", "200"]).ok().stdout.contains("from afar").then_some(())
    });

    step("a unit that dies is started again, and is told");
    let (status, _) = cluster.get(&host, "/die");
    assert!(status == 502 || status == 503, "{status}");
    until("it serves again", || (cluster.get(&host, "/").0 == 200).then_some(()));
    let restarts = || rows(&paas(&["ps", "--json"]).ok().json()["units"])[0]["restarts"].as_u64();
    until("ps counts the restart", || restarts().filter(|count| *count > 0));

    step("a crash loop backs off, never gives up, and can be seen");
    paas(&["scale", "loop=1"]).fails_with("looping");
    let ps = paas(&["ps"]).ok();
    assert!(ps.stdout.contains("backoff") && ps.stdout.contains("code 4"), "{}", ps.stdout);
    paas(&["scale", "loop=0"]).ok();

    step("a unit over its memory limit is killed, and it is called that");
    paas(&["limits:set", "web=64M"]).ok();
    cluster.get(&host, "/eat");
    until("ps tells of the memory", || {
        paas(&["ps", "--json"]).ok().stdout.contains("memory").then_some(())
    });
    paas(&["limits:set", "web=banana"]).fails_with("banana");
    until("it serves again", || (cluster.get(&host, "/").0 == 200).then_some(()));

    step("a unit that fails its check is replaced");
    let check = [
        "checks:set",
        "web",
        "http",
        "--path",
        "/health",
        "--status",
        "200-299",
        "--period",
        "0.5",
    ];
    paas(&check).ok();
    assert_eq!(cluster.get(&host, "/sick").0, 200);
    until("ps tells of the failed check and of the new start", || {
        let ps = paas(&["ps", "--json"]).ok().json();
        let is_anew = |unit: &serde_json::Value| {
            let reason = unit["reason"].as_str().unwrap_or_default();
            reason.contains("health check") && unit["restarts"].as_u64() > Some(0)
        };
        rows(&ps["units"]).iter().any(is_anew).then_some(())
    });
    paas(&["checks:unset", "web"]).ok();

    step("a domain of one's own, with a wildcard and a certificate");
    paas(&["domains:add", "www.example.test"]).ok();
    paas(&["domains:add", "*.shops.example.test"]).ok();
    until("the domain answers", || (cluster.get("www.example.test", "/").0 == 200).then_some(()));
    assert_eq!(cluster.get("one.shops.example.test", "/").0, 200);
    assert_eq!(cluster.get("other.example.test", "/").0, 404);
    paas(&["domains:add", "nonsense"]).fails_with("nonsense");
    let (chain, key) = self_signed(&cluster, "www.example.test");
    let (_, other_key) = self_signed(&cluster, "other.example.test");
    paas(&["certs:add", "www", &chain, &other_key]).fails_with("does not belong");
    paas(&["certs:add", "www", &chain, &key]).ok();
    let url = format!("https://www.example.test:{}/", cluster.https_port());
    until("the certificate is served", || {
        (cluster.curl(&["--cacert", &chain, &url]).0 == 200).then_some(())
    });
    paas(&["domains:remove", "www.example.test"]).ok();
    until("the domain is gone", || (cluster.get("www.example.test", "/").0 == 404).then_some(()));

    step("stop, start and logs by unit");
    paas(&["scale", "worker=1"]).ok();
    paas(&["ps:stop", "worker"]).ok();
    assert_eq!(rows(&paas(&["ps", "--json"]).ok().json()["units"]).len(), 1);
    paas(&["ps:start", "worker"]).ok();
    assert_eq!(rows(&paas(&["ps", "--json"]).ok().json()["units"]).len(), 2);
    let only_web = paas(&["logs", "-n", "50", "--ps", "web"]).ok().stdout;
    assert!(only_web.contains("asked for") && !only_web.contains("from afar"), "{only_web}");

    step("sharing, and what a stranger may not");
    olga.does(&["registration:open"]).ok();
    let carl = Person::registered(&cluster, "carl");
    carl.does(&["ps", "-a", "app"]).fails_with("app");
    paas(&["perms:add", "carl"]).ok();
    carl.does(&["ps", "-a", "app"]).ok();
    carl.does(&["apps:destroy", "-a", "app", "--confirm", "app"]).fails_with("!");
    paas(&["perms:remove", "carl"]).ok();
    carl.does(&["ps", "-a", "app"]).fails_with("app");
    paas(&["apps:transfer", "carl"]).ok();
    carl.does(&["apps:info", "-a", "app"]).ok().says("carl");
}

/// A self-signed certificate and its key, as files.
fn self_signed(cluster: &Cluster, host: &str) -> (String, String) {
    let chain = cluster.scratch().join(format!("{host}.pem")).display().to_string();
    let key = cluster.scratch().join(format!("{host}.key")).display().to_string();
    let subject = format!("/CN={host}");
    let names = format!("subjectAltName=DNS:{host}");
    let mut openssl = std::process::Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject]);
    tests::run(openssl.args(["-addext", &names, "-out", &chain, "-keyout", &key])).ok();
    (chain, key)
}
