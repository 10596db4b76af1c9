//! From method, path and query to what is asked: the one place where a client's text becomes typed words. Pure.

use http::Method;

use crate::{
    name::{Digest, Reference, Repository, UploadId},
    refusal::Refusal,
};

/// One thing a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Is this a registry?
    Ping,
    /// The tags of a repository, sorted, after `last`, at most `limit`.
    ListTags {
        /// Of which repository.
        repository: Repository,
        /// Only tags after this one.
        last: Option<String>,
        /// Only so many.
        limit: Option<usize>,
    },
    /// A manifest; without its body for HEAD.
    GetManifest(Repository, Reference),
    /// Store a manifest.
    PutManifest(Repository, Reference),
    /// Remove a tag, or a manifest with its tags.
    DeleteManifest(Repository, Reference),
    /// A blob; without its body for HEAD.
    GetBlob(Digest),
    /// Start an upload; with `mount` only if that blob is not here yet; with `digest` the body is the whole blob.
    StartUpload {
        /// Into which repository.
        repository: Repository,
        /// A blob that makes the upload unnecessary.
        mount: Option<Digest>,
        /// The digest of the body.
        digest: Option<Digest>,
    },
    /// How far an upload is.
    UploadStatus(Repository, UploadId),
    /// Add the body to an upload.
    AppendUpload(Repository, UploadId),
    /// Add the body, which may be empty, and end the upload.
    FinishUpload(Repository, UploadId, Digest),
    /// Forget an upload.
    CancelUpload(Repository, UploadId),
}

/// Reads a request line. Every text in the result has been checked against its rule.
pub fn parse(method: &Method, path: &str, query: &str) -> Result<Operation, Refusal> {
    let rest = path.strip_prefix("/v2").ok_or_else(Refusal::no_such_path)?;
    if rest.is_empty() || rest == "/" {
        return if is_read(method) { Ok(Operation::Ping) } else { Err(Refusal::method()) };
    }
    let rest = decode(rest.strip_prefix('/').ok_or_else(Refusal::no_such_path)?);
    let place = Place::find(&rest).ok_or_else(Refusal::no_such_path)?;
    let repository: Repository = place
        .repository
        .parse()
        .map_err(|error: crate::name::NameError| Refusal::name_invalid(error.to_string()))?;
    match place.kind {
        Kind::Tags => tags(method, repository, query),
        Kind::Manifest(reference) => manifest(method, repository, reference),
        Kind::Blob(digest) => blob(method, digest),
        Kind::Uploads => start_upload(method, repository, query),
        Kind::Upload(id) => upload(method, repository, id, query),
    }
}

struct Place<'a> {
    repository: &'a str,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Tags,
    Manifest(&'a str),
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
}

impl Place<'_> {
    /// The end of a path says what it is; everything before is the repository, which may contain slashes.
    fn find(path: &str) -> Option<Place<'_>> {
        if let Some(repository) = path.strip_suffix("/tags/list") {
            return Some(Place { repository, kind: Kind::Tags });
        }
        let uploads = path.strip_suffix("/blobs/uploads").or(path.strip_suffix("/blobs/uploads/"));
        if let Some(repository) = uploads {
            return Some(Place { repository, kind: Kind::Uploads });
        }
        let (start, last) = path.rsplit_once('/')?;
        if let Some(repository) = start.strip_suffix("/blobs/uploads") {
            return Some(Place { repository, kind: Kind::Upload(last) });
        }
        if let Some(repository) = start.strip_suffix("/blobs") {
            return Some(Place { repository, kind: Kind::Blob(last) });
        }
        let repository = start.strip_suffix("/manifests")?;
        Some(Place { repository, kind: Kind::Manifest(last) })
    }
}

fn tags(method: &Method, repository: Repository, query: &str) -> Result<Operation, Refusal> {
    if !is_read(method) {
        return Err(Refusal::method());
    }
    // A limit that is no number is ignored, as peers do.
    let limit = parameter(query, "n").and_then(|n| n.parse().ok());
    Ok(Operation::ListTags { repository, last: parameter(query, "last"), limit })
}

