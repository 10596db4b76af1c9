//! No request fails while an app is deployed, configured, scaled, restarted and rolled back.

use tests::{Cluster, DEMO, Load, Person, Repository, step};

#[test]
fn no_request_fails_through_any_change() {
    let cluster = Cluster::up("zero", 21200);
    let olga = Person::registered(&cluster, "olga");
    let app = Repository::deployed(&olga, "app", DEMO);
    app.paasctl(&olga, &["scale", "web=2"]).ok();

    let host = format!("app.{}", cluster.domain());
    let load = Load::start(cluster.http_port(), &host, &Load::MIXED);
    let changes: [(&str, &dyn Fn()); 6] = [
        ("deploy", &|| {
            app.commit(&[("version.txt", "2")]);
            app.push(&olga, "master").ok();
        }),
        ("config", &|| drop(app.paasctl(&olga, &["config:set", "GREETING=Ahoy"]).ok())),
        ("scale up", &|| drop(app.paasctl(&olga, &["scale", "web=4"]).ok())),
        ("scale down", &|| drop(app.paasctl(&olga, &["scale", "web=1"]).ok())),
        ("restart", &|| drop(app.paasctl(&olga, &["ps:restart"]).ok())),
        ("rollback", &|| drop(app.paasctl(&olga, &["rollback"]).ok())),
    ];
    for (name, change) in changes {
        step(name);
        let before = load.answered();
        change();
        // The change was made under load, not beside it.
        tests::until("the load goes on", || (load.answered() > before + 50).then_some(()));
    }
    let seen = load.stop();
    assert_eq!(seen.failed, 0, "{seen:#?}");
    assert!(seen.answered > 500, "{seen:?}");
}
