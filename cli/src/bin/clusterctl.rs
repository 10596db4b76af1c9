//! The command line of those who run a cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::cluster::main()
}
