//! The commands, each as the list of what it does.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::program::{self, loud, say};
use crate::repository;
use crate::setup::{self, Purpose};

const HELP: &str = "\
cargo xtask up [ARGUMENTS]    Set up this machine, build, bring a cluster up and push the demo app to it.
                              ARGUMENTS go to `clusterctl up`.
cargo xtask down [--wipe]     Stop the cluster and keep its data; --wipe removes the data too.
cargo xtask test [FILTER]     Set up, then every check and test; with FILTER only the tests whose name has it.
cargo xtask ci                The same as `test`.
cargo xtask bench NAME        Set up, then measure; one JSON line per figure on standard output.
cargo xtask lab up            Set up, build, then several hosts and a cluster of them on this machine; `lab help` says more.
cargo xtask bless [FILTER]    Run the tests and write their results down as the new goldens.
cargo xtask setup             Only set up this machine for `up`.
cargo xtask stack             Make the stack image anew, with Debian's latest updates.

Everything may be run again at any moment. Set-up needs root on Debian 12 and says what it will change.";

/// Runs the command that the arguments name.
pub fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["help" | "-h" | "--help"] => {
            say(HELP);
            Ok(())
        }
        ["up", rest @ ..] => up(rest),
        ["down", rest @ ..] => down(rest),
        ["test" | "ci"] => test_all(),
        ["test", filter] if !filter.starts_with('-') => test_some(filter),
        ["bench", name, rest @ ..] if !name.starts_with('-') => bench(name, rest),
        ["lab", rest @ ..] => lab(rest),
        ["bless"] => bless(None),
        ["bless", filter] if !filter.starts_with('-') => bless(Some(filter)),
        ["setup"] => setup::run(Purpose::Run { check_ports: false }),
        ["stack"] => setup::remake_stack(),
        _ => bail!("`cargo xtask {}` is not a command.\n\n{HELP}", arguments.join(" ")),
    }
}

fn up(arguments: &[&str]) -> Result<()> {
    // Arguments may move the ports; then `clusterctl up` checks those in force.
    setup::run(Purpose::Run { check_ports: arguments.is_empty() })?;
    say("Building the programs (some minutes the first time, a second after that) ...");
    loud(cargo().args(["build", "--release"]))?;
    let error = Command::new(repository::release_program("clusterctl"))
        .args(["up", "--demo"])
        .arg(repository::root().join("deploy/demo"))
        .args(arguments)
        .exec();
    Err(error).context("start `clusterctl`")
}

fn down(arguments: &[&str]) -> Result<()> {
    let clusterctl = repository::release_program("clusterctl");
    if !clusterctl.exists() {
        bail!(
            "nothing was built here yet, so no cluster of this checkout can run. Start one with `cargo xtask up`"
        );
    }
    let error = Command::new(clusterctl).arg("down").args(arguments).exec();
    Err(error).context("start `clusterctl`")
}

fn test_all() -> Result<()> {
    setup::run(Purpose::Test)?;
    say("Checking the format ...");
    loud(cargo().args(["fmt", "--all", "--check"]))
        .context("run `cargo fmt --all` and commit what it changes")?;
    build_for_tests()?;
    say("Checking with clippy ...");
    loud(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    // Last, so that the final lines are its summary.
    say("Running every test ...");
    loud(&mut tests(None))
}

fn test_some(filter: &str) -> Result<()> {
    setup::run(Purpose::Test)?;
    build_for_tests()?;
    loud(&mut tests(Some(filter)))
}

fn bless(filter: Option<&str>) -> Result<()> {
    setup::run(Purpose::Test)?;
    build_for_tests()?;
    loud(tests(filter).env("INSTA_UPDATE", "always").env("TRIREME_BLESS", "1"))?;
    say("Goldens are written; look at them with `git diff` before you commit.");
    Ok(())
}

fn bench(name: &str, arguments: &[&str]) -> Result<()> {
    setup::run(Purpose::Bench)?;
    say("Building the programs to measure ...");
    loud(cargo().args(["build", "--release", "--workspace"]))?;
    loud(Command::new(repository::release_program("bench")).arg(name).args(arguments))
}

fn lab(arguments: &[&str]) -> Result<()> {
    if arguments.first() == Some(&"up") {
        setup::run(Purpose::Test)?;
        build_for_tests()?;
    }
    let program = repository::debug_program("lab");
    if !program.exists() {
        bail!("there is no lab yet. Make one with `cargo xtask lab up`");
    }
    let error = Command::new(program).args(arguments).exec();
    Err(error).context("start `lab`")
}

/// Tests of one crate start programs of others, which cargo would not build for them. Tests are built along,
/// because without them dependencies have fewer features and would be built a second time.
fn build_for_tests() -> Result<()> {
    say("Building everything (some minutes the first time) ...");
    loud(cargo().args(["build", "--workspace", "--all-targets"]))
}

fn tests(filter: Option<&str>) -> Command {
    let mut command = cargo();
    match program::find("cargo-nextest") {
        Some(_) => command.args(["nextest", "run", "--workspace"]),
        None => command.args(["test", "--workspace", "--all-targets"]),
    };
    command.args(filter);
    command
}

fn cargo() -> Command {
    // Set by the cargo that started this program: the same toolchain goes on.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_refused_with_the_help() {
        for line in [
            &["tset"][..],
            &["test", "a", "b"],
            &["test", "--all"],
            &["bench"],
            &["stack", "now"],
            &["ci", "x"],
        ] {
            let arguments: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            let error = run(&arguments).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`cargo xtask {}` is not a command", line.join(" "))),
                "{error}"
            );
            assert!(error.contains("cargo xtask up"), "{error}");
        }
    }
}
