//! The gRPC side: what the controller asks beside the OCI protocol.

use std::sync::Arc;

use proto::registry::{
    RetainAnswer, RetainRequest,
    registry_server::{Registry as Service, RegistryServer},
};
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use crate::{
    name::{Digest, NameError, Repository},
    registry::Registry,
    retain::{Wish, retain},
};

/// The service over a registry.
pub struct Control(Arc<Registry>);

impl Control {
    /// Ready for a tonic server.
    pub fn service(registry: Arc<Registry>) -> RegistryServer<Control> {
        RegistryServer::new(Control(registry))
    }
}

#[tonic::async_trait]
impl Service for Control {
    async fn retain(
        &self,
        request: Request<RetainRequest>,
    ) -> Result<Response<RetainAnswer>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let (repository, wish) = read(request.into_inner())?;
        let (registry, name) = (self.0.clone(), repository.clone());
        let pass = registry.gate.clone().write_owned().await;
        let retained = spawn_blocking(move || {
            let done = retain(&registry, &repository, &wish);
            drop(pass);
            done
        });
        let gone = retained
            .await
            .map_err(|_| Status::internal("the retention panicked"))?
            .map_err(|refusal| Status::internal(refusal.message))?;
        tracing::info!(
            repository = name.as_str(),
            manifests = gone.manifests,
            blobs = gone.blobs,
            bytes = gone.bytes,
            "retained"
        );
        Ok(Response::new(RetainAnswer {
            manifests_deleted: gone.manifests,
            blobs_deleted: gone.blobs,
            bytes_freed: gone.bytes,
        }))
    }
}

/// Reads the whole request before anything is removed.
fn read(request: RetainRequest) -> Result<(Repository, Wish), Status> {
    let invalid = |error: NameError| Status::invalid_argument(error.to_string());
    let repository = request.repository.parse().map_err(invalid)?;
    let keep: Vec<Digest> =
        request.keep.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(invalid)?;
    match (keep.is_empty(), request.whole) {
        (false, false) => Ok((repository, Wish::Keep(keep))),
        (true, true) => Ok((repository, Wish::DeleteAll)),
        // An empty list may be a mistake of the caller; deleting everything is said with `whole`.
        (true, false) => Err(Status::invalid_argument("nothing to keep, and `whole` is not set")),
        (false, true) => Err(Status::invalid_argument("`whole` keeps nothing, but `keep` is set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_everything_must_be_said() {
        let ask = |repository: &str, keep: &[&str], whole| {
            let keep = keep.iter().map(|text| (*text).to_owned()).collect();
            read(RetainRequest { repository: repository.to_owned(), keep, whole })
        };
        let digest = Digest::of(b"x");
        assert!(matches!(ask("shop", &[digest.as_str()], false), Ok((_, Wish::Keep(_)))));
        assert!(matches!(ask("shop", &[], true), Ok((_, Wish::DeleteAll))));
        for wrong in [
            ask("shop", &[], false),
            ask("shop", &[digest.as_str()], true),
            ask("../x", &[], true),
            ask("shop", &[digest.as_str(), "v1"], false),
        ] {
            assert_eq!(wrong.unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
