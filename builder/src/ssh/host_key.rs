//! The key by which clients know this builder: made once, kept for ever.

use std::path::Path;

use anyhow::Context;
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use service::durable::{self, PRIVATE};

const FILE: &str = "ssh_host_ed25519_key";

/// Reads the host key, or makes it at the first start.
pub fn host_key(folder: &Path) -> anyhow::Result<PrivateKey> {
    let path = folder.join(FILE);
    if path.exists() {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        return PrivateKey::from_openssh(&text)
            .with_context(|| format!("parse `{}`", path.display()));
    }
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .context("make a key")?;
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
}
