//! Trust in a server whose authority is known by its fingerprint only: the server shows the authority's certificate, and
//! if that is the one, its own is verified against it as usual.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

/// The fingerprint of an authority: SHA-256 of its certificate, hex.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Verifies servers of the authority with a fingerprint.
#[derive(Debug)]
pub struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Of this authority.
    pub fn new(fingerprint: &str) -> Pinned {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Pinned { fingerprint: fingerprint.to_owned(), provider: Arc::new(provider) }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|shown| fingerprint(shown) == self.fingerprint);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = self.provider.clone();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;
    use service::Authority;

    use super::*;

    fn der(pem: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
    }

    #[test]
    fn only_the_authority_of_the_fingerprint_is_trusted_and_only_for_its_names() {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ours")).unwrap();
        let stranger = Authority::create(&folder.path().join("theirs")).unwrap();
        let [ours, theirs] = [&authority, &stranger].map(|it| der(it.ca_pem()).remove(0));
        let issued = authority.issue_server(&[], &["10.0.0.1".parse().unwrap()], 1).unwrap();
        let leaf = der(&issued.cert_pem).remove(0);
        let verify = |known: &CertificateDer<'_>, shown: &CertificateDer<'_>, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let pinned = Pinned::new(&fingerprint(known));
            let shown = [shown.clone().into_owned()];
            pinned.verify_server_cert(&leaf, &shown, &name, &[], UnixTime::now()).is_ok()
        };
        assert!(verify(&ours, &ours, "10.0.0.1"));
        assert!(!verify(&ours, &ours, "10.0.0.2"), "another server");
        assert!(!verify(&ours, &theirs, "10.0.0.1"), "the authority is not shown");
        assert!(!verify(&theirs, &theirs, "10.0.0.1"), "the server is not of the authority");
    }
}
