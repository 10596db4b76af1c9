//! Nodes are lost: one, two, all of them, and one for good. What still runs serves on, what is lost runs elsewhere, and what
//! returns brings nothing twice.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::lab::{Host, TemporaryLab, Watch};
use tests::{DEMO, Load, Output, Person, Repository, rows, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 42;
const HOST: &str = "shop.apps.localhost";
const SOLO_HOST: &str = "solo.apps.localhost";
/// The exclusive process, as no other process of the machine is called.
const CLOCK: [&str; 3] = ["python3", "clock.py", "lab-42"];
const PROCFILE: &str = "web: python3 server.py\nclock: python3 clock.py lab-42\n";
const FILES: [(&str, &str); 3] =
    [("Procfile", PROCFILE), DEMO[1], ("clock.py", include_str!("../fixtures/clock.py"))];
/// What asks a router during a fault.
const PATHS: [&str; 2] = ["/", "/slow?ms=300"];

/// How long anything may take until the units of a lost node run elsewhere, with room for a busy machine.
const REPLACED_WITHIN: Duration = Duration::from_secs(20);
/// How long after the leader's death changes may be refused.
const WRITABLE_WITHIN: Duration = Duration::from_secs(10);
/// The last node waits this long before it starts what it lacks.
const REGENCY_AFTER: Duration = Duration::from_secs(45);
/// From the first machine's power to every app as it was.
const BACK_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn apps_outlive_the_loss_of_nodes() {
    let lab = TemporaryLab::up(NUMBER);
    let hosts = lab.hosts();
    let people = Person::everywhere(&hosts, "olga");
    let story = Story { hosts: &hosts, people: &people, clock: Watch::start(&CLOCK) };
    let shop = story.deploy();
    story.one(&lab.leader().unwrap());
    story.two(&shop);
    story.all();
    story.for_good(&lab.store_leader().unwrap(), &shop);
    assert_eq!(story.clock.most(), 1, "the exclusive process never ran twice at once");
}

struct Story<'a> {
    hosts: &'a [Host],
    people: &'a [Person<'a>],
    clock: Watch,
}

