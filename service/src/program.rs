//! The main of every program: logs, settings, runtime, run, signal, drain with a deadline, exit code.

mod arguments;

use std::{
    ffi::OsString,
    future::Future,
    io::Write,
    panic,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Settings, Stop, log,
    settings::{SettingDoc, Source},
};
use arguments::Arguments;

/// How long a program may take to end after a signal.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long after a panic: state may be wrong, so only what is in flight gets a moment.
const PANIC_DEADLINE: Duration = Duration::from_secs(5);

const EXIT_OK: u8 = 0;
/// The run failed.
const EXIT_FAILED: u8 = 1;
/// The arguments or settings are wrong (EX_USAGE).
const EXIT_USAGE: u8 = 64;
/// A panic: a defect of the program (EX_SOFTWARE).
const EXIT_PANIC: u8 = 70;

/// Settings that this main itself reads from the program's table.
pub(crate) struct Runtime {
    worker_threads: usize,
}

impl Runtime {
    pub(crate) fn read(settings: &mut Settings) -> Runtime {
        let worker_threads =
            settings.get("worker_threads", "2", "Threads that run the program's tasks.");
        if !(1..=1024).contains(&worker_threads) {
            settings.problem(format!(
                "`worker_threads` is {worker_threads}; it must be from 1 to 1024"
            ));
        }
        Runtime { worker_threads }
    }
}

/// Makes aws-lc the process's TLS provider. [`main`] does it; tests and CLIs that use TLS call it themselves.
pub fn install_crypto() {
    // It fails only where a provider is installed already, and there is one in this build.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Runs a program from its arguments to its exit code: 0 ended well, 1 failed, 64 wrong arguments or settings, 70 panicked.
///
/// `run` gets the settings `read` made and a [`Stop`] that SIGTERM, SIGINT or a panic sets; it then has 30 s to return.
pub fn main<C, F, Fut>(program: &'static str, read: fn(&mut Settings) -> C, run: F) -> ExitCode
where
    F: FnOnce(C, Stop) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    ExitCode::from(start(program, std::env::args_os().skip(1), read, run))
}

/// As [`main`], with the arguments given and the exit code as a number.
fn start<C, F, Fut>(
    program: &'static str,
    arguments: impl Iterator<Item = OsString>,
    read: fn(&mut Settings) -> C,
    run: F,
) -> u8
where
    F: FnOnce(C, Stop) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    install_crypto();
    let config = match arguments::parse(arguments) {
        Ok(Arguments::Run { config }) => config,
        Ok(Arguments::Version) => return print(&format!("trireme-{program} {}\n", crate::VERSION)),
        Ok(Arguments::Help) => return print(&help(program, &Settings::reference(program, read))),
        Err(problem) => return refuse(program, &[problem]),
    };
    log::start();
    match read_settings(program, config, read) {
        Ok((runtime, config)) => run_to_end(program, &runtime, |stop| run(config, stop)),
        Err(problems) => refuse(program, &problems),
    }
}

fn read_settings<C>(
    program: &'static str,
    path: Option<PathBuf>,
    read: fn(&mut Settings) -> C,
) -> Result<(Runtime, C), Vec<String>> {
    let mut settings = Settings::new(program, Source::load(path));
    let values = (Runtime::read(&mut settings), read(&mut settings));
    settings.finish(values)
}

fn run_to_end<Fut>(program: &'static str, settings: &Runtime, run: impl FnOnce(Stop) -> Fut) -> u8
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let stop = Stop::new();
    let panicked = watch_panics(stop.clone());
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads)
        .enable_all()
        .build();
    let runtime = match runtime.context("start the async runtime") {
        Ok(runtime) => runtime,
        Err(error) => return fail(program, &error),
    };
    // Without this guard a panic in `run` itself would unwind past the exit code.
    let ended = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            tracing::info!(program, version = crate::VERSION, "starting");
            until_ended(run(stop.clone()), stop, &panicked).await
        })
    }));
    runtime.shutdown_background();
    match ended {
        Ok(Err(error)) if !panicked.load(Ordering::SeqCst) => fail(program, &error),
        Ok(Ok(())) if !panicked.load(Ordering::SeqCst) => {
            tracing::info!(program, "ended");
            EXIT_OK
        }
        Ok(_) | Err(_) => EXIT_PANIC,
    }
}

/// Waits for `run`: as long as it takes before a stop, and up to the deadline after it.
async fn until_ended(
    run: impl Future<Output = anyhow::Result<()>>,
    stop: Stop,
    panicked: &AtomicBool,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        signal(SignalKind::interrupt()).context("listen for SIGINT")?,
    );
    let mut run = std::pin::pin!(run);
    tokio::select! {
        ended = &mut run => return ended,
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = stop.wait() => {}
    }
    stop.set();
    let deadline = if panicked.load(Ordering::SeqCst) { PANIC_DEADLINE } else { DRAIN_DEADLINE };
    tokio::select! {
        ended = &mut run => ended,
        () = tokio::time::sleep(deadline) => Err(anyhow::anyhow!("the program did not end within {deadline:?} of being asked to")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted again before the program had ended")),
    }
}

/// Makes any panic on any thread stop the program, and tells through the flag that one happened.
fn watch_panics(stop: Stop) -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let seen = panicked.clone();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic; stopping");
        seen.store(true, Ordering::SeqCst);
        stop.set();
    }));
    panicked
}

fn help(program: &str, reference: &[SettingDoc]) -> String {
    let mut text = format!(
        "trireme-{program} {}\n\nUsage: trireme-{program} [--config PATH] [--version] [--help]\n\n\
         Settings come from --config, $TRIREME_CONFIG or {}, overridden by the environment.\n",
        crate::VERSION,
        crate::settings::DEFAULT_PATH
    );
    let mut table = "";
    for setting in reference {
        if setting.table != table {
            table = setting.table;
            text.push_str(&format!("\n[{table}]\n"));
        }
        let value = match (&setting.default, setting.required) {
            (Some(example), true) => format!("required, for example `{example}`"),
            (Some(default), false) => format!("default `{default}`"),
            (None, _) => "optional".to_owned(),
        };
        text.push_str(&format!(
            "  {:<24} {} ({value}; {})\n",
            setting.key,
            setting.doc,
            setting.variable()
        ));
    }
    text
}

fn print(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => EXIT_OK,
        Err(_) => EXIT_FAILED,
    }
}

fn refuse(program: &str, problems: &[String]) -> u8 {
    for problem in problems {
        tell(program, problem);
    }
    EXIT_USAGE
}

fn fail(program: &str, error: &anyhow::Error) -> u8 {
    tell(program, &format!("failed to {error:#}"));
    EXIT_FAILED
}

/// One line on standard error, whatever the message holds.
fn tell(program: &str, message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // With standard error closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "trireme-{program}: {line}");
}

#[cfg(test)]
mod tests;
