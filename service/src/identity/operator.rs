//! What follows from the cluster's sealing key, which is on every node with a controller, for root only: the operator is whoever
//! may read it, and git clients know every builder by one key.

use sha2::{Digest, Sha256};

/// The bearer token by which an operator's commands are known to every controller.
pub fn operator_token(seal_key: &[u8]) -> String {
    derived(b"trireme operator\0", seal_key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the key is made of by which git clients know all builders of a cluster.
pub fn host_key_seed(seal_key: &[u8]) -> [u8; 32] {
    derived(b"trireme ssh host key\0", seal_key)
}

fn derived(use_of: &[u8], seal_key: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(use_of).chain_update(seal_key).finalize().into()
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
