//! Certificates by name, and their change under open connections.

use model::incarnation::Incarnation;
use model::route::{RouteCertificate, RouteTable};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    client::{Client, SHOP, tls},
    rig::{Rig, app, eventually},
    unit::Unit,
};

fn certificate(host: &str) -> RouteCertificate {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    RouteCertificate {
        hosts: vec![host.parse().unwrap()],
        chain_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
    }
}

fn der(certificate: &RouteCertificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes()).unwrap().to_vec()
}

fn table(version: u64, unit: &Unit, certificates: Vec<RouteCertificate>) -> RouteTable {
    RouteTable {
        incarnation: Incarnation::default(),
        epoch: 0,
        version,
        apps: vec![app("shop", &[SHOP, "www.example.com"], &[unit.address])],
        certificates,
    }
}

#[tokio::test]
async fn the_certificate_follows_the_name_asked_for() {
    let rig = Rig::start().await;
    let unit = Unit::saying("secure").await;
    let (exact, wildcard) = (certificate("www.example.com"), certificate("*.example.com"));
    rig.apply(table(1, &unit, vec![wildcard.clone(), exact.clone()])).await;
    let https = rig.router.https;
    assert_eq!(tls(https, "www.example.com", "http/1.1").await.1, der(&exact));
    assert_eq!(tls(https, "api.example.com", "http/1.1").await.1, der(&wildcard));
    let (stream, platform) = tls(https, SHOP, "http/1.1").await;
    assert!(platform != der(&exact) && platform != der(&wildcard));
    assert_eq!(tls(https, "else.org", "http/1.1").await.1, platform);
    assert_eq!(Client::over(stream).await.get("/").await.unwrap().text, "secure");
}

#[tokio::test]
async fn a_changed_certificate_serves_new_connections_and_keeps_old_ones() {
    let rig = Rig::start().await;
    let unit = Unit::saying("secure").await;
    let (old, new) = (certificate("www.example.com"), certificate("www.example.com"));
    rig.apply(table(1, &unit, vec![old.clone()])).await;
    let (stream, shown) = tls(rig.router.https, "www.example.com", "http/1.1").await;
    assert_eq!(shown, der(&old));
    let mut client = Client::over(stream).await;
    client.get("/").await.unwrap();
    rig.apply(table(2, &unit, vec![new.clone()])).await;
    assert_eq!(tls(rig.router.https, "www.example.com", "http/1.1").await.1, der(&new));
    assert_eq!(client.get("/").await.unwrap().text, "secure", "the old connection goes on");
}

#[tokio::test]
async fn a_platform_certificate_put_in_place_is_taken_up() {
    let rig = Rig::start().await;
    let unit = Unit::saying("secure").await;
    rig.serve(&[unit.address]).await;
    let given = certificate("*.apps.localhost");
    let folder = rig.folder.path().join("router/platform");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("key.pem"), &given.key_pem).unwrap();
    std::fs::write(folder.join("chain.pem"), &given.chain_pem).unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while tls(rig.router.https, SHOP, "http/1.1").await.1 != der(&given) {
        assert!(tokio::time::Instant::now() < deadline, "the certificate was not taken up");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_holds_nobody_up() {
    let rig = Rig::start().await;
    let unit = Unit::saying("secure").await;
    rig.serve(&[unit.address]).await;
    let _silent = tokio::net::TcpStream::connect(rig.router.https).await.unwrap();
    let (stream, _) = tls(rig.router.https, SHOP, "http/1.1").await;
    assert_eq!(Client::over(stream).await.get("/").await.unwrap().text, "secure");
    // It does not hold up the end either.
    rig.router.stop.set();
    let ended = rig.router.ended.as_ref().unwrap();
    eventually("the end", std::time::Duration::from_secs(5), || ended.is_finished().then_some(()))
        .await;
}
