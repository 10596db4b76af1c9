//! Trust: the system's authorities and the cluster's own; and what to say when they are not enough.

use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::connection::Address;
use super::failure::Failure;

/// Where a cluster publishes its authority on its own machine.
const PUBLISHED_CA: &str = "/etc/trireme/ca.pem";

/// Whom we believe.
pub struct Trust {
    /// For connections.
    pub config: Arc<ClientConfig>,
    refused: Arc<Mutex<Option<String>>>,
}

/// Verifies as usual and remembers who signed what was refused.
#[derive(Debug)]
struct Remembering {
    inner: Arc<WebPkiServerVerifier>,
    refused: Arc<Mutex<Option<String>>>,
}

impl Trust {
    /// The system's authorities, and these.
    pub fn new(ca_pem: Option<&str>) -> Result<Trust, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let refused = Arc::new(Mutex::new(None));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::local("set up TLS", error))?;
        let roots = roots(ca_pem)?;
        let config = if roots.is_empty() {
            // Nothing is trusted, so every certificate is refused, as it should be.
            builder.with_root_certificates(roots).with_no_client_auth()
        } else {
            let inner = verifier(roots, provider)?;
            let verifier = Arc::new(Remembering { inner, refused: Arc::clone(&refused) });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        };
        Ok(Trust { config: Arc::new(config), refused })
    }

    /// Why a handshake failed, and the way out.
    pub fn explain(&self, address: &Address, error: &std::io::Error) -> Failure {
        let url = address.url();
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(Error::InvalidCertificate(reason)) = cause else {
            let message = format!("{url} does not speak TLS as expected: {error}");
            return Failure::unreachable(message)
                .hint("Is the port right? The API listens on 8000 unless set otherwise.");
        };
        match reason {
            CertificateError::UnknownIssuer => {
                let signer = self.refused.lock().ok().and_then(|signer| signer.clone());
                let signer = signer.map_or_else(|| "an authority".to_owned(), |name| format!("\"{name}\""));
                Failure::unreachable(format!("the certificate of {url} is signed by {signer}, which this machine does not know"))
                    .hint(way_to_the_ca(&url))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Failure::unreachable(format!("the certificate of {url} is not for the name {}", address.host))
                    .hint("Use the name it was made for: deis.DOMAIN, or localhost on the cluster's machine.")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Failure::unreachable(format!("the certificate of {url} has expired"))
                    .hint("Check this machine's clock; on the cluster's machine, `clusterctl up` renews it.")
            }
            reason => Failure::unreachable(format!("the certificate of {url} is refused: {reason}")),
        }
    }
}

fn way_to_the_ca(url: &str) -> String {
    format!(
        "Give the cluster's authority, which is {PUBLISHED_CA} on its machine: paasctl login {url} --ca-file FILE"
    )
}

fn roots(ca_pem: Option<&str>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca_pem.unwrap_or_default().as_bytes()) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| Failure::local("read the certificate authority", error))?;
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Failure::local("set up TLS", error))
}

/// Who signed a certificate: the common name of its issuer, or all of it.
fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let common_name = parsed.issuer().iter_common_name().next().and_then(|name| name.as_str().ok());
    Some(common_name.map_or_else(|| parsed.issuer().to_string(), str::to_owned))
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if verified.is_err()
            && let Ok(mut refused) = self.refused.lock()
        {
            *refused = issuer(intermediates.last().unwrap_or(end_entity));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
