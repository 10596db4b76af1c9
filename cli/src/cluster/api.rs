//! The cluster's API as `clusterctl` uses it: as the operator, of the controller beside it or, if that is silent, of another.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::problem::Problem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};
use service::identity::{CA_FILE, operator_token};

use super::{
    choices::Choices,
    layout::Layout,
    pinned::Pinned,
    wire::{self, Answer, HttpError},
};

/// Joining adds a member to etcd, which takes a while to allow it.
const LIMIT: Duration = Duration::from_secs(30);

/// The API behind any of several addresses.
pub struct Api {
    addresses: Vec<SocketAddr>,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

impl Api {
    /// Of the cluster this node is in, as its operator.
    pub fn of_operator(layout: &Layout, choices: &Choices) -> anyhow::Result<Api> {
        let several = choices.several.as_ref();
        if several.is_some_and(|several| !several.control) {
            bail!(
                "find the operator's key: it is on nodes with a controller only. Run this on one of them"
            );
        }
        let key = fs::read(layout.seal_key()).context("read the operator's key (run as root)")?;
        let ca = layout.identity("api").join(CA_FILE);
        let certificate = CertificateDer::from_pem_file(&ca)
            .with_context(|| format!("read `{}`", ca.display()))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).context("trust the cluster's authority")?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let own = if choices.bind.is_unspecified() { choices.inner(0).ip() } else { choices.bind };
        let mut addresses = vec![SocketAddr::new(own, choices.ports.api)];
        let gateways = several.into_iter().flat_map(|several| &several.gateways);
        let others = gateways.filter_map(|gateway| gateway.parse::<SocketAddr>().ok());
        addresses.extend(others.map(|other| SocketAddr::new(other.ip(), choices.ports.api)));
        addresses.dedup();
        Ok(Api { addresses, tls: Arc::new(config), token: Some(operator_token(&key)) })
    }

    /// Asks the controller of this node, and no other.
    pub fn here(mut self) -> Api {
        self.addresses.truncate(1);
        self
    }

    /// Of a cluster known by its authority's fingerprint, as nobody.
    pub fn pinned(addresses: &[SocketAddr], fingerprint: &str) -> Api {
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(fingerprint)))
            .with_no_client_auth();
        Api { addresses: addresses.to_vec(), tls: Arc::new(config), token: None }
    }

    /// Asks for a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        parsed(&self.ask(Method::GET, path, Vec::new()).await?)
    }

    /// Sends a document and gets one.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        parsed(&self.ask(method, path, serde_json::to_vec(body)?).await?)
    }

    /// Removes what is there.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.ask(Method::DELETE, path, Vec::new()).await.map(|_| ())
    }

    /// Asks for an answer that is read as it comes.
    pub async fn stream(&self, path: &str) -> anyhow::Result<Incoming> {
        let asked = async |address| {
            let asked = self.asked(Method::GET, path, &[]);
            wire::stream_over_tls(address, self.tls.clone(), asked, LIMIT).await
        };
        let answer = self.of_any(asked).await?;
        if !answer.status().is_success() {
            return Err(refusal(&wire::collected(answer).await?));
        }
        Ok(answer.into_body())
    }

    /// The last of a stream of server-sent events, when it has ended.
    pub async fn last_event<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.stream(path).await?.collect().await.context("read the events")?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data:"));
        let last = last.context("find an event in the answer")?;
        serde_json::from_str(last.trim()).context("understand an event")
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
        let asked = async |address| {
            let asked = self.asked(method.clone(), path, &body);
            wire::over_tls(address, self.tls.clone(), asked, LIMIT).await
        };
        let answer = self.of_any(asked).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(&answer)) }
    }

    fn asked<'a>(&'a self, method: Method, path: &'a str, body: &[u8]) -> wire::Asked<'a> {
        wire::Asked { method, path, token: self.token.as_deref(), body: body.to_vec() }
    }

    /// The answer of the first API that can be reached.
    async fn of_any<T>(
        &self,
        ask: impl AsyncFn(SocketAddr) -> Result<T, HttpError>,
    ) -> anyhow::Result<T> {
        let mut silent = None;
        for address in &self.addresses {
            match ask(*address).await {
                // Nothing was asked yet, so another may be.
                Err(error @ HttpError::Connect(_)) => {
                    silent = Some(
                        anyhow::Error::new(error).context(format!("ask the API at {address}")),
                    );
                }
                answer => return answer.with_context(|| format!("ask the API at {address}")),
            }
        }
        Err(silent.unwrap_or_else(|| anyhow::Error::msg("find an address of the API")))
    }
}

/// The caller says what failed; this says why, and what to do.
fn refusal(answer: &Answer) -> anyhow::Error {
    let text = match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { message, hint, .. }) if hint.is_empty() => message,
        Ok(Problem { message, hint, .. }) => format!("{message} ({hint})"),
        Err(_) => format!("the API answers {}", answer.status),
    };
    anyhow::Error::msg(text)
}

fn parsed<T: DeserializeOwned>(answer: &Answer) -> anyhow::Result<T> {
    let body: &[u8] = if answer.status == StatusCode::NO_CONTENT { b"null" } else { &answer.body };
    serde_json::from_slice(body).context("understand the API's answer")
}
