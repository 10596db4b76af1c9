//! Real gateways that come, go, lie down and move.

#![expect(clippy::unwrap_used, reason = "a test may end by a panic")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use link::{Config, Gateways};
use model::node::{Addresses, Member};
use proto::gateway::{
    IdentifyAnswer, IdentifyRequest, MemberSet, MembersRequest,
    gateway_client::GatewayClient,
    gateway_server::{Gateway, GatewayServer},
};
use service::{Authority, Identity, Stop, Subject, Tasks};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_stream::{StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, codegen::BoxStream, transport::Server};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One cluster's identities and the lists its gateways tell.
struct Rig {
    folder: TempDir,
    sets: watch::Sender<MemberSet>,
}

/// A gateway that ends, with its connections, when this is dropped.
struct Running {
    address: SocketAddr,
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self._runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Answering {
    name: String,
    sets: watch::Receiver<MemberSet>,
}

#[tonic::async_trait]
impl Gateway for Answering {
    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<BoxStream<MemberSet>>, Status> {
        service::peer(&request)?.require_role(&["agent"])?;
        Ok(Response::new(Box::pin(WatchStream::new(self.sets.clone()).map(Ok))))
    }

    async fn identify(
        &self,
        _request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyAnswer>, Status> {
        Ok(Response::new(IdentifyAnswer { user: self.name.clone() }))
    }
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        for role in ["agent", "controller"] {
            let subject = Subject { role, node: "n1", dns: vec![], ips: vec![] };
            let issued = authority.issue(&subject, 1).unwrap();
            issued.write(&folder.path().join(role), authority.ca_pem()).unwrap();
        }
        Rig { folder, sets: watch::Sender::new(MemberSet::default()) }
    }

    fn identity(&self, role: &str) -> Identity {
        Identity::load(&self.folder.path().join(role)).unwrap()
    }

    /// A gateway on a runtime of its own, so that it can die with all its connections.
    async fn gateway(&self, name: &str, address: &str) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind(address).await.unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let answering = Answering { name: name.to_owned(), sets: self.sets.subscribe() };
        let server = Server::builder().add_service(GatewayServer::new(answering));
        let guard = runtime.enter();
        let incoming =
            self.identity("controller").incoming(TcpListener::from_std(listener).unwrap());
        drop(guard);
        runtime.spawn(server.serve_with_incoming(incoming));
        Running { address, _runtime: Some(runtime) }
    }

    fn link(&self, gateways: &[String]) -> (Gateways, Stop) {
        let stop = Stop::new();
        let config = Config {
            identity: self.identity("agent"),
            gateways: gateways.to_vec(),
            folder: self.folder.path().to_owned(),
        };
        let gateways = Gateways::start(config, &Tasks::new(stop.clone())).unwrap();
        (gateways, stop)
    }

    fn tell(&self, revision: u64, gateways: &[&str]) {
        self.tell_as("i1", revision, gateways);
    }

    fn tell_as(&self, incarnation: &str, revision: u64, gateways: &[&str]) {
        let member = |(number, gateway): (usize, &&str)| Member {
            name: format!("n{number}").parse().unwrap(),
            addresses: Addresses { gateway: Some((*gateway).to_owned()), ..Addresses::default() },
        };
        let json = |member| serde_json::to_string(&member).unwrap();
        let members_json = gateways.iter().enumerate().map(member).map(json).collect();
        let incarnation = incarnation.to_owned();
        self.sets.send_replace(MemberSet { incarnation, revision, members_json });
    }
}

