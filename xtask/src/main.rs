//! `cargo xtask`: brings a bare machine to a running cluster, to passing tests, to measured figures.
#![expect(clippy::print_stderr, reason = "a command line speaks to a person")]

mod command;
mod program;
mod repository;
mod setup;
mod stack;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
