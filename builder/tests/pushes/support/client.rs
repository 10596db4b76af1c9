//! A person with git and ssh.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{World, write};

/// A working copy and a key of one's own.
pub struct Person {
    pub folder: TempDir,
    pub fingerprint: String,
    ssh: String,
    address: SocketAddr,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub code: Option<i32>,
    pub text: String,
}

impl Person {
    /// Somebody with a new key that nobody knows.
    pub fn stranger(world: &World) -> Person {
        Person::with_key(world, "ed25519")
    }

    /// Somebody whose key is `user`'s.
    pub fn known(world: &World, user: &str) -> Person {
        let person = Person::stranger(world);
        world.gateway.state().keys.insert(person.fingerprint.clone(), user.to_owned());
        person
    }

    pub fn with_key(world: &World, kind: &str) -> Person {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(&key));
        let shown = run(Command::new("ssh-keygen").args(["-l", "-E", "sha256", "-f"]).arg(&key));
        let fingerprint = shown.text.split_whitespace().nth(1).unwrap().to_owned();
        let ssh = format!(
            "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={} -o LogLevel=ERROR",
            key.display(),
            folder.path().join("hosts").display()
        );
        let person = Person { folder, fingerprint, ssh, address: world.ssh };
        std::fs::create_dir(person.copy()).unwrap();
        assert!(person.git(&["init", "-q", "-b", "master"]).ok);
        person
    }

    pub fn copy(&self) -> std::path::PathBuf {
        self.folder.path().join("copy")
    }

    /// Commits these files beside what is there.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            write(&self.copy(), path, text);
        }
        assert!(self.git(&["add", "-A"]).ok);
        assert!(self.git(&["commit", "-q", "--allow-empty", "-m", "change"]).ok);
        self.git(&["rev-parse", "HEAD"]).text.trim().to_owned()
    }

    pub fn remote(&self, app: &str) -> String {
        format!("ssh://git@{}/{app}.git", self.address)
    }

    pub fn push(&self, app: &str, refspec: &str) -> Said {
        self.git(&["push", &self.remote(app), refspec])
    }

    pub fn git(&self, arguments: &[&str]) -> Said {
        run(&mut self.git_command(arguments))
    }

    pub fn git_command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.current_dir(self.copy()).args(arguments);
        environment(&mut git, self.folder.path(), &self.ssh);
        git
    }

    /// Runs ssh itself, with more arguments.
    pub fn ssh(&self, arguments: &[&str]) -> Said {
        let mut words = self.ssh.split(' ');
        let mut ssh = Command::new(words.next().unwrap());
        ssh.args(words).args(["-p", &self.address.port().to_string()]);
        run(ssh.args(arguments).stdin(Stdio::null()))
    }
}

fn environment(git: &mut Command, home: &Path, ssh: &str) {
    git.env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_SSH_COMMAND", ssh)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Amy")
        .env("GIT_AUTHOR_EMAIL", "amy@example.com")
        .env("GIT_COMMITTER_NAME", "Amy")
        .env("GIT_COMMITTER_EMAIL", "amy@example.com")
        .env("LC_ALL", "C");
}

pub fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // git pads what the server says.
    let text = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    Said { ok: status.success(), code: status.code(), text }
}

impl Said {
    #[track_caller]
    pub fn must(&self, ok: bool, parts: &[&str]) {
        assert_eq!(self.ok, ok, "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "`{part}` is not in:\n{}", self.text);
        }
    }
}
