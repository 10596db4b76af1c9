//! The steps of the newcomer, each a command of a real client that the reader could type.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use rand::Rng;
use service::durable::{PRIVATE, create_private_dir, write_atomically};

use super::super::{choices::Choices, layout::Layout};
use super::{APP, beside_us, paasctl, reachable};
use crate::paas::session::{self, Session};

/// The first user, and so the administrator.
const USER: &str = "admin";
const PASSWORD_BYTES: usize = 16;

/// The newcomer: whose session and key, and where the app's files are.
pub struct Walk<'a> {
    choices: &'a Choices,
    paasctl: PathBuf,
    folder: PathBuf,
    session: Option<PathBuf>,
    password_file: PathBuf,
}

impl<'a> Walk<'a> {
    /// Uses the user's own session, so that the commands shown at the end just work, unless that is for another cluster.
    pub fn new(layout: &Layout, choices: &'a Choices) -> anyhow::Result<Walk<'a>> {
        let folder = layout.data.join("demo");
        create_private_dir(&folder)?;
        Ok(Walk {
            choices,
            paasctl: beside_us("paasctl").context("find `paasctl` beside clusterctl")?,
            session: is_used_elsewhere(&choices.api_url()).then(|| folder.join("session")),
            password_file: layout.data.join("demo-admin.txt"),
            folder,
        })
    }

    /// Makes sure that somebody is logged in; returns whether that was so before or by an earlier walk's password.
    pub fn log_in(&self) -> anyhow::Result<bool> {
        if self.quietly(&["whoami"]) {
            return Ok(true);
        }
        let (url, ca) = (self.choices.api_url(), self.choices.ca_out.display().to_string());
        let door = ["--username", USER, "--password-stdin", "--ca-file", &ca];
        if let Ok(password) = fs::read_to_string(&self.password_file) {
            let mut login = self.paasctl(&["login", &url]);
            login.args(door).stdout(Stdio::null()).stderr(Stdio::null());
            if run_with_input(&mut login, &password)? {
                return Ok(true);
            }
        }
        let password = self.new_password()?;
        println!("\n$ {} register {url} {}", paasctl(), door.join(" "));
        let mut register = self.paasctl(&["register", &url]);
        register.args(door).args(["--email", &format!("{USER}@{}", self.choices.domain)]);
        if !run_with_input(&mut register, &password)? {
            bail!(
                "register `{USER}`: this cluster may have users already; log in with `{} login {url} --ca-file {ca}` and push with your own account",
                paasctl()
            );
        }
        println!("The password is in {}", self.password_file.display());
        Ok(false)
    }

    /// Whether the app was created before.
    pub fn has_app(&self) -> bool {
        self.quietly(&["apps:info", "-a", APP])
    }

    /// Adds the key, creates the app if it is not there, and pushes the folder.
    pub fn push(&self, folder: &Path, is_there: bool) -> anyhow::Result<()> {
        self.add_key()?;
        let repository = self.repository(folder)?;
        let words: &[&str] =
            if is_there { &["git:remote", "-a", APP] } else { &["apps:create", APP] };
        println!("\n$ {} {}", paasctl(), words.join(" "));
        let mut command = self.paasctl(words);
        if !run(command.current_dir(&repository))? {
            bail!("create the app `{APP}`");
        }
        println!("\n$ git push deis master");
        let mut push = git(&repository, &["push", "deis", "master"]);
        if !run(push.env("GIT_SSH_COMMAND", self.ssh_command()))? {
            bail!("push the app; the reason stands above. Run the same command again to repeat it");
        }
        Ok(())
    }

    /// The commands to try next.
    pub fn tell_next(&self) {
        let prefix = match &self.session {
            Some(session) => format!("TRIREME_HOME={} ", session.display()),
            None => String::new(),
        };
        let paasctl = format!("{prefix}{}", paasctl());
        println!(
            "\nYou are logged in as `{USER}` (password in {}). Try next:\n",
            self.password_file.display()
        );
        println!("  push your own app, in its repository (your SSH key first, once):");
        println!("    {paasctl} keys:add ~/.ssh/id_ed25519.pub");
        println!("    {paasctl} apps:create && git push deis master");
        println!("  scale the demo:\n    {paasctl} scale web=3 -a {APP}");
        println!("  open its logs:\n    {paasctl} logs -f -a {APP}");
    }

    fn add_key(&self) -> anyhow::Result<()> {
        let key = self.key();
        if !key.exists() {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "trireme-demo", "-f"]).arg(&key);
            if !run(&mut keygen)? {
                bail!("make an SSH key");
            }
        }
        let public = key.with_extension("pub").display().to_string();
        println!("\n$ {} keys:add {public}", paasctl());
        // It fails where an earlier walk added the key; where it fails for another reason, the push says so.
        run(&mut self.paasctl(&["keys:add", &public]))?;
        Ok(())
    }

    /// A fresh repository with the folder's files committed on `master`.
    fn repository(&self, from: &Path) -> anyhow::Result<PathBuf> {
        let repository = self.folder.join("app");
        if repository.exists() {
            fs::remove_dir_all(&repository).context("remove an earlier demo's files")?;
        }
        copy_folder(from, &repository).with_context(|| format!("copy `{}`", from.display()))?;
        let steps: [&[&str]; 3] =
            [&["init", "-q", "-b", "master"], &["add", "-A"], &["commit", "-q", "-m", "The demo"]];
        for step in steps {
            if !run(&mut git(&repository, step))? {
                bail!("commit the demo's files: `git {}` failed", step.join(" "));
            }
        }
        Ok(repository)
    }

    fn new_password(&self) -> anyhow::Result<String> {
        let mut bytes = [0_u8; PASSWORD_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{password}\n");
        write_atomically(&self.password_file, line.as_bytes(), PRIVATE)?;
        Ok(line)
    }

    fn key(&self) -> PathBuf {
        self.folder.join("id_ed25519")
    }

    /// `ssh` with the demo's key, whatever this user's own settings are, to this machine whatever the host's name is.
    fn ssh_command(&self) -> String {
        let folder = quoted(&self.folder);
        format!(
            "ssh -F none -i {folder}/id_ed25519 -o IdentitiesOnly=yes -o HostName={} \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={folder}/known_hosts",
            reachable(self.choices.bind)
        )
    }

    fn paasctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.paasctl);
        command.args(arguments).env_remove("TRIREME_APP");
        if let Some(session) = &self.session {
            command.env("TRIREME_HOME", session);
        }
        command
    }

    /// Whether a command succeeds; what it says does not matter.
    fn quietly(&self, arguments: &[&str]) -> bool {
        let mut command = self.paasctl(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Whether the user's own session is for another cluster.
fn is_used_elsewhere(url: &str) -> bool {
    let session = session::path().and_then(|path| Session::read(&path));
    // A session that cannot be read is the user's to repair, not ours to replace.
    session.map_or(true, |session| {
        session.clusters.get(session::DEFAULT).is_some_and(|cluster| cluster.url != url)
    })
}

/// `git` in a folder, independent of this user's settings.
fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=Trireme demo"]);
    command.args(["-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]);
    command.args(arguments);
    command
}

/// Runs a command with our output; whether it succeeded.
fn run(command: &mut Command) -> anyhow::Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status();
    Ok(status.with_context(|| format!("start `{program}`"))?.success())
}

/// Runs a command with a secret on its standard input, where no other user of the machine sees it.
fn run_with_input(command: &mut Command, input: &str) -> anyhow::Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = || format!("run `{program}`");
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(failed)?;
    let mut stdin = child.stdin.take().expect("the input is piped");
    // A program that refuses before it reads says so itself.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Ok(child.wait().with_context(failed)?.success())
}

/// Copies files and folders, without an earlier repository's history.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() && entry.file_name() == ".git" => {}
            kind if kind.is_dir() => copy_folder(&entry.path(), &target)?,
            kind if kind.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
            }
            _ => {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

/// A path as git's shell reads it back.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_a_folder_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::create_dir_all(from.join(".git")).unwrap();
        fs::write(from.join("deep/er/file"), "text").unwrap();
        fs::write(from.join(".git/HEAD"), "ref").unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/er/file")).unwrap(), "text");
        assert!(!to.join(".git").exists());
    }

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