/// Who answers on the channel that is good now.
async fn answering(gateways: &Gateways) -> Option<String> {
    let mut client = GatewayClient::new(gateways.best().channel);
    let asked = client.identify(IdentifyRequest::default());
    Some(timeout(Duration::from_secs(5), asked).await.ok()?.ok()?.into_inner().user)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

/// An address where connections are taken and nothing is ever said.
fn mute() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_gateway_that_answers_is_used_while_others_are_dead_or_mute() {
    let rig = Rig::new();
    let (_mute, mute) = mute();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alive = rig.gateway("alive", "127.0.0.1:0").await;
    let (gateways, _stop) = rig.link(&[mute, dead.to_string(), alive.address.to_string()]);
    until("a gateway to answer", async || gateways.check().is_ok()).await;
    assert_eq!(answering(&gateways).await.as_deref(), Some("alive"));
}

#[tokio::test]
async fn when_a_gateway_dies_another_takes_its_place_and_it_may_come_back() {
    let rig = Rig::new();
    let first = rig.gateway("first", "127.0.0.1:0").await;
    let first_address = first.address.to_string();
    let second = rig.gateway("second", "127.0.0.1:0").await;
    let (gateways, _stop) = rig.link(&[first_address.clone(), second.address.to_string()]);
    until("a gateway to answer", async || gateways.check().is_ok()).await;
    drop(first);
    until("the second", async || answering(&gateways).await.as_deref() == Some("second")).await;
    drop(second);
    until("nobody to answer", async || gateways.check().is_err()).await;
    let _again = rig.gateway("again", &first_address).await;
    until("the first again", async || answering(&gateways).await.as_deref() == Some("again")).await;
}

#[tokio::test]
async fn one_that_answers_and_cannot_help_comes_after_all_others() {
    let rig = Rig::new();
    let first = rig.gateway("first", "127.0.0.1:0").await;
    let second = rig.gateway("second", "127.0.0.1:0").await;
    let (gateways, _stop) = rig.link(&[first.address.to_string(), second.address.to_string()]);
    let mut seen = std::collections::BTreeSet::new();
    until("both to answer in turn", async || {
        seen.extend(answering(&gateways).await);
        gateways.pass_over(&gateways.best());
        seen.len() == 2
    })
    .await;
    for _ in 0..3 {
        let before = answering(&gateways).await;
        gateways.pass_over(&gateways.best());
        let after = answering(&gateways).await;
        assert!(before.is_some() && after.is_some() && before != after, "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn members_are_learnt_kept_and_left() {
    let rig = Rig::new();
    let seed = rig.gateway("seed", "127.0.0.1:0").await;
    let joined = rig.gateway("joined", "127.0.0.1:0").await;
    let joined_address = joined.address.to_string();
    // One member's address is none; the others are reached all the same.
    rig.tell(5, &["no address at all", &joined_address]);
    let (gateways, stop) = rig.link(&[seed.address.to_string()]);
    let mut members = gateways.members();
    let told = timeout(PATIENCE, members.wait_for(|members| members.revision == 5)).await;
    assert_eq!(told.unwrap().unwrap().nodes.len(), 2);
    drop(seed);
    until("the joined", async || answering(&gateways).await.as_deref() == Some("joined")).await;
    let kept = || std::fs::read_to_string(rig.folder.path().join("members.json"));
    until("the list on disk", async || kept().is_ok_and(|kept| kept.contains(&joined_address)))
        .await;
    stop.set();

    // Started anew with settings in which nobody answers, it still knows where to ask.
    let (_mute, mute) = mute();
    let (gateways, _stop) = rig.link(&[mute]);
    until("the joined", async || answering(&gateways).await.as_deref() == Some("joined")).await;
    let following = Arc::new(Mutex::new(Vec::new()));
    let with_each = tokio::spawn({
        let (gateways, following) = (gateways.clone(), following.clone());
        async move {
            let work = |(address, _)| {
                let place = Following::begin(following.clone(), address);
                async move {
                    let _place = place;
                    std::future::pending().await
                }
            };
            gateways.with_each(Stop::new(), work).await;
        }
    });
    let is_followed = |address: &String| following.lock().unwrap().contains(address);
    until("work for it", async || is_followed(&joined_address)).await;
    rig.tell(4, &[]);
    rig.tell(6, &[]);
    until("its work to end", async || !is_followed(&joined_address)).await;
    assert!(gateways.check().is_err(), "it is no gateway any more");
    with_each.abort();
}

#[tokio::test]
async fn a_controller_of_an_earlier_incarnation_is_not_used_and_says_why() {
    let rig = Rig::new();
    let gateway = rig.gateway("only", "127.0.0.1:0").await;
    let address = gateway.address.to_string();
    rig.tell_as("2.b", 5, &[&address]);
    let (gateways, _stop) = rig.link(std::slice::from_ref(&address));
    until("it to answer", async || gateways.check().is_ok()).await;
    // Its disk of before came back.
    rig.tell_as("1.a", 900, &[&address, "10.0.0.1:1"]);
    until("it to be refused", async || gateways.check().is_err()).await;
    let why = gateways.check().unwrap_err();
    assert!(why.contains("1.a") && why.contains("2.b") && why.contains("--wipe"), "{why}");
    assert_eq!(gateways.members().borrow().revision, 5);
    rig.tell_as("3.c", 1, &[&address]);
    until("it to answer again", async || gateways.check().is_ok()).await;
    assert_eq!(gateways.members().borrow().revision, 1);
}

/// An address in the list for as long as work is done for it.
struct Following(Arc<Mutex<Vec<String>>>, String);

impl Following {
    fn begin(list: Arc<Mutex<Vec<String>>>, address: String) -> Following {
        list.lock().unwrap().push(address.clone());
        Following(list, address)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.lock().unwrap().retain(|address| *address != self.1);
    }
}
