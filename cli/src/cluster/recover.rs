//! `clusterctl recover`: the last control node goes on alone when the others are gone for good.
//!
//! ```text
//!   look ─► confirm ─► stop etcd ─► copy ─► start it once, alone ─► let the cluster go on ─► start it as usual
//!           journal ──────────────────────────── until all is done, the same command goes on here ────────────►
//! ```
//!
//! The others must not run: they would go on as the cluster they were. When they come back all the same, nothing of theirs is
//! obeyed, because the store goes on under a later incarnation, and they are let in nowhere.

mod journal;
mod member;
mod survey;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use http::Method;
use jiff::Timestamp;
use proto::api::{Recovered, Recovery, StoreInfo, StoreMember};
use service::durable::free_bytes;

use super::{
    api::Api,
    choices::Choices,
    doctor::finding::{Finding, Grade},
    layout::{ETCD, Layout},
    provision::saved_choices,
    record::{Hold, Lock},
    supervisor::Command,
    up::data_flag,
};
use crate::output;
use journal::Journal;
use member::Alone;

const STORE: &str = "/v1/cluster/store";
/// How long the store may take to answer after it was started.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// What was asked for.
pub struct Recover {
    /// The node that is left.
    pub layout: Layout,
    /// The nodes that are gone, given in advance; none: to be asked for.
    pub confirm_dead: Vec<String>,
}

/// Recovers the cluster, or goes on with a recovery that was cut off.
pub async fn recover(asked: Recover) -> anyhow::Result<ExitCode> {
    let layout = &asked.layout;
    let choices = saved_choices(layout).context("read the choices of this node")?;
    let Some(choices) = choices.filter(|choices| choices.programs().contains(&ETCD)) else {
        bail!(
            "find a member of the store in `{}`: this is for the control node that is left",
            layout.data.display()
        );
    };
    let Some(_lock) = Lock::take(layout, "recover").context("take the lock of `recover`")? else {
        bail!("recover: another `clusterctl recover` is at work here. Wait for it to end");
    };
    let api = Api::of_operator(layout, &choices)?.here();
    let journal = match Journal::read(layout).context("read how far the recovery came")? {
        Some(journal) => go_on(layout, &api, journal).await?,
        None => begin(layout, &api, asked.confirm_dead).await?,
    };
    let recovered = go(layout, &choices, &api, journal.clone()).await?;
    Journal::remove(layout).context("note that the recovery is done")?;
    tell(layout, &journal, &recovered);
    Ok(ExitCode::SUCCESS)
}

/// Looks whether it is called for, has it confirmed, and notes that it begins. Nothing is changed before that.
async fn begin(layout: &Layout, api: &Api, named: Vec<String>) -> anyhow::Result<Journal> {
    let store: StoreInfo = api.get(STORE).await.context(
        "ask the controller of this node for the members of the store; `clusterctl up` starts it",
    )?;
    let others = survey::lost(&store)?;
    let named = if named.is_empty() { ask(&others)? } else { named };
    survey::check_named(&others, &named)?;
    survey::check_silent(&others).await?;
    let (size, free) = (member::size(layout)?, free_bytes(&layout.data)?);
    if free < size.saturating_mul(2) {
        bail!(
            "copy the store first: that takes {} MiB and {} MiB are free. Free some; nothing was changed",
            size >> 20,
            free >> 20
        );
    }
    let operation = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let dead = others.into_iter().map(|member| member.node).collect();
    let journal = Journal { operation, dead, is_copied: false };
    journal.write(layout).context("note that the recovery begins")?;
    Ok(journal)
}

/// Goes on with one that was cut off, unless the others came back before anything was done.
async fn go_on(layout: &Layout, api: &Api, journal: Journal) -> anyhow::Result<Journal> {
    let store: Option<StoreInfo> = api.get(STORE).await.ok();
    let is_whole = |store: &StoreInfo| {
        store.without_quorum_ms.is_none() && store.members.iter().any(|member| !member.is_here)
    };
    if store.as_ref().is_some_and(is_whole) {
        Journal::remove(layout).context("call the recovery off")?;
        bail!(
            "go on with the recovery of {}: meanwhile the others came back and the store has its quorum. It is called off; nothing was changed",
            journal.operation
        );
    }
    output::line(format_args!("Going on with the recovery of {}.", journal.operation));
    Ok(journal)
}

