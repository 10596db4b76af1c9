//! Certificates are renewed for whoever has some, each part its own.

use std::collections::{BTreeMap, HashMap};

use controller::admission::{Authorities, SealedAuthority};
use controller::records::Write;
use controller::seal::Seal;
use model::node::{Addresses, Duty, NodeSpec};
use model::time::Time;
use proto::gateway::RenewRequest;
use service::identity::KeyRequest;
use service::{Authority, Peer};
use tonic::{Code, Status};

use crate::cluster::{Cluster, Running};
use crate::parts::client;

fn spec(name: &str, duty: Duty) -> NodeSpec {
    let addresses = Addresses { agent: "10.0.0.2:7401".to_owned(), ..Addresses::default() };
    NodeSpec {
        name: name.parse().unwrap(),
        addresses,
        labels: BTreeMap::new(),
        duty,
        joined: Time(1),
        admission: String::new(),
    }
}

async fn renew(
    (cluster, running): (&Cluster, &Running),
    (role, node): (&str, &str),
    name: &str,
) -> Result<String, Status> {
    let mut client = client(cluster, &running.gateway, role, node);
    let csr = KeyRequest::new().unwrap().csr_pem;
    let request = RenewRequest { requests: HashMap::from([(name.to_owned(), csr)]) };
    let answer = client.renew_certificates(request).await?.into_inner();
    Ok(answer.certificates[name].clone())
}

#[tokio::test]
async fn each_part_of_a_node_renews_its_own_certificates_and_no_others() {
    let cluster = Cluster::new();
    let running = cluster.start().await;
    let both = (&cluster, &running);
    let nothing = renew(both, ("agent", "n1"), "agent").await.unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition, "{nothing:?}");

    let seal = Seal::new(&[7; 32]);
    let parts = Authority::open(&cluster.authority_folder()).unwrap();
    let sealed = || SealedAuthority::seal(&seal, &parts);
    let authorities =
        Authorities { parts: sealed(), store_peers: sealed(), store_clients: sealed() };
    let removed = spec("n3", Duty::Removed { at: Time(2) });
    let write = Write::new().create(&authorities);
    let write = write.create(&spec("n2", Duty::Open)).create(&removed);
    running.records.commit(write).await.unwrap();
    until_seen(both).await;

    let pem = renew(both, ("agent", "n2"), "agent").await.unwrap();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
    let peer = Peer::from_certificate(&certificate).unwrap();
    assert_eq!((peer.role.as_str(), peer.node.as_str()), ("agent", "n2"));
    assert!(renew(both, ("router", "n2"), "platform").await.is_ok());

    for (role, name) in [("agent", "controller"), ("agent", "platform"), ("router", "agent")] {
        let refused = renew(both, (role, "n2"), name).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role} asks for {name}: {refused:?}");
    }
    // A node without a controller has no such certificate, whoever claims it.
    let refused = renew(both, ("controller", "n2"), "controller").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let refused = renew(both, ("agent", "n3"), "agent").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("`n3` is not in the cluster"), "{refused:?}");
    running.stop().await;
}

/// Until the controller has seen who is a node.
async fn until_seen(both: (&Cluster, &Running)) {
    let is_seen = async {
        while renew(both, ("agent", "n2"), "agent").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, is_seen).await.unwrap();
}
