//! Passwords: argon2id hashes, made and checked off the async threads, a few at a time.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The shortest password.
pub const MIN_CHARS: usize = 8;
/// The longest, so that nobody makes us hash megabytes.
pub const MAX_BYTES: usize = 1024;
/// Hashes at work at once; each takes 19 MiB and a core.
const AT_ONCE: usize = 2;

/// Checked when there is no such user, so that the answer takes as long as for one there is.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hash_now("nobody's password"));

/// Why a password cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Too few characters.
    #[error("the password is too short: it needs at least {MIN_CHARS} characters")]
    TooShort,
    /// Too many bytes.
    #[error("the password is too long: the most is {MAX_BYTES} bytes")]
    TooLong,
}

/// Refuses passwords that are too short or too long.
pub fn check_rule(password: &str) -> Result<(), Unusable> {
    match password {
        short if short.chars().count() < MIN_CHARS => Err(Unusable::TooShort),
        long if long.len() > MAX_BYTES => Err(Unusable::TooLong),
        _ => Ok(()),
    }
}

/// Hashes and checks passwords. Cheap to clone; clones share the limit.
#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// The PHC string of a password.
    pub async fn hash(&self, password: &str) -> String {
        let password = Zeroizing::new(password.to_owned());
        self.blocking(move || hash_now(&password)).await
    }

    /// Whether a password is the one hashed; takes as long when there is none.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> bool {
        if password.len() > MAX_BYTES {
            return false;
        }
        let password = Zeroizing::new(password.to_owned());
        let hash = hash.map(str::to_owned);
        self.blocking(move || {
            let is_right = verify_now(&password, hash.as_ref().unwrap_or(&NOBODYS));
            is_right && hash.is_some()
        })
        .await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let slot = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        });
        done.await.expect("hashing does not panic")
    }
}

fn hash_now(password: &str) -> String {
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .expect("a password of at most 1024 bytes can be hashed");
    hash.to_string()
}

fn verify_now(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").await;
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await);
        assert!(passwords.verify("correct horse", Some(&hash)).await);
        assert!(!passwords.verify("correct hors", Some(&hash)).await);
        assert!(!passwords.verify("nobody's password", None).await);
        assert!(!passwords.verify("x", Some("not a hash")).await);
    }

    #[test]
    fn short_and_huge_passwords_are_refused() {
        assert_eq!(check_rule("1234567"), Err(Unusable::TooShort));
        assert_eq!(check_rule("12345678"), Ok(()));
        assert_eq!(check_rule(&"x".repeat(MAX_BYTES + 1)), Err(Unusable::TooLong));
    }
}
