//! What an operator carries from a node to a machine that shall join: a secret, the authority's fingerprint, and where to ask.

use std::{fmt, net::SocketAddr, str::FromStr};

/// `trireme1.SECRET.ADDRESS,ADDRESS.FINGERPRINT`; last what has a known length, so that a piece is known as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The right to join.
    pub secret: String,
    /// Of the cluster's authority.
    pub fingerprint: String,
    /// APIs of the cluster.
    pub apis: Vec<SocketAddr>,
}

const KIND: &str = "trireme1";

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read the token: it must be whole, as `clusterctl init` or `clusterctl token:create` printed it"
)]
pub struct TokenError;

impl fmt::Display for JoinToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apis: Vec<String> = self.apis.iter().map(SocketAddr::to_string).collect();
        write!(out, "{KIND}.{}.{}.{}", self.secret, apis.join(","), self.fingerprint)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let parts = text.trim().strip_prefix(KIND).and_then(|rest| rest.strip_prefix('.'));
        let (secret, rest) = parts.and_then(|parts| parts.split_once('.')).ok_or(TokenError)?;
        let (apis, fingerprint) = rest.rsplit_once('.').ok_or(TokenError)?;
        let is_print =
            fingerprint.len() == 64 && fingerprint.bytes().all(|it| it.is_ascii_hexdigit());
        let apis: Vec<SocketAddr> =
            apis.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| TokenError)?;
        if secret.is_empty() || !is_print {
            return Err(TokenError);
        }
        Ok(JoinToken { secret: secret.to_owned(), fingerprint: fingerprint.to_owned(), apis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_piece_of_one_is_not() {
        let token = JoinToken {
            secret: "a-b_c".to_owned(),
            fingerprint: "ab".repeat(32),
            apis: vec!["10.0.0.1:8000".parse().unwrap(), "[::1]:8000".parse().unwrap()],
        };
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token));
        for piece in ["", "trireme1", &text[1..], &text[..text.len() - 8], &text[..90]] {
            assert_eq!(piece.parse::<JoinToken>(), Err(TokenError), "{piece}");
        }
    }
}
