//! `clusterctl store:migrate`: a machine alone becomes the first node of a cluster of several, and its apps serve on.
//!
//! ```text
//!   look ─► certificates ─► etcd beside, empty ─┬─► write down ─► programs take up their settings ─► units are replaced
//!                          the old cluster ◄────┴────► the new one, whatever is cut off
//! ```
//!
//! What is written down decides: the choices, then the settings made from them. The supervisor gives each program its new
//! settings, and the new controller moves the memory before it serves anything. So whoever is cut off, what is started again
//! is started as the new cluster, and the same command run again does what is left.

mod beside;
mod look;
mod units;

use std::{
    net::IpAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use proto::api::NewJoinToken;

use super::{
    ClusterArguments,
    choices::{Choices, Wishes},
    control,
    health::{self, ProgramStatus},
    init,
    layout::{ETCD, Layout},
    provision::{provision, saved_choices},
    record::Lock,
    several::Several,
    supervisor,
    up::{self, data_flag},
};
use crate::output::{self, Progress};

/// How long a program may take until it has its new settings and is well. A router first lets the old one's connections
/// end; the controller moves the memory.
const WELL_DEADLINE: Duration = Duration::from_secs(120);
/// A program that ended this often will not become well by waiting.
const MAX_ENDS: u32 = 3;
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What was asked for.
#[derive(Args)]
pub struct Migrate {
    /// The address at which other nodes will reach this machine
    #[arg(long, value_name = "IP")]
    address: IpAddr,
    /// The cluster's name
    #[arg(long, value_name = "NAME", default_value = "trireme")]
    cluster_name: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Makes this node the first of several, or goes on where an earlier try was cut off.
pub async fn migrate(asked: Migrate) -> anyhow::Result<ExitCode> {
    let layout = &asked.cluster.layout();
    let saved = saved_choices(layout).context("read the choices of this cluster")?;
    let Some(saved) = saved else {
        bail!("find a cluster in `{}`; name its folder with --data", layout.data.display());
    };
    let next = next(&saved, &asked)?;
    let is_decided = saved == next;
    if !is_decided {
        let problems = look::problems(layout, &saved, &next).await;
        if !problems.is_empty() {
            return Ok(up::refuse(&problems));
        }
    } else if !control::is_supervised(layout) {
        let wishes = Wishes::default();
        let code = up::up(up::Up { layout: layout.clone(), wishes, demo: None }).await?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    let Some(_lock) = Lock::take(layout, "up").context("take the lock of `up`")? else {
        bail!("move the store while `clusterctl up` or an upgrade is at work here");
    };
    if !is_decided && let Err(sick) = beside::start(layout, &next).await? {
        up::tell_sick(layout, &next, &sick);
        beside::end(layout).await?;
        eprintln!("etcd is stopped again; the cluster is as it was.");
        return Ok(ExitCode::FAILURE);
    }
    step("writing down that this node is one of several; its programs take it up");
    let programs = supervisor::programs_folder(layout)?;
    provision(layout, &next, &programs).context("write it down; run this again")?;
    supervisor::tell(layout)?;
    if let Err(sick) = taken_up(layout, &next).await {
        up::tell_sick(layout, &next, &sick);
        eprintln!("Apps serve on. When that is mended, run this again: it goes on where it was.");
        return Ok(ExitCode::FAILURE);
    }
    let left = units::replace(layout, &next).await?;
    output::line(format_args!("\n`{}` is the first node of several now.", next.node));
    output::line("");
    let code = init::create_token(layout, &NewJoinToken::default(), false).await?;
    if left.is_empty() {
        return Ok(code);
    }
    tell_left(layout, asked.address, &left);
    Ok(ExitCode::FAILURE)
}

/// What this node shall be, or is already.
fn next(saved: &Choices, asked: &Migrate) -> anyhow::Result<Choices> {
    match &saved.several {
        None => {
            let base = saved.ports.base;
            let several = Several::first(&asked.cluster_name, asked.address, &saved.node, base);
            Ok(Choices { several: Some(several), ..saved.clone() })
        }
        Some(several) if several.address == asked.address && several.began_here => {
            Ok(saved.clone())
        }
        Some(several) => bail!(
            "make this node the first of several: it is one of several already, at {}",
            several.address
        ),
    }
}

/// Waits until every program has its new settings; the error is the first that does not get well with them.
async fn taken_up(layout: &Layout, choices: &Choices) -> Result<(), ProgramStatus> {
    let mut progress = Progress::new();
    for program in choices.programs().into_iter().filter(|program| *program != ETCD) {
        let begun = Instant::now();
        let before = health::one(layout, choices, program).await;
        loop {
            let now = health::one(layout, choices, program).await;
            if now.is_well() && supervisor::has_settings_as_written(layout, program.name) {
                break;
            }
            let ended_often = now.restarts.saturating_sub(before.restarts) >= MAX_ENDS;
            if ended_often || begun.elapsed() > WELL_DEADLINE {
                return Err(now);
            }
            progress.say(&format!("waiting for the {}", program.name));
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        let took = begun.elapsed().as_secs_f64();
        output::line(format_args!("{}: well ({took:.1} s)", program.name));
    }
    // Those that were first have lost sight of those that were last.
    up::wait_until_well(layout, choices).await
}

fn step(what: &str) {
    output::line(format_args!("- {what}"));
}

fn tell_left(layout: &Layout, address: IpAddr, left: &[String]) {
    eprintln!(
        "clusterctl: these apps are reached through this node only, until their units are replaced:"
    );
    for app in left {
        eprintln!("  {app}");
    }
    eprintln!(
        "When there is room, `clusterctl store:migrate --address {address}{}` replaces what is left.",
        data_flag(layout)
    );
}
