//! Mutual TLS over real sockets, with tonic's own server and channel and with bare rustls.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use http::{Request, Response};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    body::Body,
    client::Grpc,
    server::NamedService,
    transport::{Channel, Server},
};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A cluster's authority and the identities it issued, all in one folder that goes with it.
struct Cluster {
    folder: TempDir,
    authority: Authority,
    identities: AtomicU32,
}

impl Cluster {
    fn new() -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        Cluster { folder, authority, identities: AtomicU32::new(0) }
    }

    fn identity(&self, role: &str) -> Identity {
        self.load(self.authority.issue(&subject(role), 30).unwrap(), self.authority.ca_pem())
    }

    fn load(&self, issued: Issued, ca_pem: &str) -> Identity {
        let number = self.identities.fetch_add(1, Ordering::SeqCst);
        let dir = self.folder.path().join(format!("identity-{number}"));
        issued.write(&dir, ca_pem).unwrap();
        Identity::load(&dir).unwrap()
    }
}

fn subject(role: &str) -> Subject<'_> {
    Subject { role, node: "n1", dns: Vec::new(), ips: Vec::new() }
}

/// A gRPC service without generated code: says yes to agents, in the trailers-only form.
#[derive(Clone)]
struct AgentsOnly;

impl NamedService for AgentsOnly {
    const NAME: &'static str = "test.AgentsOnly";
}

impl tonic::codegen::Service<Request<Body>> for AgentsOnly {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let mut request = tonic::Request::new(());
        *request.extensions_mut() = parts.extensions;
        let allowed = peer(&request).and_then(|peer| {
            peer.require_role(&["agent"])?;
            Err::<(), _>(Status::already_exists(format!("hello {peer}")))
        });
        std::future::ready(Ok(allowed.unwrap_err().into_http()))
    }
}

/// Serves [`AgentsOnly`] with a controller's identity; the server ends with the test's runtime.
async fn serve(identity: &Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(AgentsOnly);
    tokio::spawn(server.serve_with_incoming(identity.incoming(listener)));
    address
}

/// Calls the service and returns the status it answered with.
async fn call(channel: Channel) -> Status {
    let mut client = Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Status::from_error(error.into());
    }
    let request = tonic::Request::new(());
    let path = http::uri::PathAndQuery::from_static("/test.AgentsOnly/Call");
    client
        .unary(request, path, NoMessage)
        .await
        .map(|_: tonic::Response<()>| ())
        .expect_err("the service never says ok")
}

async fn call_as(identity: &Identity, address: SocketAddr, server_role: &str) -> Status {
    call(channel(identity, &address.to_string(), server_role).unwrap()).await
}

/// Messages without content.
#[derive(Default)]
struct NoMessage;

impl tonic::codec::Codec for NoMessage {
    type Encode = ();
    type Decode = ();
    type Encoder = NoMessage;
    type Decoder = NoMessage;

    fn encoder(&mut self) -> NoMessage {
        NoMessage
    }

    fn decoder(&mut self) -> NoMessage {
        NoMessage
    }
}

