//! `clusterctl up`: look first, then make what is missing, start it, and wait until everything is well.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use service::durable::create_private_dir;

use super::{
    choices::{Choices, Wishes},
    control, demo, etcd,
    health::{self, ProgramStatus},
    layout::{ETCD, Layout},
    logs,
    preflight::{self, Intent},
    provision::{self, provision, saved_choices},
    record::Lock,
};
use crate::output::Progress;

/// How long the programs may take until all are well.
const WELL_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// A program that ended this often meanwhile will not become well by waiting.
const MAX_ENDS: u32 = 3;
/// Lines of the sick program's log that are shown.
const SHOWN_LINES: usize = 15;

/// What was asked for.
pub struct Up {
    /// The cluster.
    pub layout: Layout,
    /// What is to be chosen differently.
    pub wishes: Wishes,
    /// An app to push when all is well.
    pub demo: Option<PathBuf>,
}

/// Brings the cluster up, or says why it cannot be.
pub async fn up(up: Up) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let layout = &up.layout;
    let saved = saved_choices(layout).context("read the choices of this cluster")?;
    let known = saved.clone();
    let choices =
        known.unwrap_or_else(|| Choices::new(layout, &provision::host_name())).with(&up.wishes);
    let running: Vec<String> = control::living(layout).into_iter().map(|(name, _)| name).collect();
    let supervised = control::is_supervised(layout);
    if (supervised || !running.is_empty()) && saved.as_ref() != Some(&choices) {
        return Ok(refuse(&[format!(
            "the cluster runs with other settings than these. Stop it with `clusterctl down{}` (its data is kept), then run this again.",
            data_flag(layout)
        )]));
    }
    let is_complete = supervised && running.len() == choices.programs().len();
    let problems = if is_complete {
        up.demo.as_deref().map(demo::problems).unwrap_or_default()
    } else {
        begin(&up, &choices, saved.as_ref(), &running).await?
    };
    if !problems.is_empty() {
        return Ok(refuse(&problems));
    }
    if let Err(sick) = wait_until_well(layout, &choices).await {
        tell_sick(layout, &choices, &sick);
        return Ok(ExitCode::FAILURE);
    }
    let state = if is_complete { "Trireme is running already" } else { "Trireme is up" };
    println!(
        "{state}: {} programs are well ({:.1} s).",
        choices.programs().len(),
        begun.elapsed().as_secs_f64()
    );
    match up.demo {
        Some(folder) => demo::show(layout, &choices, &folder).await,
        None => {
            print_next(layout, &choices);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Looks, then makes and starts what is missing. Returns what is in the way; then nothing was changed.
async fn begin(
    up: &Up,
    choices: &Choices,
    saved: Option<&Choices>,
    running: &[String],
) -> anyhow::Result<Vec<String>> {
    let layout = &up.layout;
    let programs = &programs_folder()?;
    let demo = up.demo.as_deref();
    let intent = Intent { layout, choices, saved, programs, running, demo };
    let problems = preflight::problems(&intent).await;
    if !problems.is_empty() {
        return Ok(problems);
    }
    create_private_dir(&layout.data)?;
    create_private_dir(&layout.run())?;
    let Some(_lock) = Lock::take(layout, "up").context("take the lock of `up`")? else {
        return Ok(vec!["another `clusterctl up` is at work here. Wait for it to end.".to_owned()]);
    };
    println!("Starting Trireme in `{}` as node `{}`.", layout.data.display(), choices.node);
    provision(layout, choices, programs).context("prepare the cluster")?;
    control::ensure_supervised(layout).context("start the supervisor")?;
    Ok(Vec::new())
}

/// Where the programs are: beside this one.
pub fn programs_folder() -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe().context("find the folder of the programs")?;
    Ok(executable.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Waits for all programs; the error is the first one, in the order of their start, that does not get well.
pub async fn wait_until_well(layout: &Layout, choices: &Choices) -> Result<(), ProgramStatus> {
    let mut progress = Progress::new();
    let deadline = Instant::now() + WELL_DEADLINE;
    let mut first: Option<Vec<ProgramStatus>> = None;
    loop {
        let all = health::all(layout, choices).await;
        let before = first.get_or_insert_with(|| all.clone());
        let ended_often = all.iter().zip(before.iter()).find(|(now, then)| {
            !now.is_well() && now.restarts.saturating_sub(then.restarts) >= MAX_ENDS
        });
        if let Some((sick, _)) = ended_often {
            return Err(sick.clone());
        }
        let unwell: Vec<&ProgramStatus> = all.iter().filter(|status| !status.is_well()).collect();
        let Some(sick) = unwell.first() else { return Ok(()) };
        if Instant::now() > deadline {
            return Err((*sick).clone());
        }
        let names: Vec<&str> = unwell.iter().map(|status| status.name).collect();
        progress.say(&format!("waiting for {}", names.join(", ")));
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// Says what is in the way.
pub fn refuse(problems: &[String]) -> ExitCode {
    eprintln!("clusterctl: nothing was changed, because:");
    for problem in problems {
        eprintln!("  - {problem}");
    }
    ExitCode::FAILURE
}

/// Says what ails a program, and what to do next.
pub fn tell_sick(layout: &Layout, choices: &Choices, sick: &ProgramStatus) {
    let program = sick.name;
    eprintln!(
        "clusterctl: `{program}` does not get well: {} ({}).",
        sick.health.words(),
        sick.state
    );
    if let Some(end) = &sick.last_end {
        eprintln!("It ended {} times, last with: {end}.", sick.restarts.max(1));
    }
    let lines = logs::last_lines(layout, program, SHOWN_LINES);
    if !lines.is_empty() {
        eprintln!("Its last lines:");
        for line in lines {
            eprintln!("  {line}");
        }
    }
    if program == ETCD.name
        && let Some(advice) = etcd::removal(layout, &choices.node)
    {
        eprintln!("Next: {advice}.");
        return;
    }
    let data = data_flag(layout);
    eprintln!(
        "Next: `clusterctl doctor{data}` looks for the cause, `clusterctl logs {program} -f{data}` shows more; it is started again until `clusterctl down{data}`."
    );
}

fn print_next(layout: &Layout, choices: &Choices) {
    println!("\n  API    {}", choices.api_url());
    println!(
        "  apps   {} and {}",
        choices.app_url("http", "<app>"),
        choices.app_url("https", "<app>")
    );
    println!("  git    port {}; `paasctl apps:create` adds the remote `deis`", choices.ports.ssh);
    println!("  CA     {} (anyone on this machine may read it)", choices.ca_out.display());
    println!("  data   {}", layout.data.display());
    println!("\nWhere nobody has registered yet, the first to do so becomes the administrator:\n");
    println!(
        "  {} register {} --ca-file {}",
        demo::paasctl(),
        choices.api_url(),
        choices.ca_out.display()
    );
    let data = data_flag(layout);
    println!(
        "\n`clusterctl status{data}` shows the programs, `clusterctl down{data}` stops them and keeps the data."
    );
}

/// The flag that names this cluster in commands shown to the user.
pub fn data_flag(layout: &Layout) -> String {
    if layout.data == Path::new(super::layout::DEFAULT_DATA) {
        return String::new();
    }
    format!(" --data {}", layout.data.display())
}
