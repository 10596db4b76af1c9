//! The operator: whoever may read the cluster's sealing key. It is on every node with a controller, for root only.

use sha2::{Digest, Sha256};

/// The bearer token by which an operator's commands are known to every controller.
pub fn operator_token(seal_key: &[u8]) -> String {
    let digest =
        Sha256::new().chain_update(b"trireme operator\0").chain_update(seal_key).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_makes_another_operator_and_none_shows_its_key() {
        let token = operator_token(&[7; 32]);
        assert_eq!(token, operator_token(&[7; 32]));
        assert_ne!(token, operator_token(&[8; 32]));
        assert_eq!((token.len(), token.contains("0707")), (64, false));
    }
}