impl tonic::codec::Encoder for NoMessage {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, _: (), _: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl tonic::codec::Decoder for NoMessage {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

/// The call failed in the TLS handshake, for the reason given.
fn assert_refused(status: &Status, reason: &str) {
    let mut causes = vec![status.to_string()];
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    assert!(causes.iter().any(|cause| cause.contains(reason)), "{causes:?}");
}

#[tokio::test]
async fn a_peer_with_the_role_is_let_in_and_known_by_name() {
    let cluster = Cluster::new();
    let address = serve(&cluster.identity("controller")).await;
    let status = call_as(&cluster.identity("agent"), address, "controller").await;
    assert_eq!((status.code(), status.message()), (Code::AlreadyExists, "hello agent on n1"));
}

#[tokio::test]
async fn a_peer_with_another_role_is_denied_by_the_handler() {
    let cluster = Cluster::new();
    let address = serve(&cluster.identity("controller")).await;
    let status = call_as(&cluster.identity("router"), address, "controller").await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "role `router` may not call this")
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_the_server() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let address = serve(&cluster.identity("controller")).await;
    // The stranger trusts the cluster, so that only the server can refuse.
    let issued = other.authority.issue(&subject("agent"), 30).unwrap();
    let stranger = other.load(issued, cluster.authority.ca_pem());
    assert_refused(
        &call_as(&stranger, address, "controller").await,
        "refuses our certificate: it is not of its cluster",
    );
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_by_the_client() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    // The false server trusts the cluster, so that only the client can refuse.
    let issued = other.authority.issue(&subject("controller"), 30).unwrap();
    let address = serve(&other.load(issued, cluster.authority.ca_pem())).await;
    assert_refused(
        &call_as(&cluster.identity("agent"), address, "controller").await,
        "is not of this cluster",
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let cluster = Cluster::new();
    let address = serve(&cluster.identity("controller")).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificates(cluster.authority.ca_pem()).unwrap().remove(0)).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = Identity::server_name("controller");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let refused = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.unwrap_err();
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
}

#[tokio::test]
async fn a_server_of_another_role_is_refused_by_the_client() {
    let cluster = Cluster::new();
    let address = serve(&cluster.identity("agent")).await;
    assert_refused(
        &call_as(&cluster.identity("agent"), address, "controller").await,
        "is of another part",
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let cluster = Cluster::new();
    let address = serve(&cluster.identity("controller")).await;
    let now = SystemTime::now();
    let issued =
        cluster.authority.issue_between(&subject("agent"), now - 2 * DAY, now - DAY).unwrap();
    let expired = cluster.load(issued, cluster.authority.ca_pem());
    assert_refused(
        &call_as(&expired, address, "controller").await,
        "refuses our certificate: it has expired",
    );
}

#[tokio::test]
async fn renewed_certificates_are_taken_up_and_open_connections_go_on() {
    let cluster = Cluster::new();
    let now = SystemTime::now();
    let issue = |role: &'static str, from, until| {
        cluster.authority.issue_between(&subject(role), from, until).unwrap()
    };
    let ca_pem = cluster.authority.ca_pem();
    let server = cluster.load(issue("controller", now - DAY, now + DAY), ca_pem);
    let client = cluster.load(issue("agent", now - DAY, now + DAY), ca_pem);
    let [server_dir, client_dir] =
        [0, 1].map(|number| cluster.folder.path().join(format!("identity-{number}")));
    let address = serve(&server).await;
    let open = channel(&client, &address.to_string(), "controller").unwrap();
    assert_eq!(call(open.clone()).await.code(), Code::AlreadyExists);

    // Both end: whoever connects now is refused, by the one and the other.
    issue("agent", now - 2 * DAY, now - DAY).write(&client_dir, ca_pem).unwrap();
    let refused = call_as(&client, address, "controller").await;
    assert_refused(&refused, "refuses our certificate: it has expired");
    issue("controller", now - 2 * DAY, now - DAY).write(&server_dir, ca_pem).unwrap();
    let refused = call_as(&client, address, "controller").await;
    assert_refused(&refused, "has expired; see `clusterctl certs` there");
    assert_eq!(call(open.clone()).await.code(), Code::AlreadyExists, "it was open before");

    // Renewed with new keys, the same programs speak to each other again.
    issue("controller", now - DAY, now + DAY).write(&server_dir, ca_pem).unwrap();
    issue("agent", now - DAY, now + DAY).write(&client_dir, ca_pem).unwrap();
    assert_eq!(call_as(&client, address, "controller").await.code(), Code::AlreadyExists);
    assert_eq!(call(open).await.code(), Code::AlreadyExists);

    // A key without its certificate is a renewal half done; one of another part is no renewal.
    let other = issue("agent", now - DAY, now + DAY);
    fs::write(client_dir.join(KEY_FILE), &other.key_pem).unwrap();
    assert_eq!(call_as(&client, address, "controller").await.code(), Code::AlreadyExists);
    issue("router", now - DAY, now + DAY).write(&client_dir, ca_pem).unwrap();
    let said = call_as(&client, address, "controller").await;
    assert_eq!(said.message(), "hello agent on n1");
}

#[test]
fn keys_are_private_and_an_open_key_is_refused() {
    let cluster = Cluster::new();
    let identity = cluster.identity("agent");
    assert_eq!(
        identity.own(),
        &Peer { role: "agent".into(), node: "n1".into(), admission: String::new() }
    );
    let (ca, dir) = (cluster.folder.path().join("ca"), cluster.folder.path().join("identity-0"));
    let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes = [&ca, &ca.join("ca.key"), &dir, &dir.join(KEY_FILE)].map(|path| mode_of(path));
    assert_eq!(modes, [0o700, 0o600, 0o700, 0o600]);

    fs::set_permissions(dir.join(KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Identity::load(&dir), Err(IdentityError::OpenToOthers { mode: 0o640, .. })));
    fs::set_permissions(ca.join("ca.key"), fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(Authority::open(&ca), Err(AuthorityError::Key(_))));
}

#[tokio::test]
async fn a_reopened_authority_signs_for_the_same_cluster_and_is_never_replaced() {
    let cluster = Cluster::new();
    let dir = cluster.folder.path().join("ca");
    assert!(matches!(Authority::create(&dir), Err(AuthorityError::Exists(_))));
    let reopened = Authority::open(&dir).unwrap();
    let address = serve(&cluster.identity("controller")).await;
    let agent = cluster.load(reopened.issue(&subject("agent"), 30).unwrap(), reopened.ca_pem());
    assert_eq!(call_as(&agent, address, "controller").await.code(), Code::AlreadyExists);
}

#[test]
fn names_that_could_deceive_are_not_certified() {
    let cluster = Cluster::new();
    let refused = |subject: &Subject<'_>| {
        matches!(cluster.authority.issue(subject, 1), Err(AuthorityError::Name { .. }))
    };
    assert!(refused(&subject("Agent")) && refused(&subject("agent/n2")) && refused(&subject("")));
    assert!(refused(&Subject { node: "n1/../n2", ..subject("agent") }));
    for dns in ["controller.trireme.internal", "trireme.internal", "a b"] {
        assert!(refused(&Subject { dns: vec![dns.to_owned()], ..subject("agent") }), "{dns}");
    }
    assert!(!refused(&Subject { dns: vec!["n1.example.org".to_owned()], ..subject("agent") }));
}

