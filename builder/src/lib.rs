//! Git pushes in, images and releases out.
//!
//! In come SSH sessions of people who push; out go images by digest to the registry, and builds to the controller,
//! which makes releases of them. It decides nothing about rights, never runs a string of a user in a host shell and
//! keeps nothing but the repositories. Read `ssh.rs` first, then `push.rs`, which tells the story of a push.

mod config;
mod control;
mod git;
mod history;
pub mod hook;
mod image;
mod log;
mod output;
mod push;
pub mod recipe;
mod source;
mod ssh;

use std::sync::Arc;

use anyhow::Context;
use service::{Admin, Clock, Identity, Stop, Tasks};
use tokio::net::{TcpListener, UnixListener};

pub use config::Config;
use control::Control;
use git::Repositories;
use history::Histories;
use image::Images;
use link::Gateways;
use push::{Builds, Parts, Sessions};

/// Runs the builder until `stop`.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    let tasks = Tasks::new(stop.clone());
    let admin = Admin::new("builder");
    let identity = Identity::load(&config.identity).context("load the builder's identity")?;
    let linked = link::Config {
        identity: identity.clone(),
        gateways: config.gateways.clone(),
        folder: config.folder.clone(),
    };
    let control = Control::new(Gateways::start(linked, &tasks)?);
    let (log, log_sender) = log::log(
        service::channel(&identity, &config.logger, "logger")?,
        format!("builder/{}/{:016x}", config.node, rand::random::<u64>()),
        Clock::system(),
        admin.metrics().counter("build_lines_dropped_total", "Build lines the log did not get."),
    );
    let sessions = Sessions::default();
    let repositories = Repositories::open(&config).context("open the repositories")?;
    let images = Images::new(&config);
    let host_key = ssh::host_key(&config.folder).context("read or make the SSH host key")?;

    let ssh_listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on `{}` for SSH", config.listen))?;
    let admin_listener = TcpListener::bind(config.admin_listen)
        .await
        .with_context(|| format!("listen on `{}`", config.admin_listen))?;
    let hook_listener =
        UnixListener::bind(repositories.fresh_socket()?).context("listen for the hook")?;
    tracing::info!(ssh = %ssh_listener.local_addr()?, admin = %admin_listener.local_addr()?, "listening");

    let parts = Parts {
        control: control.clone(),
        log,
        sessions: sessions.clone(),
        images: images.clone(),
        tasks: tasks.clone(),
    };
    let builds = Arc::new(Builds::new(&config, parts));
    let histories = Histories::new(&config.registry, control.clone());
    tasks.spawn("histories", histories.clone().make_up(repositories.clone(), stop.clone()));
    let door = ssh::Door { control, sessions, repositories, histories, tasks: tasks.clone() };
    let warm = stop.clone();
    tasks.spawn("prepare images", async move {
        images.remove_stale().await;
        images.warm(warm).await;
    });
    tasks.spawn("log sender", log_sender.run(stop.clone()));
    tasks.spawn("hook", hook::serve(hook_listener, builds, tasks.clone()));
    tasks.spawn("ssh", ssh::serve(ssh_listener, host_key, door));
    tasks.spawn("admin", admin.serve(admin_listener, stop));
    Ok(tasks.finish().await?)
}
