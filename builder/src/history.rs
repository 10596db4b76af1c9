//! An app's git history beyond this node: after an accepted push it is kept in the registries, and a builder that lacks
//! the newest refs takes them from there before git runs.
//!
//! A history is a chain of packs and a list of refs, stored like an image in the repository `git/<app>`, so that it is on
//! two nodes as images are. The controller remembers which is the newest. Each push adds a pack of what is new.

mod record;
mod store;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use model::name::AppName;
use proto::problem::{Code, Problem};
use service::{Stop, durable};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Mutex,
};

use self::{
    record::{Blob, MEDIA_TYPE, Record, Refs},
    store::{Store, StoreError},
};
use crate::{
    control::{Control, Moved},
    git::Repositories,
};

/// In a repository's folder: the history it holds.
const KNOWN_FILE: &str = "trireme-history";
/// In a repository's folder: a file on its way.
const PASSING_FILE: &str = "trireme-passing";
/// How often what could not be kept is tried again.
const PERIOD: Duration = Duration::from_secs(30);
/// What git reads of a file at once.
const PIECE: usize = 128 << 10;

/// Why a history was not kept or not taken.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The registry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of ours.
    #[error("use a file of the history")]
    File(#[from] io::Error),
    /// A file of ours.
    #[error(transparent)]
    Durable(#[from] durable::DurableError),
    /// It is none.
    #[error("read the history")]
    Malformed(#[from] serde_json::Error),
    /// git failed.
    #[error("run `git {what}`: {said}")]
    Git {
        /// Which command.
        what: &'static str,
        /// Its words.
        said: String,
    },
    /// The controller did not take it.
    #[error("tell the controller: {0}")]
    Told(Problem),
}

impl HistoryError {
    /// Whether it may go well another time. Where another push was first its history holds.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, HistoryError::Told(problem) if problem.code == Code::Conflict)
    }
}

/// All histories. Cheap to clone.
#[derive(Clone)]
pub struct Histories {
    store: Store,
    control: Control,
    path_variable: Arc<str>,
    /// Packs are made and taken one at a time.
    turn: Arc<Mutex<()>>,
    /// Apps whose history may not be kept.
    owed: Arc<std::sync::Mutex<BTreeSet<AppName>>>,
}

impl Histories {
    /// In the registry at `address`.
    pub fn new(address: &str, control: Control) -> Histories {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
        Histories {
            store: Store::new(address),
            control,
            path_variable: path.into(),
            turn: Arc::default(),
            owed: Arc::default(),
        }
    }

    /// Brings a repository to the history the controller named, if it has another one.
    pub async fn take(
        &self,
        app: &AppName,
        repository: &Path,
        newest: &str,
    ) -> Result<(), HistoryError> {
        let _turn = self.turn.lock().await;
        let known = known(repository)?;
        if newest.is_empty() || known.as_ref().is_some_and(|known| known.digest() == newest) {
            return Ok(());
        }
        let name = name(app);
        let newest = Record::parse(&self.store.manifest(&name, newest).await?)?;
        let passing = repository.join(PASSING_FILE);
        for pack in newest.lacking(known.as_ref()) {
            self.store.blob(&name, &pack.digest, &passing).await?;
            self.git(repository, &["index-pack", "--stdin", "--fix-thin"], Input::File(&passing))
                .await?;
        }
        remove(&passing)?;
        let own = self.refs(repository).await?;
        self.move_refs(repository, &own, &newest.refs()?).await?;
        keep_known(repository, &newest)?;
        tracing::info!(%app, "took the history of another node");
        Ok(())
    }

    /// Keeps what was pushed; where that fails it is made up for later.
    pub async fn keep(
        &self,
        app: &AppName,
        repository: &Path,
        created_ms: u64,
    ) -> Result<(), HistoryError> {
        let kept = self.keep_once(app, repository, created_ms).await;
        if kept.as_ref().is_err_and(HistoryError::is_retryable) {
            self.owed().insert(app.clone());
        }
        kept
    }

    /// Keeps, until `stop`, what could not be kept: by an earlier run of this program, or at a push.
    pub async fn make_up(self, repositories: Repositories, stop: Stop) {
        match repositories.apps() {
            Ok(apps) => self.owed().extend(apps),
            Err(error) => tracing::error!(%error, "the repositories could not be listed"),
        }
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                _ = ticks.tick() => {}
            }
            let owed = std::mem::take(&mut *self.owed());
            for app in owed {
                let Some(created_ms) = repositories.created(&app) else { continue };
                let path = repositories.path(&app);
                let kept = tokio::select! {
                    () = stop.wait() => return,
                    kept = self.keep(&app, &path, created_ms) => kept,
                };
                if let Err(error) = kept {
                    let error = anyhow::Error::new(error);
                    tracing::warn!(%app, "a history is on this node only: {error:#}");
                }
            }
        }
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, BTreeSet<AppName>> {
        self.owed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Keeps what a repository holds now, if it is news.
    async fn keep_once(
        &self,
        app: &AppName,
        repository: &Path,
        created_ms: u64,
    ) -> Result<(), HistoryError> {
        let _turn = self.turn.lock().await;
        let known = known(repository)?;
        let refs = self.refs(repository).await?;
        if known.as_ref().map(Record::refs).transpose()?.unwrap_or_default() == refs {
            return Ok(());
        }
        let before = known.as_ref().map(Record::digest).unwrap_or_default();
        let base = known.filter(|known| !known.is_long());
        let name = name(app);
        let passing = repository.join(PASSING_FILE);
        let old = base.as_ref().map(Record::refs).transpose()?.unwrap_or_default();
        let pack = self.pack(repository, &refs, &old, &passing).await?;
        if let Some(pack) = &pack {
            self.store.put_blob(&name, &pack.digest, &passing).await?;
        }
        let next = Record::following(base.as_ref(), pack, &refs);
        fs::write(&passing, next.refs_text())?;
        self.store.put_blob(&name, next.refs_digest(), &passing).await?;
        remove(&passing)?;
        self.store.put_manifest(&name, &next.digest(), MEDIA_TYPE, next.bytes()).await?;
        let moved = Moved { created_ms, before, now: next.digest() };
        self.control.keep_history(app, moved).await.map_err(HistoryError::Told)?;
        keep_known(repository, &next)?;
        Ok(())
    }

    /// Writes a pack of what the refs reach and the old ones do not; none if there is nothing.
    async fn pack(
        &self,
        repository: &Path,
        refs: &Refs,
        old: &Refs,
        file: &Path,
    ) -> Result<Option<Blob>, HistoryError> {
        if refs.values().all(|commit| old.values().any(|known| known == commit)) {
            return Ok(None);
        }
        let mut wanted: String = refs.values().map(|commit| format!("{commit}\n")).collect();
        wanted.extend(old.values().map(|commit| format!("^{commit}\n")));
        let arguments = ["pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q"];
        let mut git = self.command(repository, &arguments);
        let mut child = git.stdin(Stdio::piped()).stdout(fs::File::create(file)?).spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        // If git ends early its own words tell why.
        let _ = stdin.write_all(wanted.as_bytes()).await;
        drop(stdin);
        finished("pack-objects", child.wait_with_output().await?)?;
        let path = file.to_owned();
        let hashed = tokio::task::spawn_blocking(move || {
            let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
            let size = io::copy(&mut file, &mut HashWriter(&mut hash))?;
            Ok::<_, io::Error>(Blob::pack(record::digest(&hash.finalize()), size))
        });
        Ok(Some(hashed.await.map_err(io::Error::other)??))
    }

    async fn refs(&self, repository: &Path) -> Result<Refs, HistoryError> {
        let format = "--format=%(objectname) %(refname)";
        let listed = self.git(repository, &["for-each-ref", format], Input::Nothing).await?;
        let lines = listed.lines().filter_map(|line| line.split_once(' '));
        let refs = lines.filter(|(_, name)| !name.starts_with("refs/trireme/"));
        Ok(refs.map(|(commit, name)| (name.to_owned(), commit.to_owned())).collect())
    }

    async fn move_refs(
        &self,
        repository: &Path,
        own: &Refs,
        wanted: &Refs,
    ) -> Result<(), HistoryError> {
        let mut moves = String::new();
        for (name, commit) in wanted {
            moves.push_str(&format!("update {name} {commit}\n"));
        }
        for name in own.keys().filter(|name| !wanted.contains_key(*name)) {
            moves.push_str(&format!("delete {name}\n"));
        }
        self.git(repository, &["update-ref", "--stdin"], Input::Text(&moves)).await?;
        Ok(())
    }

    /// Runs git and gives what it printed.
    async fn git(
        &self,
        repository: &Path,
        arguments: &[&'static str],
        input: Input<'_>,
    ) -> Result<String, HistoryError> {
        let mut child = self
            .command(repository, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let feed = async move {
            match input {
                Input::Nothing => Ok(()),
                Input::Text(text) => stdin.write_all(text.as_bytes()).await,
                Input::File(path) => {
                    let mut file = tokio::fs::File::open(path).await?;
                    let mut piece = vec![0; PIECE];
                    loop {
                        match file.read(&mut piece).await? {
                            0 => return Ok(()),
                            count => stdin.write_all(&piece[..count]).await?,
                        }
                    }
                }
            }
        };
        // If git ends early its own words tell why.
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        finished(arguments[0], output?)
    }

    fn command(&self, repository: &Path, arguments: &[&'static str]) -> Command {
        let mut git = Command::new("git");
        git.env_clear()
            .env("PATH", &*self.path_variable)
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .arg("--git-dir")
            .arg(repository)
            .args(["-c", "pack.threads=1", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        git
    }
}

/// What git reads.
enum Input<'a> {
    Nothing,
    Text(&'a str),
    File(&'a Path),
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn finished(what: &'static str, output: std::process::Output) -> Result<String, HistoryError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(HistoryError::Git { what, said })
}

/// A pusher's words for a history that could not be taken: nothing was received yet.
pub fn not_taken(app: &AppName, error: HistoryError) -> Problem {
    let error = anyhow::Error::new(error);
    tracing::error!(%app, "a history was not taken: {error:#}");
    Problem::new(
        Code::Unavailable,
        format!("the history of `{app}` is on a node that does not answer"),
    )
    .hint("Try again in a moment; `clusterctl doctor` shows what is wrong")
}

fn name(app: &AppName) -> String {
    format!("git/{app}")
}

fn known(repository: &Path) -> Result<Option<Record>, HistoryError> {
    match fs::read(known_path(repository)) {
        Ok(bytes) => Ok(Some(Record::parse(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn keep_known(repository: &Path, record: &Record) -> Result<(), durable::DurableError> {
    durable::write_atomically(&known_path(repository), &record.bytes(), durable::PRIVATE)
}

fn known_path(repository: &Path) -> PathBuf {
    repository.join(KNOWN_FILE)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
