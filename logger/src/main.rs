//! `trireme-logger`: keeps the lines of the node's units.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("logger", logger::Config::read, logger::run)
}
