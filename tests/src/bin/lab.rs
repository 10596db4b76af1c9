//! `cargo xtask lab`: makes a lab of several hosts on this machine, does things to them, and clears it away.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tests::lab::Lab;

/// The number of the lab that people play with; tests have others.
const NUMBER: u8 = 0;
const DATA: &str = "/var/lib/trireme-lab";
const USUAL_NODES: u8 = 3;
const USUAL_KILOBITS: u32 = 1_000;

const HELP: &str = "\
cargo xtask lab up [--nodes N] [--data DIR]   Make N hosts (3) and a cluster of them; everything lies in DIR.
cargo xtask lab status                        Show each host and how its node is.
cargo xtask lab run NODE PROGRAM ...          Run a program on a host; `clusterctl` and `docker` are the host's own.
cargo xtask lab kill NODE                     SIGKILL all its processes; its network still answers.
cargo xtask lab power-off NODE                The same, and the cable is dead.
cargo xtask lab start NODE                    Power and cable again.
cargo xtask lab cut NODE | heal NODE          Pull the cable, put it in again.
cargo xtask lab slow NODE [KBIT]              Let only KBIT/s (1000) through the cable until `heal`.
cargo xtask lab down                          End and remove everything, also after a crash.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tests::say(&format!("error: failed to {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match *arguments {
        ["up", ref options @ ..] => up(options),
        ["down"] => match Lab::open(NUMBER) {
            Ok(lab) => lab.down(),
            Err(_) => {
                tests::say("There is no lab.");
                Ok(())
            }
        },
        ["status"] => status(&Lab::open(NUMBER)?),
        ["help"] => {
            tests::say(HELP);
            Ok(())
        }
        ["run", node, program, ref rest @ ..] => {
            let host = Lab::open(NUMBER)?.host(node)?;
            let ended = match program {
                "clusterctl" => host.clusterctl(rest).status()?,
                "docker" => host.docker(rest).status()?,
                _ => host.command(program).args(rest).status()?,
            };
            if ended.success() { Ok(()) } else { bail!("run `{program}` on {node}: {ended}") }
        }
        ["slow", node] => Lab::open(NUMBER)?.host(node)?.slow(USUAL_KILOBITS),
        ["slow", node, kilobits] => {
            let kilobits = kilobits.parse().with_context(|| format!("read `{kilobits}`"))?;
            Lab::open(NUMBER)?.host(node)?.slow(kilobits)
        }
        [action, node] => {
            let host = Lab::open(NUMBER)?.host(node)?;
            match action {
                "kill" => host.kill(),
                "power-off" => host.power_off(),
                "start" => host.start(),
                "cut" => host.cut(),
                "heal" => host.heal(),
                _ => bail!("understand `{action}`.\n\n{HELP}"),
            }
        }
        _ => bail!("understand `{}`.\n\n{HELP}", arguments.join(" ")),
    }
}

fn up(options: &[&str]) -> Result<()> {
    let (mut nodes, mut data) = (USUAL_NODES, PathBuf::from(DATA));
    for option in options.chunks(2) {
        match *option {
            ["--nodes", count] => {
                nodes = count.parse().with_context(|| format!("read `{count}`"))?;
            }
            ["--data", folder] => data = std::path::absolute(folder)?,
            _ => bail!("understand `{}`.\n\n{HELP}", option.join(" ")),
        }
    }
    let programs = std::env::current_exe()?;
    let programs = programs.parent().context("find the programs")?.to_owned();
    tests::say("Making hosts and a cluster of them (about a minute) ...");
    let lab = Lab::up(Lab { number: NUMBER, nodes, data, programs })?;
    status(&lab)?;
    let first = &lab.hosts()[0];
    tests::say(&format!(
        "\n  paasctl register {} --ca-file {}\n  cargo xtask lab run n1 curl -H 'Host: APP.apps.localhost' http://{}/\n",
        first.api(),
        first.ca_file().display(),
        first.address,
    ));
    Ok(())
}

fn status(lab: &Lab) -> Result<()> {
    for host in lab.hosts() {
        let state = match (host.is_on(), host.ready_nodes()) {
            (false, _) => "off".to_owned(),
            (true, ready) => format!("on, sees {ready} of {} nodes ready", lab.nodes),
        };
        tests::say(&format!("{}  {}  {state}", host.name, host.address));
    }
    Ok(())
}
