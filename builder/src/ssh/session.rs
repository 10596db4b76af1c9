//! One command on one channel: asked for, authorised, run by git, ended with its exit code.

use std::{path::Path, process::ExitStatus, time::Duration};

use model::name::AppName;
use proto::problem::{Code, Problem};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, server::Msg};
use rustix::process::{Pid, Signal, kill_process_group};
use service::{Size, Stop};
use tokio::{
    io::{AsyncWriteExt, copy},
    process::{Child, ChildStdin},
};

use super::{
    Door,
    command::{self, GitCommand, Service},
    handler::Who,
};
use crate::{git::RepositoryError, history, push};

/// How long git may take to clean up after it was asked to end.
const KILL_AFTER: Duration = Duration::from_millis(700);
/// How long builds may take to end when the builder stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Standard error's number in SSH.
const STDERR: u32 = 1;

/// What a client asks for.
pub enum Ask {
    /// A command line.
    Exec(Vec<u8>),
    /// A shell, which there is not.
    Shell,
}

/// The client of a session.
pub struct Client {
    /// Whose key it proved.
    pub who: Who,
    /// The git protocol it speaks, if it said so.
    pub protocol: Option<String>,
    /// Set when the connection is gone or the builder stops.
    pub gone: Stop,
}

/// Runs one session to its end.
pub async fn run(channel: Channel<Msg>, ask: Ask, client: Client, door: Door) {
    let (read, write) = channel.split();
    let code = match serve(read, &write, ask, &client, &door).await {
        Ok(code) => code,
        Err(problem) => {
            refuse(&write, &problem).await;
            1
        }
    };
    // If the line is broken there is nobody to tell.
    let _ = write.exit_status(code).await;
    let _ = write.eof().await;
    let _ = write.close().await;
}

async fn serve(
    read: ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    ask: Ask,
    client: &Client,
    door: &Door,
) -> Result<u32, Problem> {
    let user = match &client.who {
        Who::User(user) => user,
        Who::Unknown(problem) => return Err(problem.clone()),
        Who::Nobody => return Err(Problem::new(Code::LoginNeeded, "this key is nobody's")),
    };
    let Ask::Exec(line) = ask else {
        let message = format!("Hi {user}: your key works, but there is no shell here, only git");
        return Err(Problem::new(Code::Unsupported, message)
            .hint("Use `git push`, or `paasctl run` for a shell in your app"));
    };
    let command = command::parse(&line)
        .map_err(|error| Problem::new(Code::Unsupported, error.to_string()))?;
    let entered = door.control.authorize(user, &command.app).await?;
    let created_ms = entered.created_ms;
    if command.service == Service::ReceivePack {
        door.repositories.require_room()?;
    }
    let repositories = door.repositories.clone();
    let app = command.app.clone();
    let repository = tokio::task::spawn_blocking(move || repositories.ensure(&app, created_ms))
        .await
        .map_err(|error| failed(&command.app, &error))?
        .map_err(|error: RepositoryError| failed(&command.app, &anyhow::Error::new(error)))?;
    let taken = door.histories.take(&command.app, &repository, &entered.history).await;
    taken.map_err(|error| history::not_taken(&command.app, error))?;
    let path = repository.clone();
    let open = door.sessions.open(push::Session {
        user: user.clone(),
        app: command.app.clone(),
        repository,
        stop: client.gone.child(),
    });
    tracing::info!(user, app = %command.app, command = command.service.subcommand(), "session");
    let git = door.repositories.command(&command, &open.secret, client.protocol.as_deref()).spawn();
    let git = git.map_err(|error| failed(&command.app, &anyhow::Error::new(error)))?;
    let pipes = Pipes { read, write, gone: &client.gone };
    let ended = pipes.carry(git).await;
    explain_size(write, &command, &ended, door).await;
    if command.service == Service::ReceivePack && ended.code == 0 {
        keep_history(write, &command.app, &path, created_ms, door).await;
    }
    Ok(ended.code)
}

/// What is left to say of git when it has ended.
struct Ended {
    code: u32,
    received_bytes: u64,
}

struct Pipes<'a> {
    read: ChannelReadHalf,
    write: &'a ChannelWriteHalf<Msg>,
    gone: &'a Stop,
}