fn ask(others: &[StoreMember]) -> anyhow::Result<Vec<String>> {
    if !console::user_attended() {
        return Ok(Vec::new());
    }
    output::line("The other members of the store, which must be switched off and stay so:");
    for member in others {
        output::line(format_args!("  {} ({})", member.node, member.address));
    }
    output::line(
        "What only they know is lost. If they may come back, wait: then all goes on by itself.",
    );
    let typed: String = dialoguer::Input::new()
        .with_prompt("Type their names, with commas between them, to go on")
        .interact_text()
        .context("read the answer")?;
    Ok(typed.split(',').map(|name| name.trim().to_owned()).collect())
}

async fn go(
    layout: &Layout,
    choices: &Choices,
    api: &Api,
    mut journal: Journal,
) -> anyhow::Result<Recovered> {
    let command = member::command(layout)?;
    let hold = Hold::of(layout, ETCD.name).context("keep etcd from being started")?;
    step("stopping etcd; apps serve on");
    member::stop(layout, &command)?;
    if !journal.is_copied {
        let copy = member::copy_folder(layout, &journal.operation);
        step(&format!("copying what it has to `{}`", copy.display()));
        member::copy(layout, &journal.operation).context("copy the store")?;
        journal.is_copied = true;
        journal.write(layout).context("note how far the recovery came")?;
    }
    step("starting etcd once, to go on alone");
    let mut alone = Alone::start(layout, &command)?;
    let recovery = Recovery {
        operation: journal.operation.clone(),
        story: story(choices, &journal.dead),
        dead: journal.dead.clone(),
    };
    let recovered = until_recovered(api, &recovery, &mut alone).await?;
    step(&format!("the cluster goes on as incarnation `{}`", recovered.incarnation));
    alone.end().await?;
    drop(hold);
    step("starting etcd as usual");
    until_usual(layout, api, &command).await?;
    Ok(recovered)
}

/// What the store keeps of it.
fn story(choices: &Choices, dead: &[String]) -> String {
    let user = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    format!(
        "`clusterctl recover` on {}, without {}, by user id {}",
        choices.node,
        dead.join(", "),
        user.trim()
    )
}

/// Asks the controller until the store takes the write.
async fn until_recovered(
    api: &Api,
    recovery: &Recovery,
    alone: &mut Alone,
) -> anyhow::Result<Recovered> {
    let began = Instant::now();
    loop {
        alone.check()?;
        match api.send(Method::POST, "/v1/cluster/recovery", recovery).await {
            Ok(recovered) => return Ok(recovered),
            Err(error) if began.elapsed() > ANSWER_DEADLINE => {
                return Err(error.context("let the cluster go on; run this again"));
            }
            Err(_) => tokio::time::sleep(LOOK_PERIOD).await,
        }
    }
}

/// Waits until the supervisor runs etcd again and the controller writes to it.
async fn until_usual(layout: &Layout, api: &Api, command: &Command) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let is_kept = super::supervisor::find(layout, command).is_some();
        let store: anyhow::Result<StoreInfo> = api.get(STORE).await;
        if is_kept && store.as_ref().is_ok_and(|store| store.without_quorum_ms.is_none()) {
            return Ok(());
        }
        if began.elapsed() > ANSWER_DEADLINE {
            bail!(
                "see etcd and the controller well within {ANSWER_DEADLINE:?}: see `clusterctl status`, then run this again"
            );
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn step(what: &str) {
    output::line(format_args!("- {what}"));
}

fn tell(layout: &Layout, journal: &Journal, recovered: &Recovered) {
    let (data, copy) = (data_flag(layout), member::copy_folder(layout, &journal.operation));
    output::line(format_args!(
        "\nThe cluster goes on with this node, as incarnation `{}`. What was before is in `{}`; delete it when all is well.",
        recovered.incarnation,
        copy.display()
    ));
    output::line(
        "Whatever is left of the others must not start with its old disk. For each, one after the other:\n",
    );
    for node in &journal.dead {
        output::line(format_args!("  here            clusterctl nodes:replace {node}{data}"));
    }
    output::line("  on the machine  clusterctl down --wipe, if it had been in the cluster");
    output::line("                  clusterctl join, as `nodes:replace` prints it");
}

/// What `doctor` says of a recovery that was cut off.
pub fn finding(layout: &Layout) -> Option<Finding> {
    let journal = Journal::read(layout).ok().flatten()?;
    let seen = format!("that of {} was begun and is not done", journal.operation);
    let advice = format!("`clusterctl recover{}` goes on with it", data_flag(layout));
    Some(Finding::new("recovery", Grade::Problem, seen, advice))
}
