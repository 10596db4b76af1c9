//! As much of an OCI registry as an engine needs to push: blobs in chunks, manifests by tag. In memory.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, header},
    response::Response,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

#[derive(Default)]
struct Kept {
    blobs: HashMap<String, Bytes>,
    uploads: HashMap<String, Vec<u8>>,
    next: u64,
}

type Shared = Arc<Mutex<Kept>>;

/// A registry at an address of its own. All in one program keep their blobs together, so that the stack image is sent
/// but once.
pub async fn serve() -> SocketAddr {
    static KEPT: OnceLock<Shared> = OnceLock::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::disable())
        .with_state(KEPT.get_or_init(Shared::default).clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut kept = shared.lock().unwrap();
    let start = |status| Response::builder().status(status);
    if path == "/v2" {
        return start(StatusCode::OK).body(Body::empty()).unwrap();
    }
    let (repository, rest) = ["/blobs/", "/manifests/"]
        .iter()
        .find_map(|part| {
            path.split_once(part)
                .map(|(first, rest)| (first.to_owned(), format!("{}{rest}", &part[1..])))
        })
        .unwrap_or_default();
    match (parts.method, rest.split('/').collect::<Vec<_>>().as_slice()) {
        (Method::POST, ["blobs", "uploads", ..]) if query.starts_with("digest=") => {
            let digest = digest(&body);
            assert_eq!(query, format!("digest={digest}"));
            kept.blobs.insert(digest, body);
            start(StatusCode::CREATED).body(Body::empty()).unwrap()
        }
        (Method::POST, ["blobs", "uploads", ..]) => {
            kept.next += 1;
            let id = kept.next.to_string();
            kept.uploads.insert(id.clone(), Vec::new());
            start(StatusCode::ACCEPTED)
                .header(header::LOCATION, format!("{repository}/blobs/uploads/{id}"))
                .header("Docker-Upload-UUID", id)
                .header(header::RANGE, "0-0")
                .body(Body::empty())
                .unwrap()
        }
        (Method::PATCH, ["blobs", "uploads", id]) => {
            let upload = kept.uploads.get_mut(*id).unwrap();
            upload.extend_from_slice(&body);
            let range = format!("0-{}", upload.len().saturating_sub(1));
            start(StatusCode::ACCEPTED)
                .header(header::LOCATION, format!("{repository}/blobs/uploads/{id}"))
                .header(header::RANGE, range)
                .body(Body::empty())
                .unwrap()
        }
        (Method::PUT, ["blobs", "uploads", id]) => {
            let mut bytes = kept.uploads.remove(*id).unwrap();
            bytes.extend_from_slice(&body);
            let digest = digest(&bytes);
            assert!(query.replace("%3A", ":").contains(&digest), "{query}");
            kept.blobs.insert(digest.clone(), bytes.into());
            start(StatusCode::CREATED)
                .header(header::LOCATION, format!("{repository}/blobs/{digest}"))
                .header("Docker-Content-Digest", digest)
                .body(Body::empty())
                .unwrap()
        }
        (Method::PUT, ["manifests", _]) => {
            let digest = digest(&body);
            kept.blobs.insert(digest.clone(), body);
            start(StatusCode::CREATED)
                .header("Docker-Content-Digest", digest)
                .body(Body::empty())
                .unwrap()
        }
        (method @ (Method::HEAD | Method::GET), [_, digest]) => match kept.blobs.get(*digest) {
            Some(bytes) => start(StatusCode::OK)
                .header(header::CONTENT_LENGTH, bytes.len())
                .header("Docker-Content-Digest", *digest)
                .body(if method == Method::GET { Body::from(bytes.clone()) } else { Body::empty() })
                .unwrap(),
            None => start(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
        },
        _ => start(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
