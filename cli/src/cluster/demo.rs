//! The newcomer's path, walked with the real clients: register, add a key, create an app, push it, ask it.
//!
//! Each step finds out whether it was done before, so that the path can be walked again from any place where it broke off.

mod page;
mod walk;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::{
    choices::Choices,
    layout::Layout,
    wire::{self, Answer, HttpError},
};
use walk::Walk;

/// The app that is made.
const APP: &str = "demo";
/// Its first page takes no time; a unit that just started may.
const VISIT_LIMIT: Duration = Duration::from_secs(15);
/// What the walk needs of this machine.
const TOOLS: [&str; 3] = ["git", "ssh", "ssh-keygen"];

/// What stands in the way of a demo with this folder.
pub fn problems(folder: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    if !folder.is_dir() {
        problems.push(format!("--demo `{}` is not a folder.", folder.display()));
    }
    if beside_us("paasctl").is_none() {
        problems.push(
            "--demo needs `paasctl` beside clusterctl. Build it with `cargo build --release`."
                .to_owned(),
        );
    }
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| in_path(tool).is_none()).collect();
    if !missing.is_empty() {
        problems.push(format!(
            "--demo needs {}. Install with `apt-get install git openssh-client`.",
            missing.join(", ")
        ));
    }
    problems
}

/// Pushes the folder as the app `demo`, unless it serves already, and shows that it answers.
pub async fn show(layout: &Layout, choices: &Choices, folder: &Path) -> anyhow::Result<ExitCode> {
    let walk = Walk::new(layout, choices)?;
    let is_known = walk.log_in()?;
    let answered = visit(choices).await;
    let is_there = is_known && walk.has_app();
    if is_there && answered.iter().all(is_page) {
        println!("The app `{APP}` is there already.");
    } else {
        walk.push(folder, is_there)?;
    }
    let answers = visit(choices).await;
    tell(choices, &answers);
    if !answers.iter().all(is_page) {
        eprintln!(
            "clusterctl: the demo does not answer as it should. Look with `{} logs -a {APP}`.",
            paasctl()
        );
        return Ok(ExitCode::FAILURE);
    }
    walk.tell_next();
    Ok(ExitCode::SUCCESS)
}

/// What the app answers over HTTP and over HTTPS.
async fn visit(choices: &Choices) -> [Result<Answer, HttpError>; 2] {
    let host = format!("{APP}.{}", choices.domain);
    let at = |port| SocketAddr::new(reachable(choices.bind), port);
    let (http, https) = tokio::join!(
        wire::visit(at(choices.ports.http), &host, VISIT_LIMIT),
        wire::visit_over_tls(at(choices.ports.https), &host, &choices.ca_out, VISIT_LIMIT),
    );
    [http, https]
}

fn is_page(answer: &Result<Answer, HttpError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status.is_success())
}

fn tell(choices: &Choices, answers: &[Result<Answer, HttpError>; 2]) {
    println!();
    for (scheme, answer) in ["http", "https"].into_iter().zip(answers) {
        let url = choices.app_url(scheme, APP);
        match answer {
            Ok(answer) => {
                let text = page::gist(&String::from_utf8_lossy(&answer.body));
                println!("  {url}\n      answers {}: {text}", answer.status);
            }
            Err(error) => println!("  {url}\n      does not answer: failed to {error}"),
        }
    }
    println!("  (with curl: --cacert {} for https)", choices.ca_out.display());
}

/// Where on this machine a listener can be reached.
fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        bind => bind,
    }
}

/// How to type `paasctl` here: by its name where that finds ours.
pub fn paasctl() -> String {
    match beside_us("paasctl") {
        Some(ours) if in_path("paasctl").as_ref() != Some(&ours) => ours.display().to_string(),
        Some(_) | None => "paasctl".to_owned(),
    }
}

fn beside_us(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
