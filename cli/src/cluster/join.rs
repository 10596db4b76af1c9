//! `clusterctl join`: makes this machine a node of a cluster that began elsewhere.
//!
//! Its keys are made here and never leave it; a controller signs what they may prove. Until the answer is kept, the keys
//! are, so that the same command may be run again after any cut.

use std::{collections::BTreeMap, fs, net::IpAddr, process::ExitCode};

use anyhow::{Context, bail};
use http::Method;
use proto::api::{JoinRequest, Joined, NodeAddresses};
use service::{
    durable::{PRIVATE, PUBLIC, create_private_dir, write_atomically, write_json},
    identity::{CA_FILE, CERT_FILE, KEY_FILE, KeyRequest},
};

use super::{
    api::Api,
    choices::{self, Choices, Wishes},
    etcd::{self, Side},
    join_token::JoinToken,
    layout::{ETCD, Layout},
    preflight::{self, Intent},
    provision::{host_name, saved_choices},
    several::Several,
    up,
};
use crate::output;

/// What was asked for.
pub struct Join {
    /// Where.
    pub layout: Layout,
    /// What is chosen.
    pub wishes: Wishes,
    /// The right to join.
    pub token: JoinToken,
    /// This machine's address.
    pub address: IpAddr,
    /// Whether it shall control too.
    pub control: bool,
}

/// Joins, or brings the node up again where it has joined already.
pub async fn join(join: Join) -> anyhow::Result<ExitCode> {
    let layout = &join.layout;
    let saved = saved_choices(layout).context("read the choices of this node")?;
    if let Some(saved) = &saved {
        if saved.several.as_ref().is_none_or(|several| several.began_here) {
            bail!(
                "join with `{}`: a cluster began there. Use another --data, or remove that cluster with `clusterctl down --wipe`",
                layout.data.display()
            );
        }
        output::line("This machine has joined already.");
    } else {
        let problems = ask(&join).await?;
        if !problems.is_empty() {
            return Ok(up::refuse(&problems));
        }
    }
    let wishes = Wishes::default();
    up::up(up::Up { layout: layout.clone(), wishes, demo: None }).await
}

/// Asks for a place and keeps the answer. Gives what is in the way here; then nothing was asked.
async fn ask(join: &Join) -> anyhow::Result<Vec<String>> {
    let layout = &join.layout;
    let wished = Choices::new(layout, &host_name()).with(&join.wishes);
    let base = wished.ports.base;
    let several = Several {
        control: join.control,
        began_here: false,
        ..Several::first("", join.address, &wished.node, base)
    };
    let choices = Choices { several: Some(several.clone()), ..wished };
    let programs = up::programs_folder()?;
    let intent = Intent {
        layout,
        choices: &choices,
        saved: None,
        programs: &programs,
        running: &[],
        demo: None,
    };
    let problems = preflight::problems(&intent).await;
    if !problems.is_empty() {
        return Ok(problems);
    }
    let keys = keys(layout, &choices)?;
    let request = JoinRequest {
        secret: join.token.secret.clone(),
        node: choices.node.clone(),
        address: join.address.to_string(),
        addresses: addresses(&choices, &several),
        store_peer: several.control.then(|| several.peer_url(base)),
        now_ms: u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default(),
        requests: keys.iter().map(|(name, key)| (name.clone(), key.csr_pem.clone())).collect(),
    };
    let api = Api::pinned(&join.token.apis, &join.token.fingerprint);
    let joined: Joined =
        api.send(Method::POST, "/v1/cluster/join", &request).await.context("join the cluster")?;
    keep(layout, &choices, several, &keys, &joined).context("keep what makes this a node")?;
    output::line(format_args!("This machine is node `{}` now.", choices.node));
    Ok(Vec::new())
}

fn addresses(choices: &Choices, several: &Several) -> NodeAddresses {
    let inner = |offset: u16| choices.inner(offset).to_string();
    NodeAddresses {
        agent: inner(1),
        logger: inner(2),
        registry: inner(3),
        gateway: several.control.then(|| inner(0)),
    }
}

