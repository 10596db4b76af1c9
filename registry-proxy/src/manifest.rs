//! What a manifest is and names: checked before it is stored, so that every stored image can be pulled. Pure.

use serde::Deserialize;

use crate::{name::Digest, refusal::Refusal};

/// A larger manifest is refused.
pub const MAX_BYTES: usize = 4 << 20;

const IMAGES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A manifest's type and what must be here before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How it is served.
    pub media_type: String,
    /// The blobs of an image.
    pub blobs: Vec<Digest>,
    /// The images of an index.
    pub manifests: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

impl Manifest {
    /// Reads a manifest sent as `content_type`.
    pub fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, Refusal> {
        let body: Body = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::manifest_invalid(format!("it is not a manifest: {error}")))?;
        if body.schema_version != 2 {
            return Err(Refusal::manifest_invalid("only schema version 2 is supported"));
        }
        let sent = content_type.and_then(|text| text.split(';').next()).map(str::trim);
        let media_type = match (sent, &body.media_type) {
            (Some(sent), Some(own)) if sent != own => {
                let message = format!("it is sent as `{sent}` but says it is `{own}`");
                return Err(Refusal::manifest_invalid(message));
            }
            (Some(media_type), _) => media_type.to_owned(),
            (None, Some(own)) => own.clone(),
            (None, None) => return Err(Refusal::manifest_invalid("it has no media type")),
        };
        let (blobs, manifests) = if IMAGES.contains(&media_type.as_str()) {
            (image_blobs(&body)?, Vec::new())
        } else if INDEXES.contains(&media_type.as_str()) {
            let manifests = body.manifests.as_deref();
            let manifests =
                manifests.ok_or_else(|| Refusal::manifest_invalid("it lists no manifests"))?;
            (Vec::new(), manifests.iter().map(digest).collect::<Result<_, _>>()?)
        } else {
            let message = format!("the media type `{media_type}` is not supported");
            return Err(Refusal::manifest_invalid(message));
        };
        Ok(Manifest { media_type, blobs, manifests })
    }
}

fn image_blobs(body: &Body) -> Result<Vec<Digest>, Refusal> {
    let config = body.config.as_ref();
    let config = config.ok_or_else(|| Refusal::manifest_invalid("it names no config"))?;
    let layers = body.layers.iter().filter(|layer| !layer.is_elsewhere());
    std::iter::once(config).chain(layers).map(digest).collect()
}

impl Descriptor {
    /// Layers that clients fetch from their vendor and never push.
    fn is_elsewhere(&self) -> bool {
        !self.urls.is_empty()
            && (self.media_type.contains(".foreign.")
                || self.media_type.contains(".nondistributable."))
    }
}

fn digest(descriptor: &Descriptor) -> Result<Digest, Refusal> {
    descriptor.digest.parse().map_err(|error: crate::name::NameError| {
        Refusal::manifest_invalid(format!("`{}`: {error}", descriptor.digest))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn descriptor(content: &str) -> serde_json::Value {
        json!({ "mediaType": "x", "digest": Digest::of(content.as_bytes()), "size": content.len() })
    }

    #[test]
    fn an_image_names_its_config_and_layers() {
        let foreign = json!({ "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": Digest::of(b"f"), "urls": ["https://example.com/f"] });
        let bytes = json!({ "schemaVersion": 2, "config": descriptor("c"), "layers": [descriptor("l"), foreign] });
        let manifest = Manifest::parse(Some(IMAGES[0]), bytes.to_string().as_bytes()).unwrap();
        assert_eq!(manifest.media_type, IMAGES[0]);
        assert_eq!(manifest.blobs, [Digest::of(b"c"), Digest::of(b"l")]);
    }

    #[test]
    fn an_index_names_its_images() {
        let bytes =
            json!({ "schemaVersion": 2, "mediaType": INDEXES[1], "manifests": [descriptor("m")] });
        let manifest = Manifest::parse(None, bytes.to_string().as_bytes()).unwrap();
        assert_eq!((manifest.blobs, manifest.manifests), (Vec::new(), vec![Digest::of(b"m")]));
    }

    #[test]
    fn what_could_not_be_pulled_is_refused() {
        let image = |config: serde_json::Value| json!({ "schemaVersion": 2, "config": config });
        let bad_digest = json!({ "mediaType": "x", "digest": "sha256:../../x" });
        for (content_type, body) in [
            (Some(IMAGES[0]), json!("text")),
            (Some(IMAGES[0]), json!({ "schemaVersion": 1 })),
            (Some(IMAGES[0]), json!({ "schemaVersion": 2 })),
            (Some(IMAGES[0]), image(bad_digest)),
            (Some("text/plain"), image(descriptor("c"))),
            (None, image(descriptor("c"))),
            (
                Some(IMAGES[0]),
                json!({ "schemaVersion": 2, "mediaType": IMAGES[1], "config": descriptor("c") }),
            ),
            (Some(INDEXES[0]), json!({ "schemaVersion": 2 })),
        ] {
            let refusal = Manifest::parse(content_type, body.to_string().as_bytes()).unwrap_err();
            assert_eq!(refusal.code, "MANIFEST_INVALID", "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Manifest::parse(Some(IMAGES[0]), &bytes);
        }
    }
}
