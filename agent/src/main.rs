//! The agent's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("agent", agent::Config::read, agent::run)
}