impl Story<'_> {
    /// An app with two web units and an exclusive one, and an app of one unit; both are production.
    fn deploy(&self) -> Repository {
        step("two apps are deployed");
        let olga = &self.people[0];
        let shop = Repository::deployed(olga, "shop", &FILES);
        for arguments in [
            &["class:set", "production", "-a", "shop"][..],
            &["exclusive:on", "clock", "-a", "shop"],
            &["scale", "web=2", "clock=1", "-a", "shop"],
            &["apps:create", "solo", "--no-remote"],
            &["class:set", "production", "-a", "solo"],
        ] {
            olga.does(arguments).ok();
        }
        let solo = Repository::new(olga, "solo", DEMO);
        solo.remote(olga, "solo");
        solo.push(olga, "master").ok();
        self.settle("deployed");
        shop
    }

    /// Scenarios 1 and 2, and the return.
    fn one(&self, lost: &Host) {
        let survivors = self.others(&[lost]);
        let olga = self.at(survivors[0]);
        let before = self.units_on(&survivors);
        let loads = self.loads(&survivors);

        step(&format!("{}, whose controller leads, loses its power", lost.name));
        let began = Instant::now();
        lost.power_off().unwrap();
        until("a change is taken", || {
            (olga.does(&["domains:add", "-a", "shop", "shop.example.test"]).code == Some(0))
                .then_some(())
        });
        let writable = began.elapsed();
        until("the survivors run everything", || self.runs_on(&survivors).then_some(()));
        let replaced = began.elapsed();
        step(&format!(
            "changes were taken after {writable:.1?}, all units ran after {replaced:.1?}"
        ));
        assert!(writable < WRITABLE_WITHIN && replaced < REPLACED_WITHIN);
        for unit in before {
            assert!(self.units_on(&survivors).contains(&unit), "{unit:?} was not left alone");
        }
        loads.into_iter().for_each(Load::saw_no_failure);

        step("and returns");
        self.return_of(lost);
    }

    /// Scenarios 14 and 15: one node is left, and it has a unit of the shop but not the only one of the other app.
    fn two(&self, shop: &Repository) {
        let has = |host: &Host, app| host.units(app).iter().any(|(_, process)| process == "web");
        let last = self.hosts.iter().find(|host| has(host, "shop") && !has(host, "solo")).unwrap();
        let (lost, olga) = (self.others(&[last]), self.at(last));
        let load = Load::at(last.router(), HOST, &PATHS);

        step(&format!("all but {} lose their power", last.name));
        let began = Instant::now();
        lost.iter().for_each(|host| host.power_off().unwrap());
        shop.commit(&[("version.txt", "never")]);
        // Nobody knows yet why nothing answers; that much is said.
        self.push(shop, last).fails_with(" !     ");
        until("reads are marked as old", || {
            let output = olga.does(&["ps", "-a", "shop"]);
            (output.code == Some(0) && output.stderr.contains("has no quorum")).then_some(())
        });
        let refused = olga.does(&["config:set", "-a", "shop", "NEVER=1"]);
        let refused = refused
            .fails_with("too few of the cluster's control nodes are there: nothing was changed");
        refused.says("it ends by itself when enough of the others return");
        // Which one is met first depends on where the app's history lies.
        let reasons = [
            "too few of the cluster's control nodes are there",
            "is on a node that does not answer",
        ];
        let refused = self.push(shop, last).fails_with(" !     ");
        assert!(reasons.iter().any(|reason| refused.stderr.contains(reason)), "{refused:#?}");
        load.saw_no_failure();

        for program in ["controller", "agent", "logger", "registry-proxy", "builder", "router"] {
            step(&format!("{program} of the last node is killed"));
            let load = (program != "router").then(|| Load::at(last.router(), HOST, &PATHS));
            let killed = last.signal(program, "-KILL");
            until("it runs again", || last.pid(program).filter(|pid| *pid != killed));
            until("the app answers", || (last.get(HOST, "/").0 == 200).then_some(()));
            load.into_iter().for_each(Load::saw_no_failure);
        }
        step("a unit of the last node is killed");
        let unit = last.units("shop").into_iter().find(|(_, process)| process == "web").unwrap().0;
        run(&mut last.docker(&["kill", &unit])).ok();
        until("it is started again", || (last.get(HOST, "/").0 == 200).then_some(()));

        step("the last node starts what it lacks of production");
        until("the other app answers", || (last.get(SOLO_HOST, "/").0 == 200).then_some(()));
        let (early, late) = (REGENCY_AFTER, REGENCY_AFTER + Duration::from_secs(30));
        assert!((early..late).contains(&began.elapsed()), "{:?}", began.elapsed());

        step("one returns");
        let load = Load::at(last.router(), HOST, &PATHS);
        lost[0].start().unwrap();
        self.settle_on(&[last, lost[0]], "one of two lost nodes is back");
        until("a change is taken", || {
            (olga.does(&["domains:add", "-a", "shop", "two.example.test"]).code == Some(0))
                .then_some(())
        });
        load.saw_no_failure();
        step("and the other");
        self.return_of(lost[1]);
    }

    /// Scenario 19.
    fn all(&self) {
        let olga = &self.people[0];
        olga.does(&["config:set", "-a", "shop", "GREETING=Still afloat"]).ok();
        self.settle("before the power cut");
        let releases = || olga.does(&["releases", "-a", "shop", "--json"]).stdout;
        let before = releases();
        step("all lose their power");
        for place in [1, 2, 0] {
            self.hosts[place].power_off().unwrap();
        }
        step("and get it back in another order");
        let began = Instant::now();
        std::thread::scope(|scope| {
            for place in [2, 0, 1] {
                scope.spawn(move || self.hosts[place].start().unwrap());
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        self.settle("everything was off");
        for host in self.hosts {
            until("every router answers", || {
                host.get(HOST, "/").1.contains("Still afloat").then_some(())
            });
            until("for every app", || (host.get(SOLO_HOST, "/").0 == 200).then_some(()));
        }
        step(&format!("all was back after {:.1?}", began.elapsed()));
        assert!(began.elapsed() < BACK_WITHIN, "{:?}", began.elapsed());
        assert_eq!(releases(), before);
    }

    /// A living node, whose member leads the store, is drained and taken out of the cluster.
    fn for_good(&self, gone: &Host, shop: &Repository) {
        let left = self.others(&[gone]);
        step(&format!("{} is drained and removed under load", gone.name));
        let loads = self.loads(&left);
        run(&mut left[0].clusterctl(&["drain", &gone.name])).ok();
        assert_eq!((gone.units("shop"), gone.units("solo")), (vec![], vec![]));
        run(&mut left[0].clusterctl(&["nodes:remove", &gone.name])).ok();
        self.settle_on(&left, "one was removed");
        loads.into_iter().for_each(Load::saw_no_failure);

        step("it has no share in anything any more");
        for host in &left {
            let members = host.store_members();
            assert!(members.len() == 2 && !members.contains(&gone.name), "{members:?}");
        }
        shop.commit(&[("version.txt", "of two nodes")]);
        self.push(shop, left[0]).ok();
        self.settle_on(&left, "a push with two");
        assert_eq!(gone.units("shop"), vec![]);
        for host in &left {
            let logs = self.at(host).does(&["logs", "-a", "shop", "-n", "5"]).ok();
            assert!(!logs.stderr.contains(&gone.name), "{logs:?}");
        }
        let nodes = run(&mut left[1].clusterctl(&["nodes", "--json"])).ok().json();
        assert_eq!(rows(&nodes).len(), 2, "{nodes}");
        run(&mut gone.clusterctl(&["down", "--wipe", "--confirm", &gone.name])).ok();
    }

    /// Powers a host on while all routers are asked, its own from the first connection on, until all is as it was.
    fn return_of(&self, host: &Host) {
        let others = self.others(&[host]);
        let mut loads = self.loads(&others);
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| host.start().unwrap());
            until("its router listens", || TcpStream::connect(host.router()).ok());
            loads.push(Load::at(host.router(), HOST, &PATHS));
            starting.join().unwrap();
        });
        self.settle(&format!("{} is back", host.name));
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    /// To this host's own builder, whichever one the remote names.
    fn push(&self, shop: &Repository, host: &Host) -> Output {
        let url = format!("ssh://git@{}:2222/shop.git", host.address);
        run(&mut shop.git_command(&self.people[0], &["push", &url, "master"]))
    }

    fn settle(&self, when: &str) {
        self.settle_on(&self.hosts.iter().collect::<Vec<_>>(), when);
    }

    /// Waits until these hosts are ready and run exactly what is wanted.
    fn settle_on(&self, hosts: &[&Host], when: &str) {
        until(&format!("{when}: nodes are ready and units are as wanted"), || {
            let is_ready = |host: &&Host| host.ready_nodes() == hosts.len();
            (hosts.iter().all(is_ready) && self.runs_on(hosts)).then_some(())
        });
    }

    /// Whether exactly what is wanted runs on these hosts, and `ps` says so.
    fn runs_on(&self, hosts: &[&Host]) -> bool {
        let mut units: Vec<String> =
            self.units_on(hosts).into_iter().map(|(_, process)| process).collect();
        units.sort();
        units == ["clock", "web", "web", "web"]
            && self.clock.now() == 1
            && self.is_told(hosts, "shop", 3)
            && self.is_told(hosts, "solo", 1)
    }

    /// Whether `ps` tells that an app's units on these hosts are this many, and ready.
    fn is_told(&self, hosts: &[&Host], app: &str, count: usize) -> bool {
        let output = self.at(hosts[0]).does(&["ps", "-a", app, "--json"]);
        let Ok(told) = serde_json::from_str::<Value>(&output.stdout) else { return false };
        let is_here = |unit: &&Value| hosts.iter().any(|host| unit["node"] == host.name.as_str());
        let mut units = rows(&told["units"]).iter().filter(is_here);
        units.clone().count() == count && units.all(|unit| unit["state"] == "ready")
    }

    /// Containers of both apps and their types.
    fn units_on(&self, hosts: &[&Host]) -> Vec<(String, String)> {
        let apps = ["shop", "solo"];
        hosts.iter().flat_map(|host| apps.iter().flat_map(|app| host.units(app))).collect()
    }

    fn others(&self, but: &[&Host]) -> Vec<&Host> {
        let is_other = |host: &&Host| but.iter().all(|but| but.name != host.name);
        self.hosts.iter().filter(is_other).collect()
    }

    fn at(&self, host: &Host) -> &Person<'_> {
        let place = self.hosts.iter().position(|other| other.name == host.name).unwrap();
        &self.people[place]
    }

    fn loads(&self, hosts: &[&Host]) -> Vec<Load> {
        hosts.iter().map(|host| Load::at(host.router(), HOST, &PATHS)).collect()
    }
}
