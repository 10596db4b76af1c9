//! The builder's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("builder", builder::Config::read, builder::run)
}
