//! The key by which clients know this builder: made once, kept for ever. All builders of a cluster are given the same seed for it.

use std::path::Path;

use anyhow::Context;
use russh::keys::{
    Algorithm, PrivateKey,
    ssh_key::{LineEnding, private::Ed25519Keypair},
};
use service::durable::{self, PRIVATE};

const FILE: &str = "ssh_host_ed25519_key";
/// 32 bytes; without them the key is a random one.
const SEED_FILE: &str = "host_key.seed";

/// Reads the host key, or makes it at the first start.
pub fn host_key(folder: &Path) -> anyhow::Result<PrivateKey> {
    let path = folder.join(FILE);
    if path.exists() {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        return PrivateKey::from_openssh(&text)
            .with_context(|| format!("parse `{}`", path.display()));
    }
    let seed = folder.join(SEED_FILE);
    let key = if seed.exists() {
        let bytes = std::fs::read(&seed).with_context(|| format!("read `{}`", seed.display()))?;
        let bytes = bytes.as_slice().try_into();
        let bytes = bytes.with_context(|| format!("find 32 bytes in `{}`", seed.display()))?;
        PrivateKey::from(Ed25519Keypair::from_seed(bytes))
    } else {
        PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .context("make a key")?
    };
    let text = key.to_openssh(LineEnding::LF).context("write the key as text")?;
    durable::write_atomically(&path, text.as_bytes(), PRIVATE)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_host_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = host_key(folder.path()).unwrap();
        let second = host_key(folder.path()).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn builders_with_one_seed_have_one_key() {
        let of = |seed: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(SEED_FILE), seed).unwrap();
            host_key(folder.path()).map(|key| key.public_key().clone())
        };
        assert_eq!(of(&[7; 32]).unwrap(), of(&[7; 32]).unwrap());
        assert_ne!(of(&[7; 32]).unwrap(), of(&[8; 32]).unwrap());
        assert!(of(&[7; 31]).is_err());
    }
}
