//! The controller's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("controller", controller::Config::read, controller::run)
}
