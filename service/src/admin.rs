//! The small HTTP server through which operators and supervisors look at a program: alive, able, version, metrics.

use std::{
    convert::Infallible,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{Metrics, Stop};

/// More connections than this wait; the endpoint serves supervisors and scrapers, not users.
const MAX_CONNECTIONS: usize = 32;
/// A client that sends no request for this long is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A failed accept (no file descriptors, say) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a program shows of itself. A cheap handle: parts register their checks and metrics on clones.
#[derive(Clone)]
pub struct Admin(Arc<Shared>);

struct Shared {
    program: &'static str,
    metrics: Metrics,
    checks: Mutex<Vec<(&'static str, Check)>>,
}

impl Admin {
    /// Nothing registered yet.
    pub fn new(program: &'static str) -> Admin {
        Admin(Arc::new(Shared { program, metrics: Metrics::new(), checks: Mutex::default() }))
    }

    /// The program's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Adds a condition of doing the job, shown under `name`. It must answer at once; what takes time is done
    /// elsewhere and its last result told here. The error is shown to whoever reads the endpoint: no secrets.
    pub fn check(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.checks().push((name, Box::new(check)));
    }

    /// Serves until `stop`. Bind the listener first, so that a taken port is an error at start.
    pub async fn serve(self, listener: TcpListener, stop: Stop) -> io::Result<()> {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                () = stop.wait() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (admin, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = stop.wait() => {}
                            () = admin.serve_connection(stream) => {}
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept on the admin endpoint failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_connection(&self, stream: TcpStream) {
        let service = service_fn(async |request: Request<Incoming>| {
            Ok::<_, Infallible>(self.answer(&request))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "admin connection ended");
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match request.uri().path() {
            "/__lbheartbeat__" => text(StatusCode::OK, "alive\n".to_owned()),
            "/__heartbeat__" => self.heartbeat(),
            "/__version__" => json(StatusCode::OK, &self.version()),
            "/metrics" => text(StatusCode::OK, self.0.metrics.text()),
            _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        }
    }

    fn heartbeat(&self) -> Response<Full<Bytes>> {
        let mut status = StatusCode::OK;
        let mut checks = serde_json::Map::new();
        for (name, check) in self.checks().iter() {
            let shown = match check() {
                Ok(()) => "ok".to_owned(),
                Err(error) => {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                    error
                }
            };
            checks.insert((*name).to_owned(), shown.into());
        }
        let summary = if status == StatusCode::OK { "ok" } else { "error" };
        json(status, &json!({ "status": summary, "checks": checks }))
    }

    fn version(&self) -> serde_json::Value {
        json!({ "program": self.0.program, "version": crate::VERSION })
    }

    fn checks(&self) -> MutexGuard<'_, Vec<(&'static str, Check)>> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Admin({})", self.0.program)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends one request over a real socket and returns the whole answer.
    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_endpoints_tell_the_state_over_a_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (admin, stop) = (Admin::new("router"), Stop::new());
        let controller_seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        admin.metrics().counter("requests_total", "Requests.").add(7);
        admin.check("disk", || Ok(()));
        admin.check("controller", {
            let seen = controller_seen.clone();
            move || match seen.load(std::sync::atomic::Ordering::SeqCst) {
                true => Ok(()),
                false => Err("not seen".to_owned()),
            }
        });
        let serving = tokio::spawn(admin.serve(listener, stop.clone()));

        assert!(get(address, "/__lbheartbeat__").await.starts_with("HTTP/1.1 200"));
        let unwell = get(address, "/__heartbeat__").await;
        assert!(unwell.starts_with("HTTP/1.1 503"), "{unwell}");
        assert!(
            unwell
                .ends_with(r#"{"checks":{"controller":"not seen","disk":"ok"},"status":"error"}"#),
            "{unwell}"
        );
        controller_seen.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(get(address, "/__heartbeat__").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/__version__").await.contains(r#""program":"router""#));
        assert!(get(address, "/metrics").await.contains("\nrequests_total 7\n"));
        assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));

        stop.set();
        serving.await.unwrap().unwrap();
    }
}
