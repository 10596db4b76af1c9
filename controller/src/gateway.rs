//! What all other parts call: orders out, reports in. Mutual TLS; each call names the role that may make it.

pub mod builds;
mod members;
pub mod nodes;
pub mod routers;
pub mod slice;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt};
use proto::gateway as wire;
use proto::gateway::gateway_server::{Gateway as GatewayRpc, GatewayServer};
use service::{Peer, Stop};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::admission::{RenewError, SignError};
use crate::gateway::builds::Builds;
use crate::gateway::nodes::Nodes;
use crate::gateway::routers::Routers;
use crate::leader::Leader;
use crate::{Context, admission};

/// A report of many failing units with their last lines.
const MAX_REPORT_BYTES: usize = 16 * 1024 * 1024;
/// A silent caller is pinged after this long, and given as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long calls may take to end after a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls, by who makes them.
pub struct Gateway {
    /// Agents.
    pub nodes: Nodes,
    /// Routers.
    pub routers: Routers,
    /// Builders.
    pub builds: Builds,
    /// What all doors share.
    pub context: Context,
    /// Our place in the lead.
    pub leader: Leader,
    /// Ends streams.
    pub stop: Stop,
}

impl Gateway {
    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let incoming = self.context.identity.incoming(listener);
        let service =
            GatewayServer::from_arc(Arc::new(self)).max_decoding_message_size(MAX_REPORT_BYTES);
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop.wait());
        let given_up = async {
            stop.wait().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = served => served.context("serve the gateway"),
            () = given_up => Ok(()),
        }
    }

    /// The caller, whose node must be in the cluster.
    fn member<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let peer = service::peer(request)?;
        let view = self.nodes.view.borrow();
        if admission::is_admitted(&view.snapshot.specs, &peer) {
            return Ok(peer);
        }
        Err(Status::permission_denied(format!(
            "node `{}` is not in the cluster any more: `clusterctl down --wipe` on it, then join it anew",
            peer.node
        )))
    }

    /// The caller, who must have this role.
    fn caller<T>(&self, request: &Request<T>, role: &str) -> Result<Peer, Status> {
        let peer = self.member(request)?;
        peer.require_role(&[role])?;
        Ok(peer)
    }

    /// The caller, who must have this role and be on the node it speaks for.
    fn caller_on<T>(&self, request: &Request<T>, role: &str, node: &str) -> Result<(), Status> {
        let peer = self.caller(request, role)?;
        if peer.node == node {
            return Ok(());
        }
        Err(Status::permission_denied(format!("{peer} may not speak for node `{node}`")))
    }

    fn answer(&self) -> wire::ReportAnswer {
        wire::ReportAnswer { leads: self.leader.is_leading() }
    }

    /// A stream that ends with the program.
    fn answers<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Response<Answers<T>> {
        let stop = self.stop.clone();
        Response::new(stream.take_until(async move { stop.wait().await }).boxed())
    }
}

fn refusal(error: &RenewError) -> Status {
    match error {
        RenewError::NotItsOwn { .. } => Status::permission_denied(error.to_string()),
        RenewError::Elsewhere(_) => Status::failed_precondition(error.to_string()),
        RenewError::Sign(SignError::Open(_)) => {
            tracing::error!(%error, "no certificate can be signed");
            Status::internal(error.to_string())
        }
        RenewError::Sign(_) => Status::invalid_argument(error.to_string()),
        RenewError::Read(_) => Status::unavailable(error.to_string()),
    }
}

/// What a caller sent that is not the document it should be.
fn malformed(what: &str, error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{what}: {error}"))
}

#[tonic::async_trait]
impl GatewayRpc for Gateway {
    async fn members(
        &self,
        request: Request<wire::MembersRequest>,
    ) -> Result<Response<Answers<wire::MemberSet>>, Status> {
        self.member(&request)?;
        let incarnation = self.nodes.incarnation.to_string();
        Ok(self.answers(members::members(self.nodes.view.clone(), incarnation)))
    }

    async fn assignments(
        &self,
        request: Request<wire::AssignmentsRequest>,
    ) -> Result<Response<Answers<wire::AssignmentSet>>, Status> {
        self.caller_on(&request, "agent", &request.get_ref().node)?;
        let node = request.into_inner().node;
        let node = node.parse().map_err(|error| malformed("node", error))?;
        Ok(self.answers(self.nodes.assignments(node)))
    }

    async fn report_node(
        &self,
        request: Request<wire::NodeReport>,
    ) -> Result<Response<wire::ReportAnswer>, Status> {
        let peer = self.caller(&request, "agent")?;
        self.nodes.report(&peer, request.get_ref())?;
        Ok(Response::new(self.answer()))
    }

    async fn routes(
        &self,
        request: Request<wire::RoutesRequest>,
    ) -> Result<Response<Answers<wire::RouteTable>>, Status> {
        self.caller_on(&request, "router", &request.get_ref().node)?;
        let node = request.into_inner().node;
        let node = node.parse().map_err(|error| malformed("node", error))?;
        Ok(self.answers(self.routers.tables(node)))
    }

    async fn report_router(
        &self,
        request: Request<wire::RouterReport>,
    ) -> Result<Response<wire::ReportAnswer>, Status> {
        self.caller_on(&request, "router", &request.get_ref().node)?;
        self.routers.report(request.get_ref())?;
        Ok(Response::new(self.answer()))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyAnswer>, Status> {
        self.caller(&request, "builder")?;
        self.builds.identify(request.into_inner()).await.map(Response::new)
    }

    async fn authorize(
        &self,
        request: Request<wire::AuthorizeRequest>,
    ) -> Result<Response<wire::AuthorizeAnswer>, Status> {
        self.caller(&request, "builder")?;
        self.builds.authorize(request.into_inner()).await.map(Response::new)
    }

    async fn begin_build(
        &self,
        request: Request<wire::BeginBuildRequest>,
    ) -> Result<Response<wire::BeginBuildAnswer>, Status> {
        self.caller(&request, "builder")?;
        self.builds.begin_build(request.into_inner()).await.map(Response::new)
    }

    async fn keep_build(
        &self,
        request: Request<wire::BuildRef>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.caller(&request, "builder")?;
        self.builds.keep_build(request.into_inner()).await.map(Response::new)
    }

    async fn abandon_build(
        &self,
        request: Request<wire::BuildRef>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.caller(&request, "builder")?;
        self.builds.abandon_build(request.into_inner()).await.map(Response::new)
    }

    async fn finish_build(
        &self,
        request: Request<wire::FinishBuildRequest>,
    ) -> Result<Response<Answers<wire::DeployEvent>>, Status> {
        self.caller(&request, "builder")?;
        let events = self.builds.finish_build(request.into_inner()).await?;
        Ok(self.answers(events))
    }

    async fn keep_history(
        &self,
        request: Request<wire::KeepHistoryRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.caller(&request, "builder")?;
        Ok(Response::new(self.builds.keep_history(request.into_inner()).await?))
    }

    async fn renew_certificates(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewAnswer>, Status> {
        let peer = self.member(&request)?;
        let requests = request.into_inner().requests.into_iter().collect();
        match admission::renew(&self.context, &peer, &requests).await {
            Ok(signed) => {
                Ok(Response::new(wire::RenewAnswer { certificates: signed.into_iter().collect() }))
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}
