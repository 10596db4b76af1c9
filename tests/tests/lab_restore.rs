//! A backup of three nodes, made while people work, becomes a cluster on fresh machines; a node of the old cluster that comes
//! back is part of nothing. The runbook `back-up-and-restore`, as it is written.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tests::lab::{Host, TemporaryLab};
use tests::{Person, Repository, rows, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 49;
const SERVER: &str = include_str!("../fixtures/daily.py");
const FILES: [(&str, &str); 2] = [("Procfile", "web: python3 server.py\n"), ("server.py", SERVER)];
const HOST: &str = "shop.apps.localhost";
const ODD: &str = "odd.apps.localhost";
const WWW: &str = "www.example.com";
/// What the shop answers.
const KEPT: &str = "sealed and kept";
/// So that an app has not as many as it may have before the backup is made.
const DOMAINS_EVERY: Duration = Duration::from_millis(200);

#[test]
fn fresh_machines_take_over_from_a_backup_and_an_old_node_is_part_of_nothing() {
    let lab = TemporaryLab::up(NUMBER);
    let hosts = lab.hosts();
    let [n1, n2, n3] = &hosts[..] else { panic!("there are three hosts") };
    let people = Person::everywhere(&hosts, "olga");
    let olga = &people[0];
    let story = Story::deploy(olga);
    let file = lab.data.join("backup");

    let before = story.back_up_under_load(&people, n2, &file);
    others_are_made(n2, &file);
    alone_it_is_refused_or_stale(&[n1, n2], n3, &file);
    n3.power_off().unwrap();

    step("restored on a fresh machine");
    n1.boot().unwrap();
    run(&mut n1.clusterctl(&["down", "--wipe", "--confirm", "n1"])).ok();
    n1.restore(&file).ok().says("clusterctl join --address ADDRESS");
    story.is_all_there(n1, &before);

    old_nodes_are_part_of_nothing(&[n3, n2], n1);
    step("the new cluster has only heard what it was told, and the old one nothing of it");
    story.odd.paasctl(olga, &["config:set", "ODD=new"]).ok();
    until("its router serves the change", || (n1.get(ODD, "/odd").1 == "new").then_some(()));
    // Its unit may have been on the node that is wiped, and is only being replaced.
    let old = until("the old cluster serves it, too", || {
        let (status, body) = n2.get(ODD, "/odd");
        (status == 200).then_some(body)
    });
    assert_eq!(old, "", "as it was");
    story.serves(&[n1]);

    step("wiped, the others join, and a push goes on where the last one ended");
    for host in [n2, n3] {
        run(&mut host.clusterctl(&["down", "--wipe", "--confirm", &host.name])).ok();
        let made = run(&mut n1.clusterctl(&["token:create", "--json"])).ok().json();
        host.join(made["token"].as_str().unwrap()).unwrap();
    }
    lab.wait_until_whole().unwrap();
    story.shop.commit(&[("version.txt", "after")]);
    story.shop.push(olga, "master").ok().says("deployed");
    story.serves(&[n1, n2, n3]);
}

/// Nodes of before are switched on again, in the end so many that they have a quorum.
fn old_nodes_are_part_of_nothing(old: &[&Host; 2], new: &Host) {
    step("a node of the old cluster comes back");
    let mut ups = Vec::new();
    for host in old {
        host.boot().unwrap();
        // Alone it has no quorum, and the command waits for that.
        ups.push(host.clusterctl(&["up"]).stdout(Stdio::null()).spawn().unwrap());
        until("its agent says why it is not heard", || {
            serves_no_app_for_another(host);
            let said = run(&mut host.clusterctl(&["logs", "-n", "1000", "agent"])).stdout;
            said.contains("is not in the cluster any more: `clusterctl down --wipe`").then_some(())
        });
        assert_eq!(new.ready_nodes(), 1);
    }
    step("two of them have a quorum");
    until("they are a cluster of their own", || (old[1].ready_nodes() == 2).then_some(()));
    assert_eq!(new.ready_nodes(), 1);
    run(&mut new.clusterctl(&["doctor"])).ok();
    for mut up in ups {
        // It only waits; what it started runs on.
        up.kill().unwrap();
        up.wait().unwrap();
    }
}

/// Its router has only its last table, and its units were started in another order than before.
fn serves_no_app_for_another(host: &Host) {
    for (name, body) in [(HOST, KEPT), (ODD, "")] {
        let answer = host.get(name, "/odd");
        assert!(answer.0 != 200 || answer.1 == body, "{name} at {}: {answer:?}", host.name);
    }
}

/// What people work at.
struct Story<'a> {
    olga: &'a Person<'a>,
    /// Is pushed.
    shop: Repository,
    /// Has its config changed.
    odd: Repository,
    /// Is scaled.
    wide: Repository,
    /// The certificate of its domain.
    chain: PathBuf,
}

