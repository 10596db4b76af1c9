//! Mutual TLS to etcd, with certificates made by the `openssl` command.

use std::fs;
use std::path::Path;
use std::process::Command;

use store::{EtcdOptions, EtcdStore, EtcdTls, Store, Txn};
use tempfile::TempDir;

use crate::server::EtcdServer;

#[tokio::test]
async fn etcd_is_used_over_mutual_tls_and_strangers_are_refused() {
    let (folder, tls) = certificates();
    let (_other_folder, stranger) = certificates();
    let server = EtcdServer::start_with_tls(folder, tls.clone()).await;
    let store = server.connect("/store/").await;
    store.transact(Txn::new().put("a", "1")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");

    let wrong_client = EtcdTls { ca_pem: tls.ca_pem.clone(), ..stranger.clone() };
    let wrong_server = EtcdTls { ca_pem: stranger.ca_pem, ..tls };
    for tls in [wrong_client, wrong_server] {
        let endpoints = vec![server.endpoint()];
        let options = EtcdOptions { endpoints, tls: Some(tls), key_prefix: "/store/".into() };
        assert!(EtcdStore::connect(options).await.is_err());
    }
}

/// An authority and one certificate of it for both sides, as `ca.pem`, `leaf.pem` and `leaf.key`.
fn certificates() -> (TempDir, EtcdTls) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    openssl(
        at,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    openssl(
        at,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=member -keyout leaf.key -out leaf.csr",
    );
    openssl(
        at,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out leaf.pem",
    );
    let read = |name| fs::read(at.join(name)).unwrap();
    let tls = EtcdTls {
        ca_pem: read("ca.pem"),
        certificate_pem: read("leaf.pem"),
        key_pem: read("leaf.key"),
        server_name: None,
    };
    (folder, tls)
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("the command `openssl` of Debian's package openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
