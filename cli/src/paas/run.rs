//! One-off commands in an app's newest release: at a terminal, in a pipe, or detached.

pub mod input;
pub mod printer;
pub mod socket;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use proto::api::{RunControl, RunEnd, RunRequest};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config;
use super::failure::Failure;
use super::target::OnApp;
use super::terminal::{self, Raw};
use crate::output;
use input::Input;
use printer::Printer;
use socket::{FromUnit, Socket};

/// How often the controller hears that we are there, also while a reader of our output takes its time.
const ALIVE: Duration = Duration::from_secs(10);

/// Run a command in a new container of the release in force; ends with its exit code
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl run bash
  paasctl run -- python manage.py migrate --noinput
  pg_dump ... | paasctl run --no-tty -- sh -c 'cat > /tmp/dump'
  paasctl run --detach -- python manage.py reindex")]
pub struct Run {
    /// Give it no terminal, even when there is one here
    #[arg(long)]
    no_tty: bool,
    /// Start it and return; its output goes to the app's log
    #[arg(short, long)]
    detach: bool,
    /// More environment for this run
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    #[command(flatten)]
    app: OnApp,
    /// The command and its arguments, as they are; no shell reads them
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    /// Runs it.
    pub async fn run(self) -> Result<(), Failure> {
        let env: BTreeMap<String, String> = config::pairs(&self.env)?;
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let tty = is_terminal && !self.no_tty && !self.detach;
        let app = self.app.open().await?;
        let (columns, rows) = if tty { terminal::size() } else { (0, 0) };
        let request =
            RunRequest { command: self.command, tty, rows, columns, env, detach: self.detach };
        let mut socket = Socket::open(&app).await?;
        socket.send_document(&request).await?;
        let end = if self.detach { wait(&mut socket).await? } else { attach(socket, tty).await? };
        match end {
            RunEnd::Exit { code: 0 } => Ok(()),
            RunEnd::Exit { code } => Err(Failure::silent(exit_code(code))),
            RunEnd::Detached { name } => {
                output::line(format!(
                    "Started {name}. Its output: paasctl logs -f --ps {name} -a {}",
                    app.name
                ));
                Ok(())
            }
            RunEnd::Problem { problem } => Err(problem.into()),
        }
    }
}

/// Waits for the end; a detached run says nothing before it.
async fn wait(socket: &mut Socket) -> Result<RunEnd, Failure> {
    loop {
        if let FromUnit::End(end) = socket.next().await? {
            return Ok(end);
        }
    }
}

/// Carries bytes both ways until the end. The terminal is itself again when this returns.
async fn attach(mut socket: Socket, tty: bool) -> Result<RunEnd, Failure> {
    let _raw = if tty { Some(Raw::enter()?) } else { None };
    let mut resized = watch(SignalKind::window_change())?;
    let mut terminated = watch(SignalKind::terminate())?;
    let mut hung_up = watch(SignalKind::hangup())?;
    let mut alive = tokio::time::interval(ALIVE);
    let mut input = Some(Input::start());
    let mut printer = Printer::start();
    loop {
        tokio::select! {
            message = socket.next(), if printer.has_room() => match message? {
                FromUnit::Output(piece) => printer.print(piece),
                FromUnit::End(end) => {
                    printer.finish().await?;
                    return Ok(end);
                }
            },
            () = printer.flow(), if !printer.has_room() => {}
            bytes = next_input(&mut input) => match bytes {
                Some(bytes) => socket.send_input(bytes).await?,
                None => {
                    input = None;
                    socket.send_document(&RunControl::CloseStdin).await?;
                }
            },
            _ = resized.recv(), if tty => {
                let (columns, rows) = terminal::size();
                socket.send_document(&RunControl::Resize { rows, columns }).await?;
            }
            _ = alive.tick() => socket.say_alive().await?,
            // Leaving closes the connection, and with it ends the command.
            _ = terminated.recv() => return Err(Failure::silent(143)),
            _ = hung_up.recv() => return Err(Failure::silent(129)),
        }
    }
}

async fn next_input(input: &mut Option<Input>) -> Option<bytes::Bytes> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

fn watch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::local("watch for signals", error))
}

/// As a shell would give it: what does not fit in a byte is a failure like any other.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
