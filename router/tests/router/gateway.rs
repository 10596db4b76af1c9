//! A gateway that sends the tables it is given and remembers what it is told.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use model::route::{RouteTable, RouterStatus};
use proto::gateway::{
    self as wire,
    gateway_server::{Gateway, GatewayServer},
};
use service::{Identity, Stop};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, transport::Server};

/// The handle a test holds. Dropping it ends the gateway.
pub struct FakeGateway {
    pub address: SocketAddr,
    pub tables: watch::Sender<Option<RouteTable>>,
    reports: Arc<Mutex<Vec<RouterStatus>>>,
    stop: Stop,
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl FakeGateway {
    pub async fn start(identity: &Identity) -> FakeGateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = identity.incoming(listener);
        let (tables, reports, stop) = (watch::Sender::new(None), Arc::default(), Stop::new());
        let service = Service { tables: tables.subscribe(), reports: Arc::clone(&reports) };
        let server = Server::builder().add_service(GatewayServer::new(service));
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = server.serve_with_incoming(incoming) => served.unwrap(),
                () = stopped.wait() => {}
            }
        });
        FakeGateway { address, tables, reports, stop }
    }

    pub fn last_report(&self) -> Option<RouterStatus> {
        self.reports.lock().unwrap().last().cloned()
    }

    /// Waits for a report that fits.
    pub async fn report(&self, fits: impl Fn(&RouterStatus) -> bool) -> RouterStatus {
        super::rig::eventually("a fitting report", Duration::from_secs(10), || {
            self.last_report().filter(|report| fits(report))
        })
        .await
    }
}

struct Service {
    tables: watch::Receiver<Option<RouteTable>>,
    reports: Arc<Mutex<Vec<RouterStatus>>>,
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Gateway for Service {
    async fn routes(
        &self,
        request: Request<wire::RoutesRequest>,
    ) -> Result<Response<Boxed<wire::RouteTable>>, Status> {
        service::peer(&request)?.require_role(&["router"])?;
        let tables = WatchStream::new(self.tables.clone());
        let json = |table| wire::RouteTable { table_json: serde_json::to_string(&table).unwrap() };
        let sent = tables.filter_map(move |table| std::future::ready(table.map(json).map(Ok)));
        Ok(Response::new(Box::pin(sent)))
    }

    async fn report_router(
        &self,
        request: Request<wire::RouterReport>,
    ) -> Result<Response<wire::ReportAnswer>, Status> {
        service::peer(&request)?.require_role(&["router"])?;
        let report = request.into_inner();
        assert_eq!(report.node, "n1");
        self.reports.lock().unwrap().push(serde_json::from_str(&report.status_json).unwrap());
        Ok(Response::new(wire::ReportAnswer { leads: false }))
    }
}
