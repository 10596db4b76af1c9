//! A newcomer's first hour: from nothing to an app that is pushed, scaled, configured and rolled back.

use tests::{Cluster, DEMO, Person, Repository, step, until};

#[test]
fn a_newcomers_first_hour() {
    step("a cluster comes up, and a second `up` changes nothing");
    let cluster = Cluster::up("hour", 21000);
    let before = cluster.pid("controller");
    assert!(before.is_some(), "{}", cluster.status());
    cluster.start().ok();
    assert_eq!(cluster.pid("controller"), before);

    step("the first user is the administrator, and registration closes");
    let olga = Person::registered(&cluster, "olga");
    let who = olga.does(&["whoami", "--json"]).ok().json();
    assert_eq!((who["username"].as_str(), who["is_admin"].as_bool()), (Some("olga"), Some(true)));
    Person::new(&cluster, "mallory").register().fails_with("registration");
    let session = olga.home().join("session.json");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(session).unwrap());
    assert_eq!(mode & 0o777, 0o600);

    step("an app is created from a repository, and says what to do next");
    let demo = Repository::new(&olga, "demo", DEMO);
    demo.paasctl(&olga, &["apps:create", "demo"]).ok().says("git push deis master");
    demo.git(&["remote", "get-url", "deis"]).ok().says("/demo.git");
    demo.paasctl(&olga, &["apps:create", "demo"]).fails_with("demo");
    demo.paasctl(&olga, &["apps:create", "Not_A_Name"]).fails_with("app name");

    step("git push deis master");
    let pushed = demo.push(&olga, "master").ok();
    pushed.clone().says("----->").says("demo:v1 deployed");
    let host = format!("demo.{}", cluster.domain());
    let (status, page) = cluster.get(&host, "/");
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("v1") && page.contains("web.1"), "{page}");
    let https = format!("https://{host}:{}/", cluster.https_port());
    assert_eq!(cluster.curl(&[&https]).0, 200);
    assert_eq!(cluster.curl(&["--http2", &https]).0, 200);

    step("scale up, and down to nothing, and back");
    demo.paasctl(&olga, &["scale", "web=3", "worker=1"]).ok();
    let ps = demo.paasctl(&olga, &["ps", "--json"]).ok().json();
    let ready =
        ps["units"].as_array().unwrap().iter().filter(|unit| unit["state"] == "ready").count();
    assert_eq!(ready, 4, "{ps}");
    demo.paasctl(&olga, &["scale", "web=2", "nothing=1"]).fails_with("nothing");
    demo.paasctl(&olga, &["scale", "web=two"]).fails_with("web=two");
    assert_eq!(demo.paasctl(&olga, &["apps:info", "--json"]).ok().json()["formation"]["web"], 3);
    demo.paasctl(&olga, &["scale", "web=0"]).ok();
    assert_eq!(cluster.get(&host, "/").0, 503);
    demo.paasctl(&olga, &["scale", "web=1", "worker=0"]).ok();
    assert_eq!(cluster.get(&host, "/").0, 200);

    step("config makes a release, and rollback makes another");
    demo.paasctl(&olga, &["config:set", "GREETING=Ahoy there"]).ok();
    assert!(cluster.get(&host, "/").1.contains("Ahoy there"));
    demo.paasctl(&olga, &["rollback", "v1"]).ok();
    let (_, page) = cluster.get(&host, "/");
    assert!(!page.contains("Ahoy there") && page.contains("v3"), "{page}");
    demo.paasctl(&olga, &["config:set", "OTHER=1"]).ok();
    let config = demo.paasctl(&olga, &["config", "--json"]).ok().json();
    assert!(
        config["values"].get("GREETING").is_none(),
        "a rollback's config is the one in force: {config}"
    );
    let releases = demo.paasctl(&olga, &["releases", "--json"]).ok().json();
    let numbers: Vec<&str> =
        releases.as_array().unwrap().iter().filter_map(|row| row["release"].as_str()).collect();
    assert_eq!(numbers, ["v4", "v3", "v2", "v1"]);
    demo.paasctl(&olga, &["releases:info", "v2"]).ok().says("GREETING");
    demo.paasctl(&olga, &["rollback", "v99"]).fails_with("v99");

    step("logs hold the app's lines, the build and what the platform did");
    until("the log has all three", || {
        let logs = demo.paasctl(&olga, &["logs", "-n", "500"]).ok().stdout;
        (logs.contains("build") && logs.contains("platform") && logs.contains("web.1"))
            .then_some(())
    });

    step("an unknown host is 404, and maintenance is 503 with a page");
    assert_eq!(cluster.get(&format!("nobody.{}", cluster.domain()), "/").0, 404);
    demo.paasctl(&olga, &["maintenance:on"]).ok();
    until("maintenance is on", || (cluster.get(&host, "/").0 == 503).then_some(()));
    demo.paasctl(&olga, &["maintenance:off"]).ok();
    until("maintenance is off", || (cluster.get(&host, "/").0 == 200).then_some(()));

    step("destroy asks for the name, and leaves the name free");
    demo.paasctl(&olga, &["apps:destroy", "--confirm", "other"]).fails_with("demo");
    demo.paasctl(&olga, &["apps:destroy", "--confirm", "demo"]).ok();
    until("the host is unknown", || (cluster.get(&host, "/").0 == 404).then_some(()));
    until("the name is free", || {
        let created = demo.paasctl(&olga, &["apps:create", "demo", "--no-remote"]);
        (created.code == Some(0)).then_some(())
    });

    step("after logout the token is worth nothing");
    let token = std::fs::read_to_string(olga.home().join("session.json")).unwrap();
    olga.does(&["logout"]).ok();
    std::fs::write(olga.home().join("session.json"), token).unwrap();
    olga.does(&["apps"]).fails_with("log in");
}