fn manifest(method: &Method, repository: Repository, text: &str) -> Result<Operation, Refusal> {
    let reference: Reference = text.parse().map_err(|error: crate::name::NameError| {
        if text.contains(':') {
            return Refusal::digest_invalid(error.to_string());
        }
        Refusal::manifest_invalid(error.to_string())
    })?;
    match *method {
        Method::GET | Method::HEAD => Ok(Operation::GetManifest(repository, reference)),
        Method::PUT => Ok(Operation::PutManifest(repository, reference)),
        Method::DELETE => Ok(Operation::DeleteManifest(repository, reference)),
        _ => Err(Refusal::method()),
    }
}

fn blob(method: &Method, digest: &str) -> Result<Operation, Refusal> {
    let digest = read_digest(digest)?;
    if is_read(method) { Ok(Operation::GetBlob(digest)) } else { Err(Refusal::method()) }
}

fn start_upload(
    method: &Method,
    repository: Repository,
    query: &str,
) -> Result<Operation, Refusal> {
    if *method != Method::POST {
        return Err(Refusal::method());
    }
    let digest_named = |name| parameter(query, name).map(|text| read_digest(&text)).transpose();
    Ok(Operation::StartUpload {
        repository,
        mount: digest_named("mount")?,
        digest: digest_named("digest")?,
    })
}

fn upload(
    method: &Method,
    repository: Repository,
    id: &str,
    query: &str,
) -> Result<Operation, Refusal> {
    let id: UploadId = id.parse().map_err(|_| Refusal::upload_unknown())?;
    match *method {
        Method::GET | Method::HEAD => Ok(Operation::UploadStatus(repository, id)),
        Method::PATCH => Ok(Operation::AppendUpload(repository, id)),
        Method::DELETE => Ok(Operation::CancelUpload(repository, id)),
        Method::PUT => {
            let digest = parameter(query, "digest")
                .ok_or_else(|| Refusal::digest_invalid("the parameter `digest` is missing"))?;
            Ok(Operation::FinishUpload(repository, id, read_digest(&digest)?))
        }
        _ => Err(Refusal::method()),
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn read_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: crate::name::NameError| Refusal::digest_invalid(error.to_string()))
}

/// The first value of a query's parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

