//! One question to a unit: over TCP, over HTTP, or by a command inside its container.

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::release::Probe;
use tokio::net::TcpStream;

use super::Docker;
use crate::runtime::Target;

/// Asks once. The caller sees to the time it may take.
pub async fn ask(docker: &Docker, target: &Target) -> Result<(), String> {
    match &target.probe {
        Probe::Running => Ok(()),
        Probe::Tcp => connect(&target.address).await.map(|_| ()),
        Probe::Http { method, path, host, status_from, status_to } => {
            let host = host.as_deref().unwrap_or(&target.address);
            let request = Request::builder()
                .method(method.as_str())
                .uri(path)
                .header("host", host)
                .header("user-agent", "trireme-health-check")
                .header("connection", "close")
                .body(Empty::<Bytes>::new())
                .map_err(|error| format!("the check is no valid request: {error}"))?;
            let status = status(&target.address, request).await?;
            match (*status_from..=*status_to).contains(&status) {
                true => Ok(()),
                false => Err(format!("{method} {path} answered {status}")),
            }
        }
        Probe::Exec { command } => execute(docker, &target.container, command).await,
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            let port = address.rsplit(':').next().unwrap_or_default();
            format!("nothing listens on port {port}")
        }
        _ => error.to_string(),
    })
}

async fn status(address: &str, request: Request<Empty<Bytes>>) -> Result<u16, String> {
    let stream = connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(answer.status().as_u16())
    };
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // It ends first when the unit closes without an answer; the request then knows why.
        _ = connection => asked.await,
    }
}

async fn execute(docker: &Docker, container: &str, command: &[String]) -> Result<(), String> {
    let client = docker.client().await.map_err(|error| error.to_string())?;
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let failed = |error: bollard::errors::Error| super::meaning(error).to_string();
    let exec = client.create_exec(container, config).await.map_err(failed)?;
    let started = client.start_exec(&exec.id, None::<StartExecOptions>).await.map_err(failed)?;
    if let StartExecResults::Attached { mut output, .. } = started {
        // The output ends with the command.
        while let Some(Ok(_)) = output.next().await {}
    }
    let ended = client.inspect_exec(&exec.id).await.map_err(failed)?;
    match ended.exit_code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("the check command exited with code {code}")),
        None => Err("the check command did not end".to_owned()),
    }
}
