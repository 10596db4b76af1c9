//! The apps' bare repositories, and git's own programs run on them.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::SystemTime,
};

use git2::{Repository, RepositoryInitOptions};
use model::name::AppName;
use proto::problem::{Code, Problem};
use service::{Size, durable};
use tokio::process::Command;

use crate::{
    config::Config,
    hook,
    ssh::{GitCommand, Service},
};

/// Where a repository keeps the creation time of its app, in our own file beside git's.
const CREATED_FILE: &str = "trireme-created";
/// Quarantine folders of pushes that were cut off begin with this.
const QUARANTINE: &str = "tmp_objdir-";

/// All repositories of this builder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repositories {
    folder: PathBuf,
    push_bytes: u64,
    min_free_bytes: u64,
    path_variable: String,
}

/// Why a folder or file of the builder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The file system refused.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A folder could not be made private.
    #[error(transparent)]
    Durable(#[from] durable::DurableError),
    /// git's library refused.
    #[error("make a repository")]
    Git(#[from] git2::Error),
}

impl Repositories {
    /// Makes the folders and the hook, and removes what a killed run left behind.
    pub fn open(config: &Config) -> Result<Repositories, RepositoryError> {
        let folder = config.folder.clone();
        durable::create_private_dir(&folder)?;
        durable::create_private_dir(&folder.join("repos"))?;
        durable::create_private_dir(&folder.join("hooks"))?;
        let hook = folder.join("hooks/pre-receive");
        if !config.hook.is_file() {
            let cause = io::ErrorKind::NotFound.into();
            return Err(RepositoryError::Io {
                action: "find the hook",
                path: config.hook.clone(),
                cause,
            });
        }
        remove_if_there(&hook)?;
        symlink(&config.hook, &hook).map_err(failed("link", &hook))?;
        let path_variable =
            std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let repositories = Repositories {
            folder,
            push_bytes: config.limits.push_bytes,
            min_free_bytes: config.limits.min_free_bytes,
            path_variable,
        };
        repositories.remove_stale_quarantines()?;
        Ok(repositories)
    }

    /// The path for the hook's socket, with nothing there.
    pub fn fresh_socket(&self) -> Result<PathBuf, RepositoryError> {
        let socket = self.socket();
        remove_if_there(&socket)?;
        Ok(socket)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("hook.sock")
    }

    /// Where an app's repository is, or will be.
    pub fn path(&self, app: &AppName) -> PathBuf {
        self.folder.join("repos").join(format!("{app}.git"))
    }

    /// Refuses to receive anything while the disk is too full to take it.
    pub fn require_room(&self) -> Result<(), Problem> {
        let free = durable::free_bytes(&self.folder).unwrap_or(u64::MAX);
        if free >= self.min_free_bytes {
            return Ok(());
        }
        let message = format!(
            "the platform's disk is too full to take a push: {} MiB are free, {} are kept free",
            free >> 20,
            Size(self.min_free_bytes)
        );
        Err(Problem::new(Code::DiskFull, message).hint("Ask your operator to make room"))
    }

    /// What a push may send at most.
    pub fn push_bytes(&self) -> u64 {
        self.push_bytes
    }

    /// Makes the app's repository if it has none. One of an earlier app of this name is thrown away. Blocks.
    pub fn ensure(&self, app: &AppName, created_ms: u64) -> Result<PathBuf, RepositoryError> {
        let path = self.path(app);
        let created = path.join(CREATED_FILE);
        let known = fs::read_to_string(&created).ok();
        if known.as_deref() == Some(created_ms.to_string().as_str()) {
            return Ok(path);
        }
        if path.exists() {
            self.throw_away(&path)?;
        }
        let mut options = RepositoryInitOptions::new();
        Repository::init_opts(&path, options.bare(true).mkpath(true).initial_head("master"))?;
        // Written last: a repository without it was not finished, and is made anew.
        durable::write_atomically(&created, created_ms.to_string().as_bytes(), durable::PRIVATE)?;
        Ok(path)
    }

    /// The apps that have a repository here.
    pub fn apps(&self) -> Result<Vec<AppName>, RepositoryError> {
        let all = list(&self.folder.join("repos"))?;
        let names = all.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok());
        Ok(names.collect())
    }

    /// When the app of a repository was created; none for one that was not finished.
    pub fn created(&self, app: &AppName) -> Option<u64> {
        fs::read_to_string(self.path(app).join(CREATED_FILE)).ok()?.parse().ok()
    }

    fn throw_away(&self, path: &Path) -> Result<(), RepositoryError> {
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let away = self.folder.join(format!("removed-{}", stamp.as_nanos()));
        fs::rename(path, &away).map_err(failed("move away", path))?;
        fs::remove_dir_all(&away).map_err(failed("remove", &away))
    }

    /// git's program for a session, with nothing of our own environment.
    pub fn command(&self, command: &GitCommand, session: &str, protocol: Option<&str>) -> Command {
        let mut git = Command::new("git");
        git.env_clear()
            .env("PATH", &self.path_variable)
            .env("HOME", &self.folder)
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env(hook::SOCKET_VARIABLE, self.socket())
            .env(hook::SESSION_VARIABLE, session);
        if let Some(protocol) = protocol {
            git.env("GIT_PROTOCOL", protocol);
        }
        for setting in self.git_settings() {
            git.args(["-c", &setting]);
        }
        git.arg(command.service.subcommand());
        if command.service == Service::UploadPack {
            git.arg("--strict");
        }
        git.arg(self.path(&command.app))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        git
    }

    fn git_settings(&self) -> [String; 9] {
        [
            format!("core.hooksPath={}", self.folder.join("hooks").display()),
            format!("receive.maxInputSize={}", self.push_bytes),
            "receive.fsckObjects=true".to_owned(),
            "receive.denyDeletes=true".to_owned(),
            "receive.autogc=false".to_owned(),
            // One pack per push, whatever its size: the limit then holds for all of them alike.
            "receive.unpackLimit=1".to_owned(),
            "transfer.hideRefs=refs/trireme".to_owned(),
            "gc.auto=0".to_owned(),
            "pack.threads=1".to_owned(),
        ]
    }

    fn remove_stale_quarantines(&self) -> Result<(), RepositoryError> {
        let repositories = self.folder.join("repos");
        for repository in list(&repositories)? {
            let objects = repository.join("objects");
            if !objects.is_dir() {
                continue;
            }
            for entry in list(&objects)? {
                let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(QUARANTINE) {
                    fs::remove_dir_all(&entry).map_err(failed("remove", &entry))?;
                }
            }
        }
        for entry in list(&self.folder)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("removed-") {
                fs::remove_dir_all(&entry).map_err(failed("remove", &entry))?;
            }
        }
        Ok(())
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, RepositoryError> {
    let entries = fs::read_dir(folder).map_err(failed("list", folder))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed("list", folder))).collect()
}

fn remove_if_there(path: &Path) -> Result<(), RepositoryError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(cause)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepositoryError {
    let path = path.to_owned();
    move |cause| RepositoryError::Io { action, path, cause }
}