/// How often each kind of change was acknowledged before the backup began, or begun before it ended.
#[derive(Debug, Default)]
struct Counts {
    pushes: AtomicUsize,
    settings: AtomicUsize,
    scales: AtomicUsize,
    domains: AtomicUsize,
}

/// Ends the work.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How many units the app is scaled to at which time.
fn units(scales: usize) -> usize {
    scales % 6 + 1
}

/// What a backup may know: no less than the one, no more than the other.
#[derive(Debug)]
struct Bounds {
    least: Vec<usize>,
    most: Vec<usize>,
}

impl Counts {
    fn now(&self) -> Vec<usize> {
        let all = [&self.pushes, &self.settings, &self.scales, &self.domains];
        all.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

impl<'a> Story<'a> {
    fn deploy(olga: &'a Person<'a>) -> Story<'a> {
        step("apps, a domain with a certificate, and a second user");
        let [shop, odd, wide] =
            ["shop", "odd", "wide"].map(|name| Repository::deployed(olga, name, &FILES));
        // One that nothing else changes at the same moment.
        olga.does(&["apps:create", "names", "--no-remote"]).ok();
        shop.paasctl(olga, &["config:set", &format!("ODD={KEPT}")]).ok();
        shop.paasctl(olga, &["domains:add", WWW]).ok();
        let (chain, key) = (olga.home().join("www.pem"), olga.home().join("www.key"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
        openssl.args([
            "/CN=www.example.com",
            "-addext",
            "subjectAltName=DNS:www.example.com",
            "-out",
        ]);
        run(openssl.arg(&chain).arg("-keyout").arg(&key)).ok();
        let add = ["certs:add", "www", chain.to_str().unwrap(), key.to_str().unwrap()];
        shop.paasctl(olga, &add).ok();
        Story { olga, shop, odd, wide, chain }
    }

    /// Makes a backup on one node while work goes on at all of them.
    fn back_up_under_load(&self, people: &[Person<'_>], host: &Host, file: &Path) -> Bounds {
        step("a backup is made while people work");
        let (stop, begun, done) = (AtomicBool::new(false), Counts::default(), Counts::default());
        let again = |of: fn(&Counts) -> &AtomicUsize, change: &dyn Fn(usize)| {
            while !stop.load(Ordering::SeqCst) {
                let next = of(&begun).fetch_add(1, Ordering::SeqCst) + 1;
                change(next);
                of(&done).store(next, Ordering::SeqCst);
            }
        };
        let bounds = std::thread::scope(|scope| {
            // Also when a step fails: those who work wait for it.
            let stopping = Stopping(&stop);
            scope.spawn(|| {
                again(|it| &it.pushes, &|next| {
                    self.shop.commit(&[("version.txt", &next.to_string())]);
                    self.shop.push(self.olga, "master").ok();
                });
            });
            scope.spawn(|| {
                again(|it| &it.settings, &|next| {
                    let setting = format!("COUNT={next}");
                    people[1].does(&["config:set", &setting, "-a", "odd"]).ok();
                });
            });
            scope.spawn(|| {
                again(|it| &it.scales, &|next| {
                    let web = format!("web={}", units(next));
                    people[2].does(&["scale", &web, "-a", "wide"]).ok();
                });
            });
            scope.spawn(|| {
                // In an order, through one node after the other: a backup that has one has all before it.
                again(|it| &it.domains, &|next| {
                    let domain = format!("d{next}.example.com");
                    people[next % 3].does(&["domains:add", &domain, "-a", "names"]).ok();
                    std::thread::sleep(DOMAINS_EVERY);
                });
            });
            until("some work of each kind is done", || {
                done.now().iter().all(|count| *count >= 1).then_some(())
            });
            let least = done.now();
            let made = run(host.clusterctl(&["backup"]).arg(file));
            let most = begun.now();
            drop(stopping);
            step(&format!("{made:?}: {least:?} to {most:?}"));
            made.ok().says("4 apps, 1 users");
            Bounds { least, most }
        });
        run(host.clusterctl(&["backup", "--check"]).arg(file)).ok().says("whole and unchanged");
        bounds
    }

    /// Everything that was acknowledged, nothing that was not yet begun, and no change without those before it.
    fn is_all_there(&self, host: &Host, before: &Bounds) {
        self.serves(&[host]);
        step("users, keys, releases, config, domains and certificates are there");
        let olga = self.olga;
        olga.does(&["whoami"]).ok().says("olga");
        olga.does(&["keys"]).ok().says("olga@laptop");
        let count = self.odd.paasctl(olga, &["config:get", "COUNT"]).ok().stdout;
        let releases = self.shop.paasctl(olga, &["releases", "--json"]).ok().json();
        let pushes = rows(&releases).len().saturating_sub(2);
        let scaled = self.wide.paasctl(olga, &["ps", "--json"]).ok().json();
        let scaled = &scaled["formation"]["web"]["count"];
        let (least, most) = (before.least[2], before.most[2]);
        let scales = (least..=most).find(|scales| *scaled == units(*scales));
        let domains = olga.does(&["domains", "--json", "-a", "names"]).ok().json();
        let domains = domains.to_string();
        let is_there = |next: &usize| domains.contains(&format!("\"d{next}.example.com\""));
        let added = (1..).take_while(is_there).count();
        let known = [pushes, count.trim().parse().unwrap(), scales.unwrap_or_default(), added];
        step(&format!("it knows {known:?} of {before:?}"));
        for (known, (least, most)) in known.iter().zip(before.least.iter().zip(&before.most)) {
            assert!((least..=most).contains(&known), "{least} <= {known} <= {most}");
        }
        assert_eq!(domains.matches("example.com").count(), added, "{domains}");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(&self.chain).arg("--resolve");
        curl.arg(format!("{WWW}:443:{}", host.address)).arg(format!("https://{WWW}/odd"));
        assert_eq!(run(&mut curl).ok().stdout, KEPT);
    }

    fn serves(&self, hosts: &[&Host]) {
        for host in hosts {
            until(&format!("the app answers at {} with its config", host.name), || {
                let wanted = (200, KEPT.to_owned());
                (host.get(HOST, "/odd") == wanted && host.get(WWW, "/odd") == wanted).then_some(())
            });
        }
    }
}

/// To a pipe, and without images.
fn others_are_made(host: &Host, file: &Path) {
    step("a backup to a pipe, and a small one");
    let mut made = host.clusterctl(&["backup", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut check = host.clusterctl(&["backup", "--check", "-"]);
    check.stdin(made.stdout.take().unwrap()).stdout(Stdio::piped());
    let checked = check.output().unwrap();
    assert!(made.wait().unwrap().success() && checked.status.success(), "{checked:?}");
    let small = file.with_extension("small");
    run(host.clusterctl(&["backup", "--without-images"]).arg(&small)).ok().says("no images");
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(bytes(&small) < bytes(file));
}

fn alone_it_is_refused_or_stale(lost: &[&Host], alone: &Host, file: &Path) {
    step("two of three are off");
    for host in lost {
        host.power_off().unwrap();
    }
    let stale = file.with_extension("stale");
    until("a backup is refused", || {
        let refused = run(alone.clusterctl(&["backup", "--without-images"]).arg(&stale));
        let _ = std::fs::remove_file(&stale);
        refused.stderr.contains("too few of the cluster's control nodes").then_some(())
    });
    run(alone.clusterctl(&["backup", "--without-images", "--stale"]).arg(&stale)).ok();
    run(alone.clusterctl(&["backup", "--check"]).arg(&stale)).ok().says("made without a quorum");
}
