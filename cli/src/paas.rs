//! `paasctl`: the command line of those who run apps on the platform.
//!
//! Words become one command ([`arguments`]), a command finds its cluster and app ([`target`]), asks
//! the controller ([`client`]), follows a change to its end ([`rollout`]), and ends with one exit code
//! ([`failure`]). One file per noun holds that noun's commands.

pub mod arguments;
pub mod command;
pub mod overview;

pub mod failure;
pub mod prompt;
pub mod session;
pub mod target;
pub mod terminal;

pub mod client;
pub mod connection;
pub mod rollout;
pub mod sse;
pub mod tls;

pub mod dotenv;
pub mod git;
pub mod listing;
pub mod moment;
pub mod pairs;

pub mod apps;
pub mod auth;
pub mod certs;
pub mod checks;
pub mod completion;
pub mod config;
pub mod domains;
pub mod keys;
pub mod limits;
pub mod logs;
pub mod maintenance;
pub mod perms;
pub mod placement;
pub mod ps;
pub mod releases;
pub mod remotes;
pub mod run;
pub mod tokens;
pub mod users;
pub mod volumes;

use std::process::ExitCode;

use clap::FromArgMatches;

use arguments::{Words, normalise, similar};
use failure::Failure;

/// The whole program.
pub fn main() -> ExitCode {
    let grammar = command::grammar();
    let words = normalise(std::env::args_os().skip(1).collect(), &grammar);
    let arguments = match words {
        Words::Overview => return say(&overview::whole(&grammar)),
        Words::Group(group) => return say(&overview::group(&grammar, &group)),
        Words::Unknown(name) => return fail(&unknown(&name, &grammar)),
        Words::Command(arguments) => arguments,
    };
    let program = std::iter::once("paasctl".into());
    let parsed = grammar
        .try_get_matches_from(program.chain(arguments))
        .and_then(|matches| command::Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => run(cli),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 })
        }
    }
}

fn say(text: &str) -> ExitCode {
    crate::output::line(text.trim_end());
    ExitCode::SUCCESS
}

fn unknown(name: &str, grammar: &clap::Command) -> Failure {
    let similar = similar(name, grammar);
    let hint = match similar.is_empty() {
        true => "All commands: paasctl help".to_owned(),
        false => format!("Did you mean {}?", similar.join(" or ")),
    };
    Failure::usage(format!("there is no command `{name}`")).hint(hint)
}

fn fail(failure: &Failure) -> ExitCode {
    failure.print();
    ExitCode::from(failure.exit)
}

fn run(cli: command::Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(cli.command.run());
            // A thread may still wait for input that nobody will type.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::refused(format!("no event loop could be started: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}
