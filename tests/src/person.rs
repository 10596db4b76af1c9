//! Somebody with an account, a key and the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Output, program, run, run_with_input};

/// What a person needs of a cluster: its door, and a folder for a home.
pub trait Platform: Sync {
    /// Where `paasctl` finds the API.
    fn api(&self) -> String;
    /// The certificate authority to trust.
    fn ca_file(&self) -> PathBuf;
    /// A folder for what people keep.
    fn scratch(&self) -> PathBuf;
}

/// A user of a cluster.
pub struct Person<'a> {
    platform: &'a dyn Platform,
    /// Name.
    pub name: String,
    home: PathBuf,
}

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

impl<'a> Person<'a> {
    /// Somebody without an account yet.
    pub fn new(platform: &'a dyn Platform, name: &str) -> Person<'a> {
        let home = platform.scratch().join(name);
        std::fs::create_dir_all(&home).expect("the scratch folder takes a home");
        Person { platform, name: name.to_owned(), home }
    }

    /// Registers, and adds a new key.
    #[track_caller]
    pub fn registered(platform: &'a dyn Platform, name: &str) -> Person<'a> {
        let person = Person::new(platform, name);
        person.register().ok();
        person.add_key();
        person
    }

    /// Somebody who registers at the first of these and logs in at the others, with a home for each.
    #[track_caller]
    pub fn everywhere<P: Platform>(platforms: &'a [P], name: &str) -> Vec<Person<'a>> {
        let people = platforms.iter().enumerate().map(|(place, platform)| {
            if place == 0 {
                return Person::registered(platform, name);
            }
            let person = Person::new(platform, name);
            person.log_in(name, PASSWORD).ok();
            person
        });
        people.collect()
    }

    /// `paasctl register`.
    pub fn register(&self) -> Output {
        let email = format!("{}@example.com", self.name);
        let mut command = self.paasctl(&["register", &self.platform.api()]);
        command.args(["--username", &self.name, "--password", PASSWORD, "--email", &email]);
        run(command.arg("--ca-file").arg(self.platform.ca_file()))
    }

    /// `paasctl login` under any name.
    pub fn log_in(&self, username: &str, password: &str) -> Output {
        let mut command = self.paasctl(&["login", &self.platform.api(), "--username", username]);
        command.args(["--password", password, "--ca-file"]);
        run(command.arg(self.platform.ca_file()))
    }

    /// `ssh-keygen` and `paasctl keys:add`.
    #[track_caller]
    pub fn add_key(&self) {
        let key = self.new_key("ed25519");
        run(self.paasctl(&["keys:add"]).arg(key.with_extension("pub"))).ok();
    }

    /// A new key pair of a kind that `ssh-keygen` knows; where its private half is.
    #[track_caller]
    pub fn new_key(&self, kind: &str) -> PathBuf {
        let path = self.home.join(format!("id_{kind}"));
        let comment = format!("{}@laptop", self.name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", "", "-C", &comment, "-f"]).arg(&path);
        run(&mut keygen).ok();
        path
    }

    /// The private key used when none is named.
    pub fn key(&self) -> PathBuf {
        self.home.join("id_ed25519")
    }

    /// `paasctl ARGUMENTS` as this person.
    pub fn paasctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("paasctl"));
        command.args(arguments).current_dir(&self.home).env("TRIREME_HOME", &self.home);
        command.env_remove("TRIREME_APP");
        command
    }

    /// Runs `paasctl ARGUMENTS`.
    pub fn does(&self, arguments: &[&str]) -> Output {
        run(&mut self.paasctl(arguments))
    }

    /// Runs `paasctl ARGUMENTS` with input.
    pub fn does_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        run_with_input(&mut self.paasctl(arguments), input)
    }

    /// What `git` needs to push with this person's key.
    pub fn ssh_command(&self) -> String {
        self.ssh_command_with(&self.key())
    }

    /// The same with another key.
    pub fn ssh_command_with(&self, key: &Path) -> String {
        format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}",
            key.display(),
            self.home.join("known_hosts").display()
        )
    }

    /// The home folder.
    pub fn home(&self) -> &PathBuf {
        &self.home
    }
}
