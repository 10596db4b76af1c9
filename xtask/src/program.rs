//! Runs other programs: loud ones share the terminal, quiet ones show progress and, when they fail, the end of their log.
#![expect(
    clippy::print_stderr,
    reason = "progress is for a person; standard output belongs to the programs run"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where the output of quiet programs is kept.
pub const LOG: &str = "/var/log/trireme/setup.log";

/// How often a quiet program is reported as still running.
const REPORT_PERIOD: Duration = Duration::from_secs(10);
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// How much of a log is shown after a failure.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// Folders in which Debian keeps the programs of root, searched after PATH.
const ROOT_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Says one line of progress.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// The program of this name, where one is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ROOT_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Runs a program in the foreground, with the terminal.
pub fn loud(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {}", shown(command), ending(status));
    }
    Ok(())
}

/// Runs a program and returns what it printed.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", shown(command), ending(output.status), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program with its output in the log: a line when it starts, one every ten seconds, one at the end.
pub fn quiet(title: &str, command: &mut Command) -> Result<()> {
    let (mut log, start) = open_log()?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let child = command.spawn().with_context(|| format!("start {}", shown(command)))?;
    if let Err(error) = watch(title, child) {
        let tail = tail(&mut log, start).unwrap_or_default();
        return Err(
            error.context(format!("{title} failed; its last lines (all of it: {LOG}):\n{tail}"))
        );
    }
    Ok(())
}

/// Waits for a child and reports that it still runs; fails when it does.
pub fn watch(title: &str, mut child: Child) -> Result<()> {
    say(&format!("  {title} ..."));
    let started = Instant::now();
    let mut reported = started;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if reported.elapsed() >= REPORT_PERIOD {
            reported = Instant::now();
            say(&format!("  {title} ... {} s", started.elapsed().as_secs()));
        }
        thread::sleep(POLL_PERIOD);
    };
    if !status.success() {
        bail!("ended with {}", ending(status));
    }
    say(&format!("  {title}: done in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// The last lines of a log file, from `start` on.
pub fn tail(log: &mut File, start: u64) -> Result<String> {
    let end = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[first..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"))
}

fn open_log() -> Result<(File, u64)> {
    let path = Path::new(LOG);
    fs::create_dir_all(path.parent().expect("the log lies in a folder"))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .with_context(|| format!("open the log `{LOG}`"))?;
    let start = log.metadata()?.len();
    Ok((log, start))
}

fn shown(command: &Command) -> String {
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let first =
        command.get_args().next().map(|argument| format!(" {}", argument.to_string_lossy()));
    format!("`{program}{}`", first.unwrap_or_default())
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => "a signal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_exit_code_and_its_words() {
        let error = read(Command::new("ls").arg("/no/such/folder")).unwrap_err().to_string();
        assert!(error.starts_with("`ls /no/such/folder` ended with exit code 2: "), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn programs_of_root_are_found_without_a_path() {
        assert_eq!(find("no-such-program-anywhere"), None);
        assert!(find("dpkg").is_some() || find("ls").is_some());
    }
}
