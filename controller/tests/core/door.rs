//! Who gets in, and what the other doors say.

use proto::gateway::{AssignmentsRequest, IdentifyRequest, RouterReport, RoutesRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::cluster::{Cluster, Running, eventually};
use crate::parts::{Agent, client, report};

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_for_one_role() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let door = &controller.gateway;
    for stranger in ["router", "builder", "logger", "registry-proxy", "controller"] {
        let mut client = client(&cluster, door, stranger, "n1");
        let orders = client.assignments(AssignmentsRequest { node: "n1".into() }).await;
        assert_eq!(orders.unwrap_err().code(), Code::PermissionDenied, "{stranger}");
        let told = client.report_node(report("n1", &[], model::unit::Phase::Ready)).await;
        assert_eq!(told.unwrap_err().code(), Code::PermissionDenied, "{stranger}");
    }
    for stranger in ["agent", "builder", "logger"] {
        let mut client = client(&cluster, door, stranger, "n1");
        let routes = client.routes(RoutesRequest { node: "n1".into() }).await;
        assert_eq!(routes.unwrap_err().code(), Code::PermissionDenied, "{stranger}");
        let told =
            client.report_router(RouterReport { node: "n1".into(), status_json: "{}".into() });
        assert_eq!(told.await.unwrap_err().code(), Code::PermissionDenied, "{stranger}");
    }
    for stranger in ["agent", "router"] {
        let asked = client(&cluster, door, stranger, "n1")
            .identify(IdentifyRequest { fingerprint: "x".into() })
            .await;
        assert_eq!(asked.unwrap_err().code(), Code::PermissionDenied, "{stranger}");
    }
    let asked = client(&cluster, door, "builder", "n1")
        .identify(IdentifyRequest { fingerprint: "x".into() })
        .await;
    assert_eq!(asked.unwrap().into_inner().user, "");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another_node() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let mut agent = client(&cluster, &controller.gateway, "agent", "n2");
    let orders = agent.assignments(AssignmentsRequest { node: "n1".into() }).await;
    assert_eq!(orders.unwrap_err().code(), Code::PermissionDenied);
    let told = agent.report_node(report("n1", &[], model::unit::Phase::Ready)).await;
    assert_eq!(told.unwrap_err().code(), Code::PermissionDenied);
    let mut router = client(&cluster, &controller.gateway, "router", "n2");
    let routes = router.routes(RoutesRequest { node: "n1".into() }).await;
    assert_eq!(routes.unwrap_err().code(), Code::PermissionDenied);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_to_the_cluster_is_not_heard_at_all() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let controller = cluster.start().await;
    let mut stranger = client(&other, &controller.gateway, "agent", "n1");
    let told = stranger.report_node(report("n1", &[], model::unit::Phase::Ready)).await;
    assert!(told.is_err());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_endpoint_says_that_the_job_is_done() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let _agent = Agent::start(&cluster, &controller.gateway, "n1");
    eventually("a healthy answer", async || {
        let answer = heartbeat(&controller).await;
        answer.contains(r#"{"checks":{"planner":"ok","store":"ok"},"status":"ok"}"#).then_some(())
    })
    .await;
    controller.stop().await;
}

async fn heartbeat(controller: &Running) -> String {
    let mut stream = tokio::net::TcpStream::connect(&controller.admin).await.unwrap();
    let request = "GET /__heartbeat__ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_over_tls_that_the_cluster_vouches_for() {
    let cluster = Cluster::new();
    let controller = cluster.start().await;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls_pki_types::pem::PemObject::from_pem_slice(cluster.ca_pem().as_bytes());
    roots.add(ca.unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tcp = tokio::net::TcpStream::connect(&controller.api).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("deis.apps.localhost").unwrap();
    let mut stream = connector.connect(name, tcp).await.unwrap();
    let request = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without a TLS farewell has answered all the same.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    controller.stop().await;
}