impl Pipes<'_> {
    /// Connects git to the client until git ends, or ends git when the client is gone.
    async fn carry(self, mut git: Child) -> Ended {
        let mut stdin = git.stdin.take();
        let stdout = git.stdout.take();
        let stderr = git.stderr.take();
        let mut received_bytes = 0;
        let (mut to_client, mut to_client_errors) =
            (self.write.make_writer(), self.write.make_writer_ext(Some(STDERR)));
        let outputs = async {
            let out = async {
                if let Some(mut stdout) = stdout {
                    copy(&mut stdout, &mut to_client).await?;
                }
                to_client.flush().await
            };
            let errors = async {
                if let Some(mut stderr) = stderr {
                    copy(&mut stderr, &mut to_client_errors).await?;
                }
                to_client_errors.flush().await
            };
            tokio::join!(out, errors)
        };
        let mut read = self.read;
        let input = feed(&mut read, &mut stdin, &mut received_bytes);
        let finished = tokio::select! {
            // git closes both when it ends.
            _ = outputs => true,
            () = input => false,
            () = self.gone.wait() => false,
        };
        let status = if finished { git.wait().await.ok() } else { end(&mut git).await };
        let code =
            status.and_then(|status| status.code()).and_then(|code| u32::try_from(code).ok());
        Ended { code: code.unwrap_or(1), received_bytes }
    }
}

/// Copies what the client sends to git; ends only when the client is gone. That is ssh: when the git it serves is
/// killed alone, ssh reads on in silence, tells only servers that call themselves OpenSSH, and the push goes on.
async fn feed(read: &mut ChannelReadHalf, stdin: &mut Option<ChildStdin>, received: &mut u64) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                *received += data.len() as u64;
                if let Some(open) = stdin
                    && open.write_all(&data).await.is_err()
                {
                    // git has heard enough; what it has to say comes on its outputs.
                    *stdin = None;
                }
            }
            ChannelMsg::Eof => *stdin = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Ends git and its hook: asked first, so that it removes its quarantine, then killed.
async fn end(git: &mut Child) -> Option<ExitStatus> {
    signal(git, Signal::TERM);
    if let Ok(ended) = tokio::time::timeout(KILL_AFTER, git.wait()).await {
        return ended.ok();
    }
    signal(git, Signal::KILL);
    git.wait().await.ok()
}

/// To git's whole process group. Once git was waited for it has no id any more, and nothing is signalled.
fn signal(git: &Child, signal: Signal) {
    let pid = git.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this very moment.
        let _ = kill_process_group(pid, signal);
    }
}

/// Keeps what was pushed beyond this node. It is deployed already, so a failure is said and made up for later.
async fn keep_history(
    write: &ChannelWriteHalf<Msg>,
    app: &AppName,
    repository: &Path,
    created_ms: u64,
    door: &Door,
) {
    if let Err(error) = door.histories.keep(app, repository, created_ms).await {
        let words = match error.is_retryable() {
            true => {
                "its git history is on one node only for now; it is kept elsewhere as soon as that is possible"
            }
            false => "another push was kept first: fetch before you push again",
        };
        let error = anyhow::Error::new(error);
        tracing::warn!(%app, "a history was not kept: {error:#}");
        // If the line is broken there is nobody to tell.
        let _ = write.extended_data_bytes(STDERR, format!(" !     {words}\n").into_bytes()).await;
    }
}

/// git's own words for a push over the limit do not say what the limit is for.
async fn explain_size(
    write: &ChannelWriteHalf<Msg>,
    command: &GitCommand,
    ended: &Ended,
    door: &Door,
) {
    let limit = door.repositories.push_bytes();
    if command.service == Service::ReceivePack && ended.received_bytes > limit {
        let message = format!("the push is larger than {}", Size(limit));
        let problem = Problem::new(Code::TooLarge, message)
            .hint("Leave large files and old history out, or ask your operator to raise `max_push` of the builder");
        refuse(write, &problem).await;
    }
}

/// Says no on standard error, in the shape of build errors.
async fn refuse(write: &ChannelWriteHalf<Msg>, problem: &Problem) {
    let mut text = format!("\n !     {}\n", problem.message);
    if !problem.hint.is_empty() {
        text.push_str(&format!(" !     {}\n", problem.hint));
    }
    text.push('\n');
    // If the line is broken there is nobody to tell.
    let _ = write.extended_data_bytes(STDERR, text.into_bytes()).await;
}

fn failed(app: &AppName, error: &(impl std::fmt::Display + ?Sized)) -> Problem {
    tracing::error!(%app, "the session failed: {error:#}");
    Problem::new(Code::Internal, "the builder could not open the repository")
        .hint("The builder's log has the cause")
}

/// Returns some time after `stop`, so that sessions can say why they end.
pub async fn drained(stop: &Stop) {
    stop.wait().await;
    tokio::time::sleep(DRAIN).await;
}
