//! git's pre-receive hook in the app repositories: asks the builder, shows its output, ends with its answer.

use std::process::ExitCode;

fn main() -> ExitCode {
    builder::hook::run()
}
