//! A git repository on a laptop.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Output, run};
use crate::person::Person;

/// The demo app of this project.
pub const DEMO: &[(&str, &str)] = &[
    ("Procfile", include_str!("../../deploy/demo/Procfile")),
    ("server.py", include_str!("../../deploy/demo/server.py")),
    ("worker.py", include_str!("../../deploy/demo/worker.py")),
];

/// A working copy with the remote `deis`.
pub struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// A new one with these files committed on `master`.
    #[track_caller]
    pub fn new(person: &Person<'_>, name: &str, files: &[(&str, &str)]) -> Repository {
        let repository = Repository { folder: person.home().join(format!("repo-{name}")) };
        std::fs::create_dir_all(&repository.folder).expect("the home takes a repository");
        repository.git(&["init", "-q", "-b", "master"]).ok();
        repository.commit(files);
        repository
    }

    /// A new one, its app created under the same name and pushed.
    #[track_caller]
    pub fn deployed(person: &Person<'_>, app: &str, files: &[(&str, &str)]) -> Repository {
        let repository = Repository::new(person, app, files);
        repository.paasctl(person, &["apps:create", app]).ok();
        repository.push(person, "master").ok();
        repository
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes files and commits everything there is.
    #[track_caller]
    pub fn commit(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder"))
                .expect("folders can be made");
            std::fs::write(path, text).expect("files can be written");
        }
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]).ok();
    }

    /// The commit checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok().stdout.trim().to_owned()
    }

    /// Runs `git` here.
    pub fn git(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.folder);
        command.args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "commit.gpgsign=false",
        ]);
        command.args(arguments);
        command
    }

    /// Adds the remote as `apps:create` would, with `paasctl git:remote`.
    #[track_caller]
    pub fn remote(&self, person: &Person<'_>, app: &str) {
        run(person.paasctl(&["git:remote", "-a", app]).current_dir(&self.folder)).ok();
    }

    /// `git push deis REF` as this person.
    pub fn push(&self, person: &Person<'_>, reference: &str) -> Output {
        run(&mut self.push_command(person, reference))
    }

    /// The same, not started yet.
    pub fn push_command(&self, person: &Person<'_>, reference: &str) -> Command {
        self.git_command(person, &["push", "deis", reference])
    }

    /// `git ARGUMENTS` with this person's key, not started yet.
    pub fn git_command(&self, person: &Person<'_>, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("GIT_SSH_COMMAND", person.ssh_command()).env("GIT_TERMINAL_PROMPT", "0");
        command
    }

    /// Runs `paasctl ARGUMENTS` in this folder.
    pub fn paasctl(&self, person: &Person<'_>, arguments: &[&str]) -> Output {
        run(person.paasctl(arguments).current_dir(&self.folder))
    }
}