/// Percent-decoding. What is not a valid escape, or not UTF-8 afterwards, becomes text that no rule allows.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                bytes.push(value);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const UPLOAD: &str = "0123456789abcdef0123456789abcdef";

    fn code(method: Method, path: &str) -> (u16, &'static str) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let refusal = parse(&method, path, query).expect_err(path);
        (refusal.status.as_u16(), refusal.code)
    }

    #[test]
    fn each_endpoint_is_found() {
        let repository: Repository = "team/shop".parse().unwrap();
        let (digest, upload): (Digest, UploadId) =
            (DIGEST.parse().unwrap(), UPLOAD.parse().unwrap());
        let reference = Reference::Digest(digest.clone());
        for (method, path, query, expected) in [
            (Method::GET, "/v2/".to_owned(), String::new(), Operation::Ping),
            (Method::GET, "/v2".to_owned(), String::new(), Operation::Ping),
            (
                Method::HEAD,
                format!("/v2/team/shop/blobs/{DIGEST}"),
                String::new(),
                Operation::GetBlob(digest.clone()),
            ),
            (
                Method::GET,
                format!("/v2/team/shop/manifests/{}", DIGEST.replace(':', "%3A")),
                String::new(),
                Operation::GetManifest(repository.clone(), reference),
            ),
            (
                Method::POST,
                "/v2/team/shop/blobs/uploads/".to_owned(),
                format!("from=other&mount={}", DIGEST.replace(':', "%3a")),
                Operation::StartUpload {
                    repository: repository.clone(),
                    mount: Some(digest.clone()),
                    digest: None,
                },
            ),
            (
                Method::PATCH,
                format!("/v2/team/shop/blobs/uploads/{UPLOAD}"),
                String::new(),
                Operation::AppendUpload(repository.clone(), upload.clone()),
            ),
            (
                Method::PUT,
                format!("/v2/team/shop/blobs/uploads/{UPLOAD}"),
                format!("digest={DIGEST}"),
                Operation::FinishUpload(repository.clone(), upload, digest),
            ),
            (
                Method::GET,
                "/v2/team/shop/tags/list".to_owned(),
                "n=5&last=v1".to_owned(),
                Operation::ListTags { repository, last: Some("v1".to_owned()), limit: Some(5) },
            ),
        ] {
            assert_eq!(parse(&method, &path, &query), Ok(expected), "{method} {path}?{query}");
        }
    }

    #[test]
    fn what_is_wrong_gets_its_code() {
        for (method, path, expected) in [
            (Method::GET, "/", (404, "UNSUPPORTED")),
            (Method::GET, "/v2x", (404, "UNSUPPORTED")),
            (Method::GET, "/v2/shop", (404, "UNSUPPORTED")),
            (Method::POST, "/v2/", (405, "UNSUPPORTED")),
            (Method::GET, "/v2/Shop/tags/list", (400, "NAME_INVALID")),
            (Method::GET, "/v2/../etc/tags/list", (400, "NAME_INVALID")),
            (Method::GET, "/v2/a/%2e%2e/b/tags/list", (400, "NAME_INVALID")),
            (Method::GET, "/v2/shop/blobs/sha256:xyz", (400, "DIGEST_INVALID")),
            (Method::GET, "/v2/shop/blobs/..%2f..", (404, "UNSUPPORTED")),
            (Method::PUT, "/v2/shop/manifests/sha256:baddigeststring", (400, "DIGEST_INVALID")),
            (Method::GET, "/v2/shop/manifests/-x", (400, "MANIFEST_INVALID")),
            (Method::GET, "/v2/shop/blobs/uploads/xyz", (404, "BLOB_UPLOAD_UNKNOWN")),
            (Method::POST, "/v2/shop/blobs/uploads/?digest=x", (400, "DIGEST_INVALID")),
        ] {
            assert_eq!(code(method.clone(), path), expected, "{method} {path}");
        }
        let upload = format!("/v2/shop/blobs/uploads/{UPLOAD}");
        assert_eq!(code(Method::PUT, &upload), (400, "DIGEST_INVALID"));
        assert_eq!(code(Method::DELETE, &format!("/v2/shop/blobs/{DIGEST}")), (405, "UNSUPPORTED"));
    }

    /// Every word of an operation as it would stand in a path of the data folder.
    fn words(operation: &Operation) -> Vec<String> {
        let reference = |reference: &Reference| match reference {
            Reference::Tag(tag) => tag.as_str().to_owned(),
            Reference::Digest(digest) => digest.hex().to_owned(),
        };
        match operation {
            Operation::Ping => vec![],
            Operation::ListTags { repository, .. } => vec![repository.to_string()],
            Operation::GetManifest(repository, at)
            | Operation::PutManifest(repository, at)
            | Operation::DeleteManifest(repository, at) => {
                vec![repository.to_string(), reference(at)]
            }
            Operation::GetBlob(digest) => vec![digest.hex().to_owned()],
            Operation::StartUpload { repository, .. } => vec![repository.to_string()],
            Operation::UploadStatus(repository, id)
            | Operation::AppendUpload(repository, id)
            | Operation::FinishUpload(repository, id, _)
            | Operation::CancelUpload(repository, id) => {
                vec![repository.to_string(), id.as_str().to_owned()]
            }
        }
    }

    /// Paths that look real, with pieces that try to escape.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("..".to_owned()),
            Just("%2e%2e".to_owned()),
            Just("%2F".to_owned()),
            Just("%00".to_owned()),
            Just("%".to_owned()),
            Just("blobs".to_owned()),
            Just("uploads".to_owned()),
            Just("manifests".to_owned()),
            Just("tags".to_owned()),
            Just("list".to_owned()),
            Just("_tags".to_owned()),
            Just(DIGEST.to_owned()),
            Just(UPLOAD.to_owned()),
            "[a-z0-9._-]{0,8}",
            "\\PC{0,8}",
        ];
        proptest::collection::vec(piece, 0..8)
            .prop_map(|pieces| format!("/v2/{}", pieces.join("/")))
    }

    proptest! {
        #[test]
        fn no_request_panics_or_leaves_its_folder(
            path in prop_oneof![paths(), "\\PC{0,60}"],
            query in prop_oneof!["\\PC{0,40}", Just(format!("digest={DIGEST}"))],
            method in prop_oneof![
                Just(Method::GET), Just(Method::PUT), Just(Method::POST), Just(Method::PATCH), Just(Method::DELETE)
            ],
        ) {
            if let Ok(operation) = parse(&method, &path, &query) {
                for word in words(&operation) {
                    for part in word.split('/') {
                        prop_assert!(!part.is_empty() && !part.starts_with('.'), "{word:?}");
                        prop_assert!(part.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
                    }
                }
            }
        }
    }
}
