//! `clusterctl`: brings a cluster up on this machine, keeps its programs running, shows how they are, takes it down.
//!
//! The way through an `up`: `preflight` looks, `provision` makes, `supervisor` starts and keeps, `health` waits.

mod api;
mod backup;
mod certificate;
mod certs;
mod choices;
mod control;
mod demo;
mod docker;
mod doctor;
mod down;
mod etcd;
mod health;
mod help;
mod init;
mod join;
mod join_token;
mod layout;
mod log_line;
mod logs;
mod migrate;
mod nodes;
mod pinned;
mod preflight;
mod process;
mod provision;
mod record;
mod recover;
mod registry;
mod replace;
mod restore;
mod settings_file;
mod several;
mod status;
mod supervisor;
mod up;
mod upgrade;
mod wire;

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use choices::{PortWishes, Wishes};
use help::{
    BACKUP_HELP, CERTS_HELP, EXAMPLES, INIT_HELP, JOIN_HELP, MIGRATE_HELP, RECOVER_HELP,
    REPLACE_HELP, RESTORE_HELP, UP_HELP, UPGRADE_HELP,
};
use layout::Layout;
use proto::api::NewJoinToken;

pub use choices::Choices;
pub use layout::{DEFAULT_DATA, PROGRAMS};

/// Runs a Trireme cluster on this machine.
#[derive(Parser)]
#[command(name = "clusterctl", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cluster, making it first where there is none
    #[command(after_help = UP_HELP)]
    Up(UpArguments),
    /// Begin a cluster of several nodes on this machine, and print how others join
    #[command(after_help = INIT_HELP)]
    Init(InitArguments),
    /// Make this machine a node of a cluster
    #[command(after_help = JOIN_HELP)]
    Join(JoinArguments),
    /// Make a token with which one machine can join
    #[command(name = "token:create")]
    TokenCreate {
        /// For how long it can be used
        #[arg(long, default_value_t = 60, value_name = "N")]
        minutes: u32,
        #[command(flatten)]
        asking: AskingArguments,
    },
    /// List the nodes of the cluster
    #[command(after_help = "Exit code: 1 if one is not ready.")]
    Nodes(AskingArguments),
    /// Show a node
    #[command(name = "nodes:info")]
    NodesInfo {
        /// Its name
        node: String,
        #[command(flatten)]
        asking: AskingArguments,
    },
    /// Set labels of a node, or take them away
    #[command(
        name = "nodes:label",
        after_help = "Example: clusterctl nodes:label n2 disk=ssd zone="
    )]
    NodesLabel {
        /// Its name
        node: String,
        /// `label=value`, or `label=` to take it away
        #[arg(required = true)]
        labels: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Take a drained or lost node out of the cluster
    #[command(name = "nodes:remove")]
    NodesRemove(NodeArguments),
    /// Put another machine in the place of a lost node
    #[command(name = "nodes:replace", after_help = REPLACE_HELP)]
    NodesReplace {
        /// The lost node's name
        node: String,
        #[command(flatten)]
        asking: AskingArguments,
    },
    /// Go on with this control node alone when most of them are gone for good
    #[command(after_help = RECOVER_HELP)]
    Recover {
        /// Every other member of the store, to confirm without being asked that they are switched off
        #[arg(long, value_name = "NODES", value_delimiter = ',')]
        confirm_dead: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give a node no new units
    Cordon(NodeArguments),
    /// Give a node units again
    Uncordon(NodeArguments),
    /// Move a node's units away, each when its replacement is ready
    Drain(NodeArguments),
    /// Show what room there is, and what is left when a node is lost
    Capacity(AskingArguments),
    /// Write everything the cluster can be rebuilt from into one file
    #[command(after_help = BACKUP_HELP)]
    Backup(backup::Backup),
    /// Begin a cluster anew on this machine with what a backup holds
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArguments),
    /// Make a machine alone the first node of several; its memory moves to etcd
    #[command(name = "store:migrate", after_help = MIGRATE_HELP)]
    StoreMigrate(migrate::Migrate),
    /// Stop the cluster and the containers of its apps; the data is kept
    Down {
        /// Remove the data as well: every app, image, volume and secret
        #[arg(long)]
        wipe: bool,
        /// The node's name, to confirm --wipe without being asked
        #[arg(long, value_name = "NODE", requires = "wipe")]
        confirm: Option<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show each program: state, process, uptime, restarts, memory, health
    #[command(after_help = "Exit code: 0 all are well, 1 some are not, 3 nothing runs.")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show what a program of the platform wrote (for apps, use `paasctl logs`)
    Logs {
        /// Which one
        program: LogName,
        /// Go on with new lines as they come
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines
        #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
        lines: usize,
        /// Print lines as they were written, as JSON
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Look for what is wrong, and say what to do about it
    #[command(after_help = "Exit code: 1 if there is a problem; warnings alone are 0.")]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Put newer programs in the place of those of this node, and go back if one fails
    #[command(after_help = UPGRADE_HELP)]
    Upgrade {
        /// The folder of the newer programs
        #[arg(long, value_name = "FOLDER", required_unless_present = "check")]
        from: Option<PathBuf>,
        /// Only look whether it can be done, and which node is next
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// List the certificates of this node and how long they hold
    #[command(after_help = CERTS_HELP)]
    Certs(AskingArguments),
    /// Replace the certificates of this node now, keys included
    #[command(name = "certs:rotate", after_help = CERTS_HELP)]
    CertsRotate(ClusterArguments),
    /// Print the completion script of a shell
    #[command(after_help = "Example: source <(clusterctl completion bash)")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Keep the programs running
    #[command(hide = true)]
    Supervise {
        /// As which of the two processes
        #[arg(long)]
        role: supervisor::Role,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

#[derive(Args)]
struct InitArguments {
    /// The address at which the other nodes reach this machine
    #[arg(long, value_name = "IP")]
    address: IpAddr,
    /// The cluster's name
    #[arg(long, value_name = "NAME", default_value = "trireme")]
    cluster_name: String,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Args)]
struct JoinArguments {
    /// What `clusterctl init` or `clusterctl token:create` printed
    #[arg(long)]
    token: join_token::JoinToken,
    /// The address at which the other nodes reach this machine
    #[arg(long, value_name = "IP")]
    address: IpAddr,
    /// Run apps only: no controller, builder and member of etcd
    #[arg(long)]
    no_control: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Args)]
struct RestoreArguments {
    /// What `clusterctl backup` wrote
    file: PathBuf,
    /// The address at which other nodes shall reach this machine
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Make it a cluster of this machine alone, whatever it was
    #[arg(long, conflicts_with = "address")]
    single: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Args)]
struct AskingArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

#[derive(Args)]
struct NodeArguments {
    /// Its name
    node: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

#[derive(Args)]
struct ClusterArguments {
    /// The folder of the cluster's data
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
}

#[derive(Args)]
struct UpArguments {
    #[command(flatten)]
    machine: MachineArguments,
    /// Afterwards create a user and the app `demo`, push this folder and show that it answers
    #[arg(long, value_name = "DIR")]
    demo: Option<PathBuf>,
}

/// What is chosen for a machine.
#[derive(Args)]
struct MachineArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The domain below which apps answer [default: apps.localhost]
    #[arg(long)]
    domain: Option<String>,
    /// This machine's name in the cluster [default: its host name]
    #[arg(long)]
    node: Option<String>,
    /// The address on which users are served [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// Apps over HTTP [default: 80]
    #[arg(long, value_name = "N")]
    http_port: Option<u16>,
    /// Apps over HTTPS [default: 443]
    #[arg(long, value_name = "N")]
    https_port: Option<u16>,
    /// git over SSH [default: 2222]
    #[arg(long, value_name = "N")]
    ssh_port: Option<u16>,
    /// The API [default: 8000]
    #[arg(long, value_name = "N")]
    api_port: Option<u16>,
    /// The image registry, on loopback [default: 5000]
    #[arg(long, value_name = "N")]
    registry_port: Option<u16>,
    /// The first of 16 ports on loopback for the programs among themselves [default: 7400]
    #[arg(long, value_name = "N")]
    base_port: Option<u16>,
    /// The Docker Engine's socket [default: /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,
    /// Where to put the certificate that paasctl must trust [default: /etc/trireme/ca.pem]
    #[arg(long, value_name = "PATH")]
    ca_out: Option<PathBuf>,
}

impl MachineArguments {
    fn wishes(&self) -> Wishes {
        Wishes {
            node: self.node.clone(),
            domain: self.domain.clone(),
            bind: self.bind,
            ports: PortWishes {
                http: self.http_port,
                https: self.https_port,
                ssh: self.ssh_port,
                api: self.api_port,
                registry: self.registry_port,
                base: self.base_port,
            },
            docker_socket: self.docker_socket.clone(),
            ca_out: self.ca_out.clone(),
            several: None,
        }
    }
}

impl ClusterArguments {
    fn layout(&self) -> Layout {
        // Without a trailing slash, so that one cluster has one name.
        Layout::new(self.data.components().collect::<PathBuf>())
    }

    fn nodes(&self) -> anyhow::Result<nodes::Nodes> {
        nodes::Nodes::of(&self.layout())
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum LogName {
    Etcd,
    Controller,
    Agent,
    Builder,
    RegistryProxy,
    Router,
    Logger,
    Supervisor,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs `clusterctl` from its arguments to its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::install_crypto();
    run(arguments.command).unwrap_or_else(|error| {
        eprintln!("clusterctl: failed to {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(arguments) => {
            let machine = arguments.machine;
            let (layout, wishes) = (machine.cluster.layout(), machine.wishes());
            block_on(up::up(up::Up { layout, wishes, demo: arguments.demo }))
        }
        Command::Init(InitArguments { address, cluster_name, machine }) => {
            let (layout, wishes) = (machine.cluster.layout(), machine.wishes());
            block_on(init::init(init::Init { layout, wishes, address, cluster: cluster_name }))
        }
        Command::Join(JoinArguments { token, address, no_control, machine }) => {
            let (layout, wishes) = (machine.cluster.layout(), machine.wishes());
            block_on(join::join(join::Join {
                layout,
                wishes,
                token,
                address,
                control: !no_control,
            }))
        }
        Command::TokenCreate { minutes, asking } => {
            let wanted = NewJoinToken { minutes: Some(minutes), replaces: None };
            block_on(init::create_token(&asking.cluster.layout(), &wanted, asking.json))
        }
        Command::Nodes(asking) => block_on(asking.cluster.nodes()?.list(asking.json)),
        Command::NodesInfo { node, asking } => {
            block_on(asking.cluster.nodes()?.info(&node, asking.json))
        }
        Command::NodesLabel { node, labels, cluster } => {
            block_on(cluster.nodes()?.label(&node, &labels))
        }
        Command::NodesRemove(it) => block_on(it.cluster.nodes()?.remove(&it.node)),
        Command::NodesReplace { node, asking } => {
            block_on(replace::replace(&asking.cluster.layout(), &node, asking.json))
        }
        Command::Recover { confirm_dead, cluster } => {
            let layout = cluster.layout();
            block_on(recover::recover(recover::Recover { layout, confirm_dead }))
        }
        Command::Cordon(it) => block_on(it.cluster.nodes()?.set_duty(&it.node, "cordoned")),
        Command::Uncordon(it) => block_on(it.cluster.nodes()?.set_duty(&it.node, "open")),
        Command::Drain(it) => block_on(it.cluster.nodes()?.drain(&it.node)),
        Command::Capacity(asking) => block_on(asking.cluster.nodes()?.capacity(asking.json)),
        Command::Backup(wanted) => block_on(backup::backup(wanted)),
        Command::Restore(RestoreArguments { file, address, single, machine }) => {
            let (layout, wishes) = (machine.cluster.layout(), machine.wishes());
            block_on(restore::restore(restore::Restore { layout, wishes, file, address, single }))
        }
        Command::StoreMigrate(wanted) => block_on(migrate::migrate(wanted)),
        Command::Down { wipe, confirm, cluster } => {
            block_on(down::down(down::Down { layout: cluster.layout(), wipe, confirm }))
        }
        Command::Status { json, cluster } => block_on(status::status(&cluster.layout(), json)),
        Command::Doctor { json, cluster } => block_on(doctor::doctor(&cluster.layout(), json)),
        Command::Upgrade { from, check, cluster } => {
            block_on(upgrade::upgrade(upgrade::Upgrade { layout: cluster.layout(), from, check }))
        }
        Command::Certs(asking) => certs::list(&asking.cluster.layout(), asking.json),
        Command::CertsRotate(cluster) => block_on(certs::rotate(&cluster.layout())),
        Command::Logs { program, follow, lines, raw, cluster } => {
            let value = program.to_possible_value();
            let name = value.as_ref().map_or("", |value| value.get_name());
            logs::logs(&cluster.layout(), name, &logs::Show { lines, follow, raw })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            complete(shell);
            Ok(ExitCode::SUCCESS)
        }
        Command::Supervise { role, cluster } => {
            supervisor::supervise(&cluster.layout(), role)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn complete(shell: Shell) {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "clusterctl", &mut script);
    crate::output::raw(&script);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_program_has_logs_to_show() {
        let names: Vec<String> = LogName::value_variants()
            .iter()
            .filter_map(|name| Some(name.to_possible_value()?.get_name().to_owned()))
            .collect();
        for program in PROGRAMS {
            assert!(names.contains(&program.name.to_owned()), "{}", program.name);
        }
    }
}
