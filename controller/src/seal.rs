//! Sealing of secrets before they reach the store.
//!
//! XChaCha20-Poly1305 with the cluster's key and a random nonce. The place a value belongs to (app
//! and name) is authenticated with it, so a sealed value moved elsewhere does not open.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use model::release::Sealed;
use rand::Rng;
use zeroize::Zeroizing;

/// Length of the nonce that stands before the sealed bytes.
const NONCE: usize = 24;

/// The cluster's sealing key.
pub struct Seal {
    cipher: XChaCha20Poly1305,
    key: Zeroizing<[u8; 32]>,
}

/// Why something could not be opened or the key not be read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file.
    #[error("read the sealing key `{path}`: it must hold 32 bytes")]
    Key {
        /// Where.
        path: String,
        /// Why, when it could not be read at all.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The value.
    #[error(
        "open the sealed value of `{place}`: it was sealed with another key or for another place"
    )]
    Open {
        /// Where it stands.
        place: String,
    },
}

impl Seal {
    /// With a key of 32 bytes.
    pub fn new(key: &[u8; 32]) -> Seal {
        Seal { cipher: XChaCha20Poly1305::new(&Key::from(*key)), key: Zeroizing::new(*key) }
    }

    /// With the key in a file.
    pub fn load(path: &Path) -> Result<Seal, SealError> {
        let failed = |source| SealError::Key { path: path.display().to_string(), source };
        let bytes = Zeroizing::new(fs::read(path).map_err(|error| failed(Some(error)))?);
        let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| failed(None))?;
        Ok(Seal::new(key))
    }

    /// The key itself, for another controller of the cluster.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Seals a value for a place such as `shop/GREETING`.
    pub fn seal(&self, place: &str, value: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: value, aad: place.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("values are far below the cipher's limit");
        Sealed(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens a value sealed for the same place.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let failed = || SealError::Open { place: place.to_owned() };
        let bytes = STANDARD.decode(&sealed.0).map_err(|_| failed())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or_else(failed)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| failed())
    }

    /// Opens a value that was text when it was sealed.
    pub fn open_text(&self, place: &str, sealed: &Sealed) -> Result<String, SealError> {
        let bytes = self.open(place, sealed)?;
        String::from_utf8(bytes).map_err(|_| SealError::Open { place: place.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_in_its_place_only() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("shop/KEY", "line\nüñ=\"".as_bytes());
        assert_eq!(seal.open_text("shop/KEY", &sealed).unwrap(), "line\nüñ=\"");
        assert!(seal.open("blog/KEY", &sealed).is_err());
        assert!(Seal::new(&[8; 32]).open("shop/KEY", &sealed).is_err());
        assert!(!format!("{sealed:?}").contains(&sealed.0));
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let seal = Seal::new(&[7; 32]);
        assert_ne!(seal.seal("a", b"x"), seal.seal("a", b"x"));
    }
}
