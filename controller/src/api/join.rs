//! How a machine becomes a node: an administrator makes a token, the machine asks with it, and is given its
//! certificates, the names of the controllers and, if it shall control too, its place in the store.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::name::NodeName;
use model::node::{Addresses, Duty, NodeSpec};
use model::snapshot::Versioned;
use model::standing::{Standing, standing};
use model::time::Time;
use proto::api::{JoinRequest, JoinSecret, Joined, JoinedControl, NewJoinToken, NodeAddresses};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Allowed;
use super::answer::{Answer, Body, Failure, rfc3339};
use crate::accounts::secret;
use crate::admission::{Admitted, Authorities, JoinToken, SignError, Used, sign_all};
use crate::membership;
use crate::records::{CommitError, Document, Write};

/// How long a token can be used when nothing else is asked for, and at most.
const USUAL_MINUTES: u32 = 60;
const MAX_MINUTES: u32 = 7 * 24 * 60;
const MINUTE_MS: u64 = 60_000;
/// A machine whose clock is further off would refuse the certificates, or hold ended ones for good.
const MAX_CLOCK_ERROR_MS: u64 = 60 * MINUTE_MS;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create_token)).routes(routes!(join))
}

/// Makes a token with which one machine can join.
#[utoipa::path(post, path = "/v1/cluster/tokens", request_body = NewJoinToken,
    responses((status = 201, body = JoinSecret)))]
async fn create_token(
    State(api): State<Api>,
    _: Allowed,
    Body(wanted): Body<NewJoinToken>,
) -> Answer<(StatusCode, Json<JoinSecret>)> {
    authorities(&api).await?;
    let minutes = wanted.minutes.unwrap_or(USUAL_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(Failure::invalid("a token to join lasts 1 minute to 7 days"));
    }
    let now = Time(api.clock.now_ms());
    let expires = now.plus_ms(u64::from(minutes) * MINUTE_MS);
    let secret = secret::new_secret();
    let (labels, control) = match &wanted.replaces {
        Some(node) => replaced(&api, node).await?,
        None => (BTreeMap::new(), true),
    };
    let token = JoinToken { secret_hash: secret::hash(&secret), expires, used: None, labels };
    // Old ones are kept for a day, so that they are called used or expired rather than wrong.
    let old = api.records.all::<JoinToken>().await?.into_iter();
    let old = old.filter(|old| now.since_ms(old.value.expires) > 24 * 60 * MINUTE_MS).take(20);
    let write =
        old.fold(Write::new().create(&token), |write, old| write.delete(&old.value, old.revision));
    api.records.commit(write).await?;
    Ok((StatusCode::CREATED, Json(JoinSecret { secret, expires: rfc3339(expires), control })))
}

/// The labels of a node that was removed, and whether it controlled.
async fn replaced(api: &Api, node: &str) -> Answer<(BTreeMap<String, String>, bool)> {
    let node: NodeName = node.parse()?;
    let known = api.records.get::<NodeSpec>(&format!("{}{node}", NodeSpec::PREFIX)).await?;
    let Some(Versioned { value: spec, .. }) = known else {
        let message = format!("the cluster never had a node `{node}`");
        return Err(Problem::new(Code::NotFound, message)
            .hint("`clusterctl nodes` lists those it has")
            .into());
    };
    if spec.is_member() {
        let message = format!("node `{node}` is still in the cluster");
        let hint = format!("`clusterctl nodes:replace {node}` takes it out first");
        return Err(Problem::new(Code::Exists, message).hint(hint).into());
    }
    Ok((spec.labels, spec.addresses.gateway.is_some()))
}

async fn authorities(api: &Api) -> Answer<Authorities> {
    let stored = api.records.get::<Authorities>(Authorities::PREFIX).await?;
    let stored = stored.ok_or_else(|| {
        Problem::new(Code::Unsupported, "this cluster keeps its memory on one machine alone").hint(
            "`clusterctl store:migrate --address ADDRESS` makes that one the first of several",
        )
    })?;
    Ok(stored.value)
}

/// What a machine asked for, understood.
struct Wish {
    node: NodeName,
    address: IpAddr,
    addresses: Addresses,
    store_peer: Option<String>,
    machine: String,
}

/// Takes a machine into the cluster.
#[utoipa::path(post, path = "/v1/cluster/join", request_body = JoinRequest,
    responses((status = 200, body = Joined)))]