/// A key for each certificate that is needed, the same ones as at an earlier try.
fn keys(layout: &Layout, choices: &Choices) -> anyhow::Result<BTreeMap<String, KeyRequest>> {
    create_private_dir(&layout.data)?;
    create_private_dir(&layout.joining())?;
    let programs = choices.programs();
    let parts = programs.iter().filter(|program| **program != ETCD);
    let mut names: Vec<String> = parts.map(|program| program.name.to_owned()).collect();
    names.push("platform".to_owned());
    if programs.contains(&ETCD) {
        names.extend(["api".to_owned(), Side::Peer.request(), Side::Client.request()]);
    }
    let mut keys = BTreeMap::new();
    for name in names {
        let path = layout.joining().join(format!("{name}.key"));
        let key = match fs::read_to_string(&path) {
            Ok(pem) => KeyRequest::again(&pem)?,
            Err(_) => KeyRequest::new()?,
        };
        write_atomically(&path, key.key_pem.as_bytes(), PRIVATE)?;
        keys.insert(name, key);
    }
    Ok(keys)
}

/// Writes the answer down; last the choices, which make this folder a node's.
fn keep(
    layout: &Layout,
    choices: &Choices,
    several: Several,
    keys: &BTreeMap<String, KeyRequest>,
    joined: &Joined,
) -> anyhow::Result<()> {
    let mut several = Several { gateways: joined.gateways.clone(), ..several };
    let mut folders = BTreeMap::from([("platform".to_owned(), layout.platform())]);
    let mut authorities: BTreeMap<String, &str> = BTreeMap::new();
    if let Some(control) = &joined.control {
        several.members.clone_from(&control.store_members);
        for (side, ca_pem) in
            [(Side::Peer, &control.store_peer_ca_pem), (Side::Client, &control.store_client_ca_pem)]
        {
            create_private_dir(&layout.program(ETCD.name))?;
            folders.insert(side.request(), side.folder(layout));
            authorities.insert(side.request(), ca_pem);
        }
        create_private_dir(&layout.program("controller"))?;
        write_atomically(&layout.seal_key(), &from_hex(&control.seal_key)?, PRIVATE)?;
        create_private_dir(&etcd::data(layout))?;
    }
    create_private_dir(&layout.program("router"))?;
    create_private_dir(&layout.data.join("identity"))?;
    for (name, key) in keys {
        let certificate = joined.certificates.get(name);
        let certificate =
            certificate.with_context(|| format!("find the certificate of `{name}`"))?;
        let folder = folders.get(name).cloned().unwrap_or_else(|| layout.identity(name));
        create_private_dir(&folder)?;
        let is_platform = name == "platform";
        if !is_platform {
            let ca_pem = authorities.get(name).copied().unwrap_or(&joined.ca_pem);
            write_atomically(&folder.join(CA_FILE), ca_pem.as_bytes(), PUBLIC)?;
        }
        let chain = if is_platform { "chain.pem" } else { CERT_FILE };
        write_atomically(&folder.join(KEY_FILE), key.key_pem.as_bytes(), PRIVATE)?;
        write_atomically(&folder.join(chain), certificate.as_bytes(), PUBLIC)?;
    }
    let choices =
        Choices { domain: joined.domain.clone(), several: Some(several), ..choices.clone() };
    write_json(&layout.choices(), choices::VERSION, &choices, PRIVATE)?;
    Ok(fs::remove_dir_all(layout.joining())?)
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.filter(|bytes| bytes.len() == 32).context("understand the sealing key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealing_key_is_whole_or_refused() {
        assert_eq!(from_hex(&"0a".repeat(32)).unwrap(), vec![10; 32]);
        for bad in [String::new(), "0a".repeat(31), "0".repeat(63), "zz".repeat(32)] {
            assert!(from_hex(&bad).is_err(), "{bad}");
        }
    }
}
