//! BuildKit's way back to us during one build: secrets it may ask for, and the credentials we do not have.
//!
//! The client library opens such a session too, but never closes it, and has no secrets. Ours ends with the build.

use std::{io, net::Shutdown, path::Path, pin::Pin, sync::Arc};

use bollard::{
    health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    moby::{
        buildkit::secrets::v1::{
            GetSecretRequest, GetSecretResponse,
            secrets_server::{Secrets, SecretsServer},
        },
        filesync::v1::{
            CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
            GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
            VerifyTokenAuthorityResponse,
            auth_server::{Auth, AuthServer},
        },
    },
};
use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{Request, Response, Status, transport::Server};

/// The name by which instructions ask for the configuration.
const CONFIG: &str = "config";
/// What BuildKit may call, as it wants it announced.
const METHODS: [&str; 3] = [
    "/grpc.health.v1.Health/Check",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
];
/// The engine's answer to our greeting is at most this long.
const MAX_HEAD: usize = 4096;

/// An open session; dropping it closes it.
pub struct Session(std::os::unix::net::UnixStream);

impl Session {
    /// Opens a session under an id that a build then names. `config` is what the build may read. Secret.
    pub async fn open(socket: &Path, id: &str, config: Vec<u8>) -> io::Result<Session> {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(greeting(id).as_bytes()).await?;
        expect_upgrade(&mut stream).await?;
        let stream = stream.into_std()?;
        let session = Session(stream.try_clone()?);
        let stream = UnixStream::from_std(stream)?;
        let answers = Arc::new(Answers { config });
        let served = Server::builder()
            .add_service(HealthServer::from_arc(answers.clone()))
            .add_service(SecretsServer::from_arc(answers.clone()))
            .add_service(AuthServer::from_arc(answers))
            .serve_with_incoming(stream::iter([io::Result::Ok(stream)]));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a build session broke");
            }
        });
        Ok(session)
    }
}

impl Drop for Session {
    /// The server gives the connection to a task of its own, which ends when the connection does.
    fn drop(&mut self) {
        // The engine may have closed it already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn greeting(id: &str) -> String {
    let methods: String = METHODS
        .iter()
        .map(|method| format!("X-Docker-Expose-Session-Grpc-Method: {method}\r\n"))
        .collect();
    format!(
        "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
         X-Docker-Expose-Session-Uuid: {id}\r\n{methods}Content-Length: 0\r\n\r\n"
    )
}

/// Reads the answer's head and not a byte more: what follows is the engine's side of the session.
async fn expect_upgrade(stream: &mut UnixStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err(io::Error::other("the engine's answer to a session is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    Err(io::Error::other(format!("the engine refused a session: {line}")))
}

struct Answers {
    config: Vec<u8>,
}

#[tonic::async_trait]
impl Secrets for Answers {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match request.into_inner().id.as_str() {
            CONFIG => Ok(Response::new(GetSecretResponse { data: self.config.clone() })),
            _ => Err(Status::not_found("no such secret")),
        }
    }
}

#[tonic::async_trait]
impl Auth for Answers {
    /// None: images are pulled as anybody may.
    async fn credentials(
        &self,
        _: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        Ok(Response::new(CredentialsResponse::default()))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the engine fetches its own"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("there is none"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("there is none"))
    }
}

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("the engine only checks"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the engine only checks"))
    }
}
