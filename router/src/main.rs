//! The router's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("router", router::Config::read, router::run)
}
