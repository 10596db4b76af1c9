//! A request from its head to its answer: checked, sent to a unit, and the answer passed back.

mod exchange;
mod tunnel;

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use service::{Clock, Stop};
use tokio_util::task::TaskTracker;

use crate::{
    answer::{self, Refusal},
    body::{Activity, Exchange, RequestBody, ResponseBody, UnitBody},
    config::{Network, Timeouts},
    fleet::Fleet,
    forward::{self, Origin},
    host,
    numbers::Numbers,
};
use exchange::{Answer, Sent};
use tunnel::Tunnel;

/// What every request needs.
#[derive(Debug)]
pub struct Proxy {
    /// Routes and units.
    pub fleet: Fleet,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Proxies in front whose headers are believed.
    pub trusted: Vec<Network>,
    /// Counters.
    pub numbers: Numbers,
    /// Time.
    pub clock: Clock,
    /// Upgraded connections live here after their request.
    pub tracker: TaskTracker,
    /// Ends upgraded connections.
    pub stop: Stop,
}

/// A protocol change a client asked for.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Proxy {
    /// Answers one request.
    pub async fn answer(
        &self,
        origin: &Origin,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let id = forward::request_id(request.headers(), rand::random());
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().clone()));
        let accept = request.headers().get(header::ACCEPT).cloned();
        let response = match self.pass_on(origin, request, &id).await {
            Ok(response) => response,
            Err(refusal) => answer::refuse(refusal, accept.as_ref(), &id),
        };
        self.numbers.answered(response.status());
        if let Some((method, uri)) = asked {
            tracing::debug!(%method, %uri, status = response.status().as_u16(), client = %origin.client, request_id = ?id, "answered");
        }
        response
    }

    async fn pass_on(
        &self,
        origin: &Origin,
        mut request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let authority = forward::authority(&request).map_err(Refusal::Unfit)?;
        let upgrade = forward::upgrade(&request)
            .map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let (mut head, body) = request.into_parts();
        forward::to_unit(&mut head, &authority, id, origin, &self.trusted);
        if let Some(upgrade) = &upgrade {
            forward::set_upgrade(&mut head.headers, upgrade.protocol.clone());
        }
        let activity = Activity::new(self.clock.clone());
        let sent = Sent {
            request: Request::from_parts(head, self.watched(body, &activity)),
            activity,
            needs_fresh: upgrade.is_some(),
        };
        let answer = self.exchange(&host::normal(&authority), sent).await?;
        self.pass_back(answer, upgrade, id)
    }

    fn watched(&self, inner: Incoming, activity: &Arc<Activity>) -> RequestBody {
        use http_body::Body;
        if inner.is_end_stream() {
            activity.complete();
            return RequestBody::Empty;
        }
        RequestBody::Client { inner, activity: activity.clone() }
    }

    fn pass_back(
        &self,
        answer: Answer,
        upgrade: Option<Upgrade>,
        id: &HeaderValue,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Answer { mut response, claim, connection } = answer;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let is_kept = forward::is_kept(&response);
            forward::to_client(response.headers_mut(), id.clone());
            let exchange = Exchange { claim, connection, is_kept, clock: self.clock.clone() };
            return Ok(response.map(|body| {
                ResponseBody::Unit(UnitBody::new(body, exchange, self.timeouts.idle))
            }));
        }
        // A change nobody asked for is no answer.
        let Some(upgrade) = upgrade else { return Err(Refusal::Broken) };
        let protocol = response.headers().get(header::UPGRADE).cloned().unwrap_or(upgrade.protocol);
        forward::to_client(response.headers_mut(), id.clone());
        forward::set_upgrade(response.headers_mut(), protocol);
        let tunnel = Tunnel {
            client: upgrade.client,
            unit: hyper::upgrade::on(&mut response),
            activity: Activity::new(self.clock.clone()),
            idle: self.timeouts.tunnel_idle,
        };
        let (stop, tunnels) = (self.stop.clone(), self.numbers.tunnels.clone());
        self.tracker.spawn(async move {
            tunnels.add(1);
            tunnel.run(&stop).await;
            tunnels.add(-1);
            // Counted as in flight to the end.
            drop(claim);
        });
        Ok(response.map(|_| ResponseBody::Own(Default::default())))
    }
}
