//! `clusterctl init`: begins a cluster of several nodes on this one, and prints how others join. And the making of tokens.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Context, bail};
use http::Method;
use proto::api::{JoinSecret, NewJoinToken, NodeDetail};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use service::identity::CA_FILE;

use super::{
    api::Api,
    choices::{Choices, Wishes},
    join_token::JoinToken,
    layout::Layout,
    pinned::fingerprint,
    provision::{host_name, saved_choices},
    several::Several,
    up::{self, data_flag},
};
use crate::output;

/// What was asked for.
pub struct Init {
    /// The cluster.
    pub layout: Layout,
    /// What is chosen.
    pub wishes: Wishes,
    /// This node's address.
    pub address: IpAddr,
    /// The cluster's name.
    pub cluster: String,
}

/// Begins a cluster here, or brings the one that began here up again, and prints a token.
pub async fn init(init: Init) -> anyhow::Result<ExitCode> {
    let layout = &init.layout;
    let saved = saved_choices(layout).context("read the choices of this cluster")?;
    if saved.as_ref().is_some_and(|saved| saved.several.is_none()) {
        bail!(
            "begin a cluster of several nodes in `{}`: it holds one of this machine alone. Use another --data",
            layout.data.display()
        );
    }
    let mut wishes = init.wishes;
    let choices = saved.unwrap_or_else(|| Choices::new(layout, &host_name())).with(&wishes);
    let first = || Several::first(&init.cluster, init.address, &choices.node, choices.ports.base);
    wishes.several = Some(choices.several.clone().unwrap_or_else(first));
    let code = up::up(up::Up { layout: layout.clone(), wishes, demo: None }).await?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    output::line("");
    create_token(layout, &NewJoinToken::default(), false).await
}

#[derive(Serialize)]
struct Made {
    token: String,
    expires: String,
}

/// Makes a token with which one machine can join, and says how.
pub async fn create_token(
    layout: &Layout,
    wanted: &NewJoinToken,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let choices = saved_choices(layout).context("read the choices of this cluster")?;
    let choices = choices.with_context(|| {
        format!("find a cluster in `{}`; `clusterctl init` begins one", layout.data.display())
    })?;
    let api = Api::of_operator(layout, &choices)?;
    let made: JoinSecret = api
        .send(Method::POST, "/v1/cluster/tokens", wanted)
        .await
        .context("make a token to join")?;
    let nodes: Vec<NodeDetail> = api.get("/v1/nodes").await.context("list the controllers")?;
    let token = JoinToken {
        secret: made.secret,
        fingerprint: own_fingerprint(layout)?,
        apis: apis(&choices, &nodes),
    };
    let flags = if made.control { "" } else { " --no-control" };
    let made = Made { token: token.to_string(), expires: made.expires };
    if json {
        output::json(&made)?;
        return Ok(ExitCode::SUCCESS);
    }
    let data = data_flag(layout);
    output::line("On the machine that shall join, with its own address:\n");
    output::line(format_args!(
        "  clusterctl join --address ADDRESS{flags} --token {}\n",
        made.token
    ));
    output::line(format_args!(
        "The token lets one machine in, until {}; `clusterctl token:create{data}` makes another.",
        made.expires
    ));
    Ok(ExitCode::SUCCESS)
}

fn own_fingerprint(layout: &Layout) -> anyhow::Result<String> {
    let ca = layout.identity("agent").join(CA_FILE);
    let certificate = CertificateDer::from_pem_file(&ca);
    Ok(fingerprint(&certificate.with_context(|| format!("read `{}`", ca.display()))?))
}

/// This node's API first, then those of the other controllers.
fn apis(choices: &Choices, nodes: &[NodeDetail]) -> Vec<SocketAddr> {
    let api = |ip: IpAddr| SocketAddr::new(ip, choices.ports.api);
    let mut apis = vec![api(choices.inner(0).ip())];
    let gateways = nodes.iter().filter_map(|node| node.addresses.gateway.as_deref());
    for gateway in gateways.filter_map(|gateway| gateway.parse::<SocketAddr>().ok()) {
        if !apis.contains(&api(gateway.ip())) {
            apis.push(api(gateway.ip()));
        }
    }
    apis
}
