//! New certificates in time: made here where the authorities are, else signed by a controller, who sees by the present ones
//! who asks. Each part asks for its own.
//!
//! A new key waits beside the old one until its certificate is there, so that a cut at any moment leaves a pair that belongs
//! together or can be made one. Between the two files programs keep what they have; etcd fails a handshake, which its
//! caller tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use anyhow::{Context, bail};
use model::node::Member;
use proto::gateway::{RenewRequest, gateway_client::GatewayClient};
use serde::Deserialize;
use service::{
    Identity,
    durable::{PRIVATE, PUBLIC, read_json, write_atomically},
    identity::KeyRequest,
};

use super::{Held, held, signs_itself};
use crate::cluster::{
    certificate::is_key_of,
    choices::Choices,
    layout::Layout,
    provision::{self, Names, Which, saved_choices},
    several::Several,
};

/// How often it is looked whether one ends soon. A refusal is tried again as often.
const LOOK_PERIOD: Duration = Duration::from_secs(600);
/// How long a controller may take to sign.
const LIMIT: Duration = Duration::from_secs(10);

/// Renews what ends soon, for as long as the supervisor runs. `said` hears of it.
pub async fn keep_renewed(layout: Layout, said: fn(&str)) {
    loop {
        match renew_due(&layout).await {
            Ok(renewed) if renewed.is_empty() => {}
            Ok(renewed) => said(&format!("certificates renewed: {}", renewed.join(", "))),
            Err(error) => said(&format!("failed to renew certificates: {error:#}")),
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

async fn renew_due(layout: &Layout) -> anyhow::Result<Vec<String>> {
    let choices = saved_choices(layout).context("read the choices of this cluster")?;
    let choices = choices.context("find the choices of this cluster")?;
    renew(layout, &choices, Which::Due).await
}

/// Renews certificates of this node and gives their names.
pub async fn renew(
    layout: &Layout,
    choices: &Choices,
    which: Which,
) -> anyhow::Result<Vec<String>> {
    let all = held(layout, choices);
    all.iter().try_for_each(finish)?;
    let is_wanted = |held: &Held| which.takes(&held.path, &held.key(), Names::default());
    let wanted: Vec<Held> = all.into_iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    match &choices.several {
        Some(several) if !signs_itself(Some(several)) => ask(layout, several, &wanted).await?,
        _ => provision::certificates(layout, choices, which)?,
    }
    Ok(wanted.into_iter().map(|held| held.name).collect())
}

/// Asks the controllers, as each part for its own.
async fn ask(layout: &Layout, several: &Several, wanted: &[Held]) -> anyhow::Result<()> {
    let mut by_role: BTreeMap<&str, Vec<&Held>> = BTreeMap::new();
    for held in wanted {
        by_role.entry(role(&held.name)).or_default().push(held);
    }
    let gateways = gateways(layout, several);
    for (role, wanted) in by_role {
        let identity = Identity::load(&layout.identity(role)).context("prove who asks")?;
        let mut keys = BTreeMap::new();
        for held in &wanted {
            keys.insert(held.name.clone(), KeyRequest::new()?);
        }
        let signed = sign(&identity, &gateways, &keys).await;
        let signed = signed.with_context(|| format!("have certificates signed for {role}"))?;
        for held in wanted {
            let certificate = signed
                .get(&held.name)
                .with_context(|| format!("find the certificate `{}` in the answer", held.name))?;
            write_atomically(&held.next_key(), keys[&held.name].key_pem.as_bytes(), PRIVATE)?;
            write_atomically(&held.path, certificate.as_bytes(), PUBLIC)?;
            finish(held)?;
        }
    }
    Ok(())
}

/// Puts a waiting key in place when its certificate is there; one whose certificate never came is forgotten.
fn finish(held: &Held) -> anyhow::Result<()> {
    let next = held.next_key();
    let ended = match next.exists() {
        false => return Ok(()),
        true if is_key_of(&next, &held.path) => fs::rename(&next, held.key()),
        true => fs::remove_file(&next),
    };
    ended.with_context(|| format!("put the new key of `{}` in place", held.name))
}

/// Which part answers for a certificate.
fn role(name: &str) -> &str {
    match name {
        "platform" => "router",
        "api" | "store-peer" | "store-client" => "controller",
        part => part,
    }
}

async fn sign(
    identity: &Identity,
    gateways: &BTreeSet<String>,
    keys: &BTreeMap<String, KeyRequest>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let requests = keys.iter().map(|(name, key)| (name.clone(), key.csr_pem.clone()));
    let request = RenewRequest { requests: requests.collect() };
    let mut refusals = Vec::new();
    for gateway in gateways {
        let mut client = GatewayClient::new(service::channel(identity, gateway, "controller")?);
        match tokio::time::timeout(LIMIT, client.renew_certificates(request.clone())).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner().certificates.into_iter().collect()),
            Ok(Err(status)) => refusals.push(format!("{gateway}: {}", status.message())),
            Err(_) => refusals.push(format!("{gateway}: no answer within {LIMIT:?}")),
        }
    }
    bail!("{}", refusals.join("; "))
}

/// What the agent keeps of the cluster's nodes.
#[derive(Default, Deserialize)]
struct Members {
    nodes: Vec<Member>,
}

/// Those the node came in with, and those its agent was told of since.
fn gateways(layout: &Layout, several: &Several) -> BTreeSet<String> {
    let kept = read_json(&layout.program("agent").join("members.json"), 1).ok().flatten();
    let Members { nodes } = kept.unwrap_or_default();
    let told = nodes.into_iter().filter_map(|node| node.addresses.gateway);
    several.gateways.iter().cloned().chain(told).collect()
}

#[cfg(test)]
mod tests {
    use service::identity::{Authority, Subject};

    use super::*;

    #[test]
    fn a_renewal_cut_at_any_moment_leaves_a_pair_that_belongs_together() {
        service::install_crypto();
        let signer = tempfile::tempdir().unwrap();
        let authority = Authority::create(signer.path()).unwrap();
        let subject = Subject { role: "agent", node: "n1", dns: Vec::new(), ips: Vec::new() };
        let issue = || authority.issue(&subject, 30).unwrap();
        for is_certificate_there in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = (issue(), issue());
            old.write(folder.path(), authority.ca_pem()).unwrap();
            let held = Held::new("agent", folder.path().to_owned(), service::identity::CERT_FILE);
            fs::write(held.next_key(), &new.key_pem).unwrap();
            if is_certificate_there {
                fs::write(&held.path, &new.cert_pem).unwrap();
            }
            assert_eq!(is_key_of(&held.key(), &held.path), !is_certificate_there);
            finish(&held).unwrap();
            assert!(is_key_of(&held.key(), &held.path), "{is_certificate_there}");
            assert!(!held.next_key().exists());
        }
    }
}