#[test]
fn a_server_certificate_proves_names_but_no_role() {
    let cluster = Cluster::new();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let issued = cluster
        .authority
        .issue_server(&names(&["apps.example", "*.apps.example"]), &[[127, 0, 0, 1].into()], 30)
        .unwrap();
    let certificate = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
    assert_eq!(Peer::from_certificate(&certificate), None);
    for refused in ["agent.trireme.internal", "*.trireme.internal", "*", "*.*.a", "A b"] {
        let result = cluster.authority.issue_server(&names(&[refused]), &[], 30);
        assert!(matches!(result, Err(AuthorityError::Name { .. })), "{refused}");
    }
}

#[test]
fn a_key_on_another_machine_gets_a_certificate_of_what_the_authority_decided() {
    let folder = tempfile::tempdir().unwrap();
    let made = Authority::create(&folder.path().join("ca")).unwrap();
    let authority = Authority::from_pem(made.ca_pem(), &made.key_pem()).unwrap();
    let request = KeyRequest::new().unwrap();
    let part = subject("agent");
    let wanted = Wanted::Part(&part, "0a1b2c");
    let cert_pem = authority.sign(&request.csr_pem, &wanted, 30).unwrap();
    let issued = Issued { cert_pem, key_pem: request.key_pem.clone() };
    issued.write(&folder.path().join("agent"), authority.ca_pem()).unwrap();
    let identity = Identity::load(&folder.path().join("agent")).unwrap();
    // That it was loaded shows that the files belong together: rustls compares key and certificate.
    assert_eq!(identity.own().admission, "0a1b2c");

    let again = KeyRequest::again(&request.key_pem).unwrap();
    assert!(authority.sign(&again.csr_pem, &wanted, 30).is_ok());
    let forged = request.csr_pem.replacen("MI", "MJ", 1);
    assert!(authority.sign(&forged, &wanted, 30).is_err(), "a request nobody signed");
}
