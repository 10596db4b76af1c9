//! A registry that can refuse, and what it is told.

use std::sync::Mutex as PlainMutex;

use model::name::ProcessType;
use model::release::{Build, Release, ReleaseState};
use model::snapshot::Versioned;
use model::time::Time;
use proto::registry::RetainAnswer;
use proto::registry::registry_server::{Registry, RegistryServer};
use service::{Authority, ManualClock, Stop, Subject};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;

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
    clock: ManualClock,
    asked: mpsc::UnboundedReceiver<RetainRequest>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(refusals: u32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let identity = |role: &str| {
            let subject = Subject { role, node: "n1", dns: vec![], ips: vec![] };
            let own = folder.path().join(role);
            authority.issue(&subject, 1).unwrap().write(&own, authority.ca_pem()).unwrap();
            Identity::load(&own).unwrap()
        };
        service::install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, asked) = mpsc::unbounded_channel();
        let registry = FakeRegistry { refusals: PlainMutex::new(refusals), asked: sender };
        let server = tonic::transport::Server::builder()
            .tls_config(identity("registry-proxy").server_tls())
            .unwrap()
            .add_service(RegistryServer::new(registry));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let clock = ManualClock::new(0);
        let images = Images::new(&identity("controller"), &address).unwrap();
        let retention = Retention::new(images, clock.clock(), Tasks::new(Stop::new()));
        World { retention, clock, asked, _folder: folder }
    }

    /// A minute passes and the planner has a look; the round it began has ended.
    async fn minute(&mut self, snapshot: &Snapshot) -> Vec<RetainRequest> {
        self.clock.advance(PERIOD);
        self.retention.follow(snapshot);
        drop(self.retention.told.lock().await);
        let mut asked = Vec::new();
        while let Ok(request) = self.asked.try_recv() {
            asked.push(request);
        }
        asked
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
async fn what_the_registry_refused_it_is_told_again_and_then_no_more() {
    let mut world = World::new(2).await;
    let snapshot = deployed(2);
    for _ in 0..3 {
        let [request] = &world.minute(&snapshot).await[..] else { panic!("one call a minute") };
        assert_eq!((request.repository.as_str(), request.whole), ("shop", false));
        assert_eq!(request.keep, ["sha256:1", "sha256:2"]);
    }
    assert_eq!(world.minute(&snapshot).await, []);
    assert_eq!(world.minute(&deployed(3)).await[0].keep.len(), 3);
}
