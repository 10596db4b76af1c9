//! What is run, and where.

use std::collections::BTreeMap;

use model::node::Node;
use model::snapshot::Snapshot;
use model::time::Time;
use proto::agent::{Resize, RunStart};
use proto::api::RunRequest;
use proto::problem::{Code, Problem};

use crate::accounts::secret;
use crate::api::Api;
use crate::api::access::AppAccess;
use crate::api::answer::{Answer, Failure};
use crate::api::changing::current_release;
use crate::api::config;
use crate::change::Refusal;
use crate::change::config::difference;
use crate::environment::environment;

/// The most arguments.
const MAX_ARGUMENTS: usize = 1_000;
/// The most bytes of all arguments.
const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// The process type of one-off commands.
const PROCESS: &str = "run";

/// A command ready to be sent to an agent.
pub(super) struct Start {
    pub(super) node: String,
    /// `host:port`.
    pub(super) agent: String,
    pub(super) start: RunStart,
}

pub(super) async fn prepare(api: &Api, access: &AppAccess, request: RunRequest) -> Answer<Start> {
    check_command(&request.command)?;
    let release = current_release(api, &access.app.value).await?;
    let release = release.ok_or(Refusal::NothingDeployed)?;
    let image = release.build.as_ref().ok_or(Refusal::NothingDeployed)?.image.clone();
    let mut variables = config::open(&api.seal, Some(&release))?;
    if !request.env.is_empty() {
        let extra: BTreeMap<String, String> = request.env;
        variables.extend(difference(&variables, &extra, &[])?.set);
    }
    let name = secret::new_id();
    let env = environment(variables, &release, PROCESS, &format!("{PROCESS}.{name}"));
    let limits = release.one_off_limits();
    let memory_bytes = limits.memory_bytes.unwrap_or(api.platform.default_memory_bytes);
    let view = api.view.borrow().clone();
    let node = choose(&view.snapshot, memory_bytes, view.as_of)?;
    Ok(Start {
        node: node.name.to_string(),
        agent: node.addresses.agent.clone(),
        start: RunStart {
            app: access.name().to_string(),
            name,
            image,
            command: request.command,
            env: env.into_iter().collect(),
            memory_bytes,
            cpu_millis: limits.cpu_millis.unwrap_or(0),
            tty: request.tty,
            size: Some(Resize { rows: request.rows, columns: request.columns }),
            detach: request.detach,
        },
    })
}

fn check_command(command: &[String]) -> Answer<()> {
    let bytes: usize = command.iter().map(String::len).sum();
    let is_sane = (1..=MAX_ARGUMENTS).contains(&command.len())
        && bytes <= MAX_COMMAND_BYTES
        && !command[0].is_empty()
        && command.iter().all(|word| !word.contains('\0'));
    match is_sane {
        true => Ok(()),
        false => Err(Failure::invalid("a command is a list of 1 to 1000 arguments")),
    }
}

/// The node with the most room. Its agent has the last word.
fn choose(snapshot: &Snapshot, memory_bytes: u64, now: Time) -> Result<&Node, Problem> {
    let free = |node: &&Node| node.memory_bytes.saturating_sub(snapshot.reserved_bytes(&node.name));
    let placeable = snapshot.nodes.values().filter(|node| node.is_placeable(now));
    let Some(best) = placeable.max_by_key(free) else {
        return Err(Problem::new(Code::NoRoom, "no node is ready to run commands")
            .hint("an administrator sees the nodes with `clusterctl status`"));
    };
    if free(&best) < memory_bytes {
        let message = format!(
            "no node has {} MiB of memory free (the most is {} MiB)",
            memory_bytes >> 20,
            free(&best) >> 20
        );
        return Err(Problem::new(Code::NoRoom, message).hint("scale something down, or add a node"));
    }
    Ok(best)
}
