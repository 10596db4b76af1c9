//! Everything that can be found out before anything is changed: all problems at once, each with the way out.

mod ports;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use service::durable::free_bytes;

use super::{
    choices::Choices,
    demo,
    docker::{Docker, STACK_IMAGE},
    etcd,
    layout::{HOOK, Layout, PROGRAMS},
    restore::unfinished,
};

pub use ports::{holder_of, named, obstacle};

/// A cluster wants this much space at least, for images and the blobs of its registry.
pub const MIN_FREE_BYTES: u64 = 2 << 30;

/// What is about to be started.
pub struct Intent<'a> {
    /// Where.
    pub layout: &'a Layout,
    /// With which choices.
    pub choices: &'a Choices,
    /// The choices of an earlier `up`.
    pub saved: Option<&'a Choices>,
    /// The folder of the programs.
    pub programs: &'a Path,
    /// Programs that run already; their ports are theirs.
    pub running: &'a [String],
    /// An app to push afterwards.
    pub demo: Option<&'a Path>,
}

/// All problems; empty where `up` can go on.
pub async fn problems(intent: &Intent<'_>) -> Vec<String> {
    let mut problems = intent.choices.problems();
    if !rustix::process::geteuid().is_root() {
        problems.push(
            "not root: the platform opens ports below 1024 and drives Docker. Run it with `sudo`."
                .to_owned(),
        );
    }
    problems.extend(conflict(intent));
    problems.extend(unfinished::problem(intent.layout));
    problems.extend(data_problem(&intent.layout.data));
    if intent.choices.problems().is_empty() {
        problems.extend(port_problems(intent));
    }
    problems.extend(missing_programs(intent.programs));
    if intent.choices.several.as_ref().is_some_and(|several| several.control) {
        problems.extend(etcd::problem());
    }
    problems.extend(intent.demo.map(demo::problems).unwrap_or_default());
    problems.extend(docker_problems(intent.choices).await);
    problems
}

/// Choices that cannot change once the cluster is made.
fn conflict(intent: &Intent<'_>) -> Option<String> {
    let saved = intent.saved.filter(|saved| saved.node != intent.choices.node)?;
    Some(format!(
        "--node: the cluster in `{}` calls this machine `{}`, and its apps are placed there. Leave --node out, or use another --data.",
        intent.layout.data.display(),
        saved.node
    ))
}

/// What is wrong with the place of the data.
pub fn data_problem(data: &Path) -> Option<String> {
    let shown = data.display();
    if !data.is_absolute() {
        return Some(format!("--data `{shown}` must start with `/`."));
    }
    // The folder itself may be missing; then the nearest one above decides.
    let existing = data.ancestors().find(|folder| folder.exists())?;
    if !existing.is_dir() {
        return Some(format!(
            "`{}` is not a folder. Name another one with --data.",
            existing.display()
        ));
    }
    if let Err(error) = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        let error = io::Error::from(error);
        return Some(format!(
            "`{}` cannot be written ({error}). Name another folder with --data.",
            existing.display()
        ));
    }
    match free_bytes(existing) {
        Ok(free) if free < MIN_FREE_BYTES => Some(format!(
            "`{}` has {} MiB free, {} MiB are needed. Free some, or name a folder on another disk with --data.",
            existing.display(),
            free >> 20,
            MIN_FREE_BYTES >> 20
        )),
        Ok(_) => None,
        Err(error) => {
            Some(format!("the free space of `{}` cannot be told: {error}.", existing.display()))
        }
    }
}

fn port_problems(intent: &Intent<'_>) -> Vec<String> {
    let is_ours = |program: &str| intent.running.iter().any(|running| running == program);
    let listeners = intent.choices.listeners().into_iter();
    listeners
        .filter(|listener| !is_ours(listener.program))
        .filter_map(|listener| ports::problem(&listener))
        .collect()
}

fn missing_programs(folder: &Path) -> Option<String> {
    let is_program = |path: PathBuf| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let programs = PROGRAMS.iter().map(|program| program.binary());
    let names = programs.chain([HOOK.to_owned()]);
    let missing: Vec<String> = names.filter(|name| !is_program(folder.join(name))).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "{} not found in `{}`, where clusterctl is. Build them with `cargo build --release`, or run `cargo xtask up`, which does.",
        missing.join(", "),
        folder.display()
    ))
}

async fn docker_problems(choices: &Choices) -> Option<String> {
    let docker = Docker::new(&choices.docker_socket);
    if let Some(problem) = docker.problem().await {
        return Some(problem);
    }
    match docker.has_image(STACK_IMAGE).await {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "the image `{STACK_IMAGE}`, on which apps are built, is not in Docker. `cargo xtask up` makes it."
        )),
        Err(error) => Some(format!("{error}. Look into Docker's log.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unusable_programs_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            let path = folder.path().join(program.binary());
            fs::write(&path, "").unwrap();
            let mode = if program.name == "router" { 0o644 } else { 0o755 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(folder.path().join(HOOK), "").unwrap();
        fs::set_permissions(folder.path().join(HOOK), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(folder.path().join("trireme-agent")).unwrap();
        let problem = missing_programs(folder.path()).unwrap();
        assert!(problem.starts_with("trireme-agent, trireme-router not found"), "{problem}");
    }

    #[test]
    fn a_data_folder_must_be_possible() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(data_problem(&folder.path().join("deep/er")), None);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(data_problem(&file.join("data")).unwrap().contains("is not a folder"));
        assert!(data_problem(Path::new("relative")).unwrap().contains("must start with `/`"));
        assert!(data_problem(Path::new("/proc/trireme")).is_some());
    }

    #[test]
    fn the_node_of_a_cluster_does_not_change() {
        let layout = Layout::new("/d");
        let saved = Choices::new(&layout, "one");
        let choices = Choices { node: "two".to_owned(), ..saved.clone() };
        let intent = |saved| Intent {
            layout: &layout,
            choices: &choices,
            saved,
            programs: Path::new("/"),
            running: &[],
            demo: None,
        };
        assert!(conflict(&intent(Some(&saved))).unwrap().contains("`one`"));
        assert_eq!((conflict(&intent(None)), conflict(&intent(Some(&choices)))), (None, None));
    }
}
