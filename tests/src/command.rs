//! Running real programs and reading what they said.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program said and how it ended.
#[derive(Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; none when killed by a signal.
    pub code: Option<i32>,
    /// Standard output, as bytes.
    pub stdout_bytes: Vec<u8>,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { command, code, stdout, stderr, stdout_bytes: _ } = self;
        let ended = code.map_or_else(|| "killed".to_owned(), |code| format!("exit code {code}"));
        write!(f, "{command}\n{stdout}{stderr}[{ended}]")
    }
}

impl Output {
    /// The same, having ended well.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The same, having failed and said `text` on either stream.
    #[track_caller]
    pub fn fails_with(self, text: &str) -> Output {
        assert!(self.code.is_some_and(|code| code != 0), "should have failed: {self:#?}");
        self.says(text)
    }

    /// The same, having said `text` on either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "should have said `{text}`: {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command to its end with the given input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {shown}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // A program that ends without reading its input is no failure of the test.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("a started child can be waited for");
    writer.join().expect("the writer does not panic");
    Output {
        command: shown,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stdout_bytes: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command until it says this on a line of its standard output, and kills it there as a crash would.
#[track_caller]
pub fn kill_at(text: &str, command: &mut Command) {
    let shown = format!("{command:?}");
    let started = command.stdout(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("start {shown}: {error}"));
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let is_said = lines.map_while(Result::ok).any(|line| line.contains(text));
    assert!(is_said, "{shown} ended before it said `{text}`");
    child.kill().expect("a child that was not waited for can be killed");
    child.wait().expect("a started child can be waited for");
}

/// Runs a command to its end without input.
pub fn run(command: &mut Command) -> Output {
    run_with_input(command, &[])
}

/// Where a program of ours was built, beside this test.
pub fn program(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("a running test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// The rows of a JSON list.
#[track_caller]
pub fn rows(list: &serde_json::Value) -> &Vec<serde_json::Value> {
    list.as_array().unwrap_or_else(|| panic!("should be a list: {list}"))
}
