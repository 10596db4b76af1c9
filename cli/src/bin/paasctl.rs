//! The command line of those who run apps.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::paas::main()
}
