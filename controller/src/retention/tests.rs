//! A registry that can refuse, and what it is told.

use std::sync::Mutex as PlainMutex;

use model::name::ProcessType;
use model::node::{Addresses, Duty, NodeSpec};
use model::release::{Build, Release, ReleaseState};
use model::snapshot::Versioned;
use model::time::Time;
use proto::registry::RetainAnswer;
use proto::registry::registry_server::{Registry, RegistryServer};
use service::{Authority, Identity, ManualClock, Stop, Subject};
use store::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::leftovers::Leftover;
use super::*;
use crate::records::Write;
use crate::view::View;

/// Answers with what is next in line, and tells what it was asked.
struct FakeRegistry {
    refusals: PlainMutex<u32>,
    asked: mpsc::UnboundedSender<RetainRequest>,
}

#[tonic::async_trait]
impl Registry for FakeRegistry {
    async fn retain(
        &self,
        request: Request<RetainRequest>,
    ) -> Result<Response<RetainAnswer>, Status> {
        self.asked.send(request.into_inner()).unwrap();
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(Status::unavailable("starting"));
        }
        Ok(Response::new(RetainAnswer::default()))
    }
}

struct World {
    retention: Retention,
    records: Records,
    clock: ManualClock,
    /// What each of the nodes n1, n2 and so on was asked.
    asked: Vec<mpsc::UnboundedReceiver<RetainRequest>>,
    specs: BTreeMap<NodeName, Versioned<NodeSpec>>,
    _folder: tempfile::TempDir,
}

impl World {
    /// One node per number, which is how often its registry refuses at first.
    async fn new(refusals: &[u32]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let identity = |role: &str| {
            let subject = Subject { role, node: "n1", dns: vec![], ips: vec![] };
            let own = folder.path().join(role);
            authority.issue(&subject, 1).unwrap().write(&own, authority.ca_pem()).unwrap();
            Identity::load(&own).unwrap()
        };
        service::install_crypto();
        let (mut asked, mut specs) = (Vec::new(), BTreeMap::new());
        for (index, refusals) in refusals.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let registry = listener.local_addr().unwrap().to_string();
            let (sender, heard) = mpsc::unbounded_channel();
            asked.push(heard);
            let fake = FakeRegistry { refusals: PlainMutex::new(*refusals), asked: sender };
            let server = tonic::transport::Server::builder().add_service(RegistryServer::new(fake));
            tokio::spawn(server.serve_with_incoming(identity("registry-proxy").incoming(listener)));
            let spec = NodeSpec {
                name: format!("n{}", index + 1).parse().unwrap(),
                // Nobody listens to lines here.
                addresses: Addresses {
                    registry,
                    logger: "127.0.0.1:9".to_owned(),
                    ..Addresses::default()
                },
                labels: BTreeMap::new(),
                duty: Duty::Open,
                joined: Time(0),
                admission: String::new(),
            };
            specs.insert(spec.name.clone(), Versioned { value: spec, revision: 1 });
        }
        let clock = ManualClock::new(0);
        let own = Member {
            name: "n1".parse().unwrap(),
            addresses: Addresses { logger: "127.0.0.1:9".to_owned(), ..Addresses::default() },
        };
        let (reach, tasks) = (Reach::new(identity("controller"), own), Tasks::new(Stop::new()));
        let (_, view) = tokio::sync::watch::channel(View::default());
        let logs = Logs::start(reach.clone(), view, clock.clock(), &tasks).unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()));
        let retention =
            Retention::new(Images::new(reach), logs, records.clone(), clock.clock(), tasks);
        World { retention, records, clock, asked, specs, _folder: folder }
    }

    /// A minute passes and the planner has a look; the round it began has ended. What each node was asked.
    async fn minute(&mut self, snapshot: Snapshot) -> Vec<Vec<RetainRequest>> {
        self.clock.advance(PERIOD);
        self.retention.follow(&Arc::new(Snapshot { specs: self.specs.clone(), ..snapshot }));
        drop(self.retention.told.lock().await);
        let all = self
            .asked
            .iter_mut()
            .map(|asked| std::iter::from_fn(|| asked.try_recv().ok()).collect());
        all.collect()
    }
}

