//! A session at a shell: each command, what it asked of the controller, what it printed, how it ended.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::fake::Fake;

/// A user's home and work folder, and what happened there.
pub struct Transcript {
    name: &'static str,
    url: String,
    asked: Box<dyn Fn() -> Vec<String>>,
    folder: TempDir,
    text: String,
}

impl Transcript {
    pub fn new(name: &'static str, fake: &Fake) -> Transcript {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Transcript {
            name,
            url: fake.url.clone(),
            asked: fake.questions(),
            folder,
            text: String::new(),
        }
    }

    /// Somebody who has logged in before.
    pub fn logged_in(name: &'static str, fake: &Fake) -> Transcript {
        let transcript = Transcript::new(name, fake);
        let session = format!(
            r#"{{"v":1,"clusters":{{"default":{{"url":"{}","username":"ann","token":"tok-1","ca_pem":null,"git_remote_base":"ssh://git@localhost:2222"}}}}}}"#,
            fake.url
        );
        std::fs::write(transcript.folder.path().join("session.json"), session).unwrap();
        transcript
    }

    pub fn run(&mut self, line: &str) {
        self.typed("", line);
    }

    /// Runs with this on standard input; `| head -1` at the end keeps the first line.
    pub fn typed(&mut self, input: &str, line: &str) {
        let _ = writeln!(self.text, "$ paasctl {line}");
        let (words, only_first) = match line.strip_suffix(" | head -1") {
            Some(words) => (words, true),
            None => (line, false),
        };
        let words =
            words.split(' ').map(|word| if word == "URL" { self.url.as_str() } else { word });
        let mut command = self.command(env!("CARGO_BIN_EXE_paasctl"));
        let mut output = finish(command.args(words), input);
        if only_first {
            let end =
                output.stdout.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
            output.stdout.truncate(end);
        }
        self.record(&output);
    }

    pub fn git(&mut self, line: &str) {
        let _ = writeln!(self.text, "$ git {line}");
        let mut command = self.command("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = finish(command.args(line.split(' ')), "");
        self.record(&output);
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.work().join(file), text).unwrap();
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.work().join(file)).unwrap();
    }

    pub fn show(&mut self, file: &str) {
        let text = std::fs::read_to_string(self.work().join(file)).unwrap();
        let _ = writeln!(self.text, "$ cat {file}\n{text}");
    }

    /// Compares with what is checked in.
    pub fn finish(self) {
        let path =
            format!("{}/tests/paas/transcripts/{}.txt", env!("CARGO_MANIFEST_DIR"), self.name);
        if std::env::var_os("TRIREME_BLESS").is_some() {
            std::fs::write(&path, &self.text).unwrap();
            return;
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if wanted != self.text {
            let differing =
                wanted.lines().zip(self.text.lines()).position(|(left, right)| left != right);
            panic!(
                "{path} differs from line {}; TRIREME_BLESS=1 rewrites it. Now it is:\n{}",
                differing.map_or(0, |line| line + 1),
                self.text
            );
        }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TRIREME_"))
        {
            command.env_remove(name);
        }
        command
            .current_dir(self.work())
            .env("TRIREME_HOME", self.folder.path())
            .env("HOME", self.folder.path())
            // The folder lies outside of every repository, whatever the machine's is in.
            .env("GIT_CEILING_DIRECTORIES", self.folder.path())
            .env("TZ", "UTC")
            .env("COLUMNS", "100")
            .env("RUST_BACKTRACE", "0");
        command
    }

    fn record(&mut self, output: &Output) {
        let mut text = String::new();
        for asked in (self.asked)() {
            let _ = writeln!(text, "> {asked}");
        }
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            let _ = writeln!(text, "2| {line}");
        }
        if let Some(code) = output.status.code().filter(|code| *code != 0) {
            let _ = writeln!(text, "[exit {code}]");
        }
        let host = self.url.rsplit(':').next().unwrap();
        let text = text
            .replace(&format!(":{host}"), ":PORT")
            .replace(self.folder.path().to_str().unwrap(), "HOME")
            .replace(&format!("paasctl on {}", host_name()), "paasctl on HOST");
        self.text.push_str(&text);
        self.text.push('\n');
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn finish(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may have ended before it gets it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
