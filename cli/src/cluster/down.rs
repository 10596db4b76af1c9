//! `clusterctl down`: stops the programs and the containers of this node's apps; with `--wipe` also removes the data.

use std::{fs, process::ExitCode};

use anyhow::{Context, bail};

use super::{
    choices::Choices, control, docker::Docker, layout::Layout, provision::saved_choices,
    up::data_flag,
};
use crate::output::Progress;

/// What was asked for.
pub struct Down {
    /// The cluster.
    pub layout: Layout,
    /// Whether its data goes too.
    pub wipe: bool,
    /// The node's name, given in advance.
    pub confirm: Option<String>,
}

/// Stops the cluster. That nothing runs is no error.
pub async fn down(down: Down) -> anyhow::Result<ExitCode> {
    let layout = &down.layout;
    let shown = layout.data.display();
    let Some(choices) = saved_choices(layout).context("read the choices of this cluster")? else {
        if layout.restoring().exists() {
            bail!(
                "find a cluster in `{shown}`: it holds what a restore left that was cut off. Run the restore again, or remove the folder"
            );
        }
        println!("There is no cluster in `{shown}`.");
        return Ok(ExitCode::SUCCESS);
    };
    if down.wipe {
        confirm(&choices, layout, down.confirm)?;
    }
    let was_running = control::is_supervised(layout) || !control::living(layout).is_empty();
    stop_programs(layout.clone()).await?;
    let docker = Docker::new(&choices.docker_socket);
    let removed = docker.remove_containers(&choices.node).await;
    match &removed {
        Ok(0) => {}
        Ok(1) => println!("1 container of apps stopped and removed."),
        Ok(count) => println!("{count} containers of apps stopped and removed."),
        Err(error) => eprintln!(
            "clusterctl: the containers of apps may still run: {:#}. Start Docker, then run this again.",
            anyhow::Error::msg(error.to_string())
        ),
    }
    if down.wipe {
        wipe(layout, &choices, &docker).await?;
    } else {
        let state = if was_running { "Trireme is stopped" } else { "Trireme was not running" };
        println!(
            "{state}. Its data is kept in `{shown}`; `clusterctl up{}` starts it again.",
            data_flag(layout)
        );
    }
    Ok(if removed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn stop_programs(layout: Layout) -> anyhow::Result<()> {
    let stopping = move || {
        let mut progress = Progress::new();
        if control::is_supervised(&layout) {
            progress.say("stopping the programs");
        }
        control::stop_all(&layout, |step| progress.say(step))
    };
    tokio::task::spawn_blocking(stopping).await.context("stop the programs")??;
    Ok(())
}

fn confirm(choices: &Choices, layout: &Layout, given: Option<String>) -> anyhow::Result<()> {
    let given = match given {
        Some(given) => given,
        None if console::user_attended() => {
            println!(
                "This removes every app, image, volume and secret of the cluster in `{}`.",
                layout.data.display()
            );
            dialoguer::Input::new()
                .with_prompt(format!("Type the node's name, {}, to go on", choices.node))
                .interact_text()
                .context("read the answer")?
        }
        None => bail!("confirm that all data goes: add `--confirm {}`", choices.node),
    };
    if given.trim() != choices.node {
        bail!(
            "confirm that all data goes: `{given}` is not this node's name, `{}`; nothing was changed",
            choices.node
        );
    }
    Ok(())
}

async fn wipe(layout: &Layout, choices: &Choices, docker: &Docker) -> anyhow::Result<()> {
    // Images that stay only take space, and the next cluster does not know them.
    let registry = format!("127.0.0.1:{}", choices.ports.registry);
    match docker.remove_images(&registry).await {
        Ok(0) => {}
        Ok(count) => println!("{count} names of app images removed."),
        Err(error) => eprintln!("clusterctl: images of apps stay in Docker: {error}"),
    }
    remove_published_authority(layout, choices);
    fs::remove_dir_all(&layout.data)
        .with_context(|| format!("remove `{}`", layout.data.display()))?;
    println!("Trireme is stopped and `{}` is removed.", layout.data.display());
    Ok(())
}

/// Only our own certificate: another cluster may have been given the same place since.
fn remove_published_authority(layout: &Layout, choices: &Choices) {
    let ours = fs::read(layout.authority().join("ca.pem")).ok();
    if ours.is_some() && fs::read(&choices.ca_out).ok() == ours {
        // A certificate that stays behind is of no use to anybody.
        let _ = fs::remove_file(&choices.ca_out);
    }
}
