//! Certificates that are taken and certificates that are refused.

use super::*;

#[test]
fn text_that_is_no_certificate_is_refused_without_panic() {
    let now = Time(0);
    assert_eq!(read("", "", now), Err(CertificateError::NoCertificate));
    assert_eq!(
        read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", now),
        Err(CertificateError::Damaged)
    );
    assert_eq!(read(&"x".repeat(MAX_PEM_BYTES + 1), "", now), Err(CertificateError::TooLarge));
}
