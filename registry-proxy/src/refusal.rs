//! What a client is told when it does not get what it asked for: the specification's codes, in its JSON shape.

use std::io;

use http::StatusCode;
use rustix::io::Errno;
use serde_json::json;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// One of the specification's codes.
    pub code: &'static str,
    /// What is wrong, in words.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into() }
    }

    /// No such address.
    pub fn no_such_path() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is nothing at this address")
    }

    /// The address takes other methods.
    pub fn method() -> Refusal {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this address does not take this method",
        )
    }

    /// A repository's name breaks the rule.
    pub fn name_invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", message)
    }

    /// No such repository.
    pub fn name_unknown() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "the repository does not exist")
    }

    /// A digest that is malformed, or not that of the content.
    pub fn digest_invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    /// No such blob.
    pub fn blob_unknown() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "the blob does not exist")
    }

    /// No such upload; it may have expired.
    pub fn upload_unknown() -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "BLOB_UPLOAD_UNKNOWN",
            "the upload does not exist or has expired; start again",
        )
    }

    /// A request that does not fit the upload.
    pub fn upload_invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
    }

    /// A chunk that does not continue the upload.
    pub fn out_of_order() -> Refusal {
        Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            "the chunk does not start where the upload ends",
        )
    }

    /// A body that is not as long as announced.
    pub fn size_invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
    }

    /// No such manifest.
    pub fn manifest_unknown() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "the manifest does not exist")
    }

    /// A manifest or reference that cannot be read.
    pub fn manifest_invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    /// A manifest over the limit.
    pub fn manifest_too_large(limit: usize) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "MANIFEST_INVALID",
            format!("a manifest has at most {limit} bytes"),
        )
    }

    /// A manifest names something that is not here.
    pub fn manifest_blob_unknown(missing: impl std::fmt::Display) -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_BLOB_UNKNOWN",
            format!("the manifest names {missing}, which is not here; push it first"),
        )
    }

    /// More at once than this registry takes.
    pub fn too_many() -> Refusal {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "too many uploads are under way; try again later",
        )
    }

    /// The disk has no room for more.
    pub fn disk_full() -> Refusal {
        Refusal::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "DENIED",
            "the registry's disk is nearly full; free some space and push again (pulls go on)",
        )
    }

    /// No second node has it. Clients show the words of answers of this kind only.
    pub fn no_second(reason: &str) -> Refusal {
        Refusal::new(
            StatusCode::FAILED_DEPENDENCY,
            "UNAVAILABLE",
            format!(
                "an image must be on two nodes before it counts, and {reason}; push again when one does"
            ),
        )
    }

    /// Whether what was asked for is not here.
    pub fn is_unknown(&self) -> bool {
        matches!(self.code, "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN" | "NAME_UNKNOWN")
    }

    /// Asked under a name that is not this machine's own.
    pub fn misdirected() -> Refusal {
        Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "DENIED",
            "this registry answers only to localhost and loopback addresses",
        )
    }

    /// A fault of the registry, told in its log.
    pub fn internal() -> Refusal {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed; its log says why",
        )
    }

    /// The body of the answer.
    pub fn json(&self) -> String {
        json!({ "errors": [{ "code": self.code, "message": self.message, "detail": null }] })
            .to_string()
    }
}

/// A full disk is the client's to know; anything else is ours, and goes to the log.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| errno.raw_os_error());
        if error.raw_os_error().is_some_and(|code| full.contains(&code)) {
            tracing::warn!(%error, "the disk is full");
            return Refusal::disk_full();
        }
        tracing::error!(%error, "a file operation failed");
        Refusal::internal()
    }
}