fn deployed(releases: u32) -> Snapshot {
    let mut app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(0));
    app.current = Some(ReleaseNumber(releases));
    let mut snapshot = Snapshot::default();
    for number in 1..=releases {
        let release = Release {
            app: app.name.clone(),
            number: ReleaseNumber(number),
            created: Time(0),
            created_by: "olga".parse().unwrap(),
            summary: String::new(),
            build: Some(Build {
                image: format!("127.0.0.1:5000/shop@sha256:{number}"),
                commit: None,
                processes: BTreeMap::from([(ProcessType::web(), None)]),
                exposed_port: None,
            }),
            config: BTreeMap::new(),
            settings: BTreeMap::new(),
            state: ReleaseState::Succeeded,
        };
        let key = (app.name.clone(), ReleaseNumber(number));
        snapshot.releases.insert(key, Versioned { value: release, revision: 1 });
    }
    snapshot.apps.insert(app.name.clone(), Versioned { value: app, revision: 1 });
    snapshot
}

#[tokio::test]
async fn what_a_registry_refused_it_is_told_again_and_the_others_no_more() {
    let mut world = World::new(&[2, 0]).await;
    for round in 0..3 {
        let asked = world.minute(deployed(2)).await;
        let [request] = &asked[0][..] else { panic!("one call a minute") };
        assert_eq!((request.repository.as_str(), request.whole), ("shop", false));
        assert_eq!(request.keep, ["sha256:1", "sha256:2"]);
        assert_eq!(asked[1].len(), usize::from(round == 0));
    }
    assert_eq!(world.minute(deployed(2)).await, [[], []]);
    assert!(world.minute(deployed(3)).await.iter().all(|asked| asked[0].keep.len() == 3));
}

#[tokio::test]
async fn the_newest_history_stays_and_that_of_an_earlier_app_does_not() {
    let mut world = World::new(&[0]).await;
    let shop: AppName = "shop".parse().unwrap();
    let history = |created| History {
        app: shop.clone(),
        app_created: Time(created),
        manifest: format!("sha256:{created}"),
    };
    world.records.commit(Write::new().put(&history(7))).await.unwrap();
    let asked = world.minute(deployed(1)).await;
    assert_eq!(
        asked[0].iter().map(|asked| asked.repository.as_str()).collect::<Vec<_>>(),
        ["shop"]
    );
    world.records.commit(Write::new().put(&history(0))).await.unwrap();
    let asked = world.minute(deployed(1)).await;
    let [request] = &asked[0][..] else { panic!("the history alone is news") };
    assert_eq!(
        (request.repository.as_str(), &request.keep[..]),
        ("git/shop", &["sha256:0".to_owned()][..])
    );
}

#[tokio::test]
async fn a_node_that_did_not_answer_lets_go_of_a_removed_app_later() {
    let mut world = World::new(&[1, 0]).await;
    let app: AppName = "gone".parse().unwrap();
    let nodes = world.specs.keys().cloned().chain(["away".parse().unwrap()]).collect();
    let leftover = Leftover { app: app.clone(), nodes };
    world.records.commit(Write::new().put(&leftover)).await.unwrap();
    let asked = world.minute(Snapshot::default()).await;
    // Images and history, and no more after a refusal.
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert!(asked.iter().flatten().all(|request| request.whole));
    // Their loggers never answer here, so both stay; a node that left the cluster does not.
    let left = world.records.all::<Leftover>().await.unwrap();
    assert_eq!(
        left[0].value.nodes.iter().map(|node| node.as_str()).collect::<Vec<_>>(),
        ["n1", "n2"]
    );
    // A new app of the name: nothing of it is touched.
    let mut anew = deployed(1);
    let named = App::new(app.clone(), "olga".parse().unwrap(), Time(9));
    anew.apps.insert(app, Versioned { value: named, revision: 1 });
    let asked = world.minute(anew).await;
    assert!(asked.iter().flatten().all(|request| !request.whole), "{asked:?}");
    assert!(world.records.all::<Leftover>().await.unwrap().is_empty());
}