async fn join(
    State(api): State<Api>,
    _: Allowed,
    Body(request): Body<JoinRequest>,
) -> Answer<Json<Joined>> {
    let token = usable_token(&api, &request).await?;
    let wish = understand(&api, &request)?;
    check_use(&token.value, &wish)?;
    let known = free_name(&api, &token.value, &wish).await?;
    let authorities = authorities(&api).await?;
    let admission = secret::new_id();
    let admitted = Admitted {
        domain: &api.platform.domain,
        node: &wish.node,
        address: wish.address,
        controls: wish.store_peer.is_some(),
        admission: &admission,
    };
    let signed = sign_all(&authorities, &api.seal, &admitted, &request.requests);
    let certificates = signed.map_err(|error| match error {
        SignError::Open(error) => Failure::internal("open an authority", &error),
        SignError::Unknown(_) | SignError::Request { .. } => Failure::invalid(error.to_string()),
    })?;

    let used = Some(Used { node: wish.node.clone(), machine: wish.machine.clone() });
    let spec = NodeSpec {
        name: wish.node.clone(),
        addresses: wish.addresses.clone(),
        labels: token.value.labels.clone(),
        duty: Duty::Open,
        joined: Time(api.clock.now_ms()),
        admission,
    };
    let write = Write::new().replace(&JoinToken { used, ..token.value }, token.revision);
    let write = match known {
        Some(known) => write.replace(&spec, known.revision),
        None => write.create(&spec),
    };
    match api.records.commit(write).await {
        Ok(_) => {}
        Err(CommitError::Conflict) => return Err(Failure::Conflict),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(node = %wish.node, "a machine joins");
    let control = match &wish.store_peer {
        Some(url) => Some(control(&api, &authorities, &wish.node, url).await?),
        None => None,
    };
    Ok(Json(Joined {
        domain: api.platform.domain.clone(),
        ca_pem: authorities.parts.ca_pem,
        certificates,
        gateways: gateways(&api).await?,
        control,
    }))
}

async fn usable_token(api: &Api, request: &JoinRequest) -> Answer<Versioned<JoinToken>> {
    let hint = "make another on a node of the cluster: `clusterctl token:create`";
    let refused = |message: &str| Problem::new(Code::Forbidden, message).hint(hint);
    let key = format!("{}{}", JoinToken::PREFIX, secret::hash(&request.secret));
    let token = api.records.get::<JoinToken>(&key).await?;
    let token = token.ok_or_else(|| refused("the token to join is not one of this cluster"))?;
    if token.value.expires <= Time(api.clock.now_ms()) {
        let ended = rfc3339(token.value.expires);
        return Err(refused(&format!("the token to join has expired at {ended}")).into());
    }
    Ok(token)
}

fn understand(api: &Api, request: &JoinRequest) -> Answer<Wish> {
    let now = api.clock.now_ms();
    if now.abs_diff(request.now_ms) > MAX_CLOCK_ERROR_MS {
        let message = format!(
            "the clocks differ too much: this machine says {}, the cluster {}",
            rfc3339(Time(request.now_ms)),
            rfc3339(Time(now))
        );
        return Err(Problem::new(Code::Invalid, message)
            .hint("set this machine's clock, best with an NTP service, and join again")
            .into());
    }
    let node: NodeName = request.node.parse()?;
    let address = request
        .address
        .parse()
        .map_err(|_| Failure::invalid(format!("`{}` is not an IP address", request.address)))?;
    let agent = request.requests.get("agent");
    let agent = agent.ok_or_else(|| Failure::invalid("there is no request for `agent`"))?;
    let NodeAddresses { agent: agent_address, logger, registry, gateway } =
        request.addresses.clone();
    Ok(Wish {
        node,
        address,
        addresses: Addresses { agent: agent_address, logger, registry, gateway },
        store_peer: request.store_peer.clone(),
        // The request is signed with a key that never leaves the machine.
        machine: secret::hash(agent),
    })
}

fn check_use(token: &JoinToken, wish: &Wish) -> Answer<()> {
    let Some(used) = &token.used else { return Ok(()) };
    if used.node == wish.node && used.machine == wish.machine {
        return Ok(());
    }
    let message = format!("the token to join was used already, by node `{}`", used.node);
    let hint = "each machine needs one of its own: `clusterctl token:create`";
    Err(Problem::new(Code::Forbidden, message).hint(hint).into())
}

/// The document of an earlier machine of the name, if the name is free for another.
async fn free_name(
    api: &Api,
    token: &JoinToken,
    wish: &Wish,
) -> Answer<Option<Versioned<NodeSpec>>> {
    let key = format!("{}{}", NodeSpec::PREFIX, wish.node);
    let known = api.records.get::<NodeSpec>(&key).await?;
    let is_again = token.used.is_some();
    match &known {
        Some(spec) if spec.value.is_member() && !is_again => {
            let view = api.view.borrow();
            let (state, hint) = match standing(&view.snapshot, &wish.node, view.as_of) {
                Standing::Here => ("", "choose another with --name".to_owned()),
                Standing::Suspect | Standing::Lost { .. } => (
                    ", which is silent",
                    format!(
                        "choose another with --name, or, if that machine is gone, first `clusterctl nodes:replace {}`",
                        wish.node
                    ),
                ),
            };
            let message = format!("the cluster has a node `{}`{state}", wish.node);
            Err(Problem::new(Code::Exists, message).hint(hint).into())
        }
        _ => Ok(known),
    }
}

async fn control(
    api: &Api,
    authorities: &Authorities,
    node: &NodeName,
    peer_url: &str,
) -> Answer<JoinedControl> {
    let members = api.members.as_ref().ok_or_else(|| {
        Problem::new(Code::Unsupported, "this controller has no etcd to add a member to")
            .hint("join with --no-control")
    })?;
    let listed = membership::admit(members, node.as_str(), peer_url).await;
    let store_members = listed.map_err(|error| {
        tracing::warn!(%node, %error, "the store takes no new member");
        Problem::new(Code::Busy, format!("the store takes no new member now: failed to {error}"))
            .hint(
                "see `clusterctl nodes` for a member that is down; then run the same command again",
            )
    })?;
    Ok(JoinedControl {
        seal_key: secret::hex(api.seal.key()),
        store_peer_ca_pem: authorities.store_peers.ca_pem.clone(),
        store_client_ca_pem: authorities.store_clients.ca_pem.clone(),
        store_members,
    })
}

async fn gateways(api: &Api) -> Answer<Vec<String>> {
    let specs = api.records.all::<NodeSpec>().await?.into_iter();
    let members = specs.filter(|spec| spec.value.is_member());
    Ok(members.filter_map(|spec| spec.value.addresses.gateway).collect())
}
