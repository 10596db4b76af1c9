//! Whole programs: the test binary runs itself as one, and looks at exit code and standard error.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::Tasks;

/// What a finished program left.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stderr: String,
}

fn launch(story: &str, arguments: &str, variables: &[(&str, &str)]) -> Child {
    command(story, arguments, variables).stderr(Stdio::piped()).spawn().unwrap()
}

fn command(story: &str, arguments: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["program::tests::a_program_in_a_process_of_its_own", "--exact", "--nocapture"])
        .env("PROBE_STORY", story)
        .env("PROBE_ARGUMENTS", arguments)
        .env_remove("TRIREME_CONFIG")
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .stdout(Stdio::null());
    command
}

fn wait(mut child: Child, mut read: String) -> Ended {
    child.stderr.take().unwrap().read_to_string(&mut read).unwrap();
    Ended { code: child.wait().unwrap().code(), stderr: read }
}

fn run(story: &str, arguments: &str, variables: &[(&str, &str)]) -> Ended {
    wait(launch(story, arguments, variables), String::new())
}

/// Runs a story until it logs `ready`, sends the signal, and waits for its end.
fn run_and_signal(story: &str, signal: Signal) -> Ended {
    let mut child = launch(story, "", &[]);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut read = String::new();
    while !read.contains("ready") {
        assert_ne!(lines.read_line(&mut read).unwrap(), 0, "ended before it was ready: {read}");
    }
    kill_process(pid, signal).unwrap();
    lines.read_to_string(&mut read).unwrap();
    Ended { code: child.wait().unwrap().code(), stderr: read }
}

/// Not a test of its own: the body of the child processes that the tests below start.
#[test]
fn a_program_in_a_process_of_its_own() {
    let Ok(story) = std::env::var("PROBE_STORY") else { return };
    let arguments = std::env::var("PROBE_ARGUMENTS").unwrap();
    let arguments = arguments.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    let code = start("probe", arguments.into_iter(), read, |_, stop| tell_story(story, stop));
    std::process::exit(i32::from(code));
}

fn read(settings: &mut Settings) -> (u16, String) {
    (settings.get("port", "80", "A port."), settings.get("name", "x", "A name."))
}

async fn tell_story(story: String, stop: Stop) -> anyhow::Result<()> {
    let tasks = Tasks::with_deadline(stop.clone(), Duration::from_secs(2));
    match story.as_str() {
        "end" => return Ok(()),
        "fail" => return Err(std::io::Error::other("first\nsecond")).context("open the store"),
        "panic in run" => panic!("run broke"),
        "panic in a task" => {
            tasks.spawn("fragile", async { Vec::<u8>::new().truncate(break_glass()) })
        }
        "panic in an untracked task" => drop(tokio::spawn(async { break_glass() })),
        "serve" => tracing::info!("ready"),
        "linger" => {
            tasks.spawn("lingerer", std::future::pending::<()>());
            tracing::info!("ready");
        }
        other => anyhow::bail!("no story `{other}`"),
    }
    Ok(tasks.finish().await?)
}

fn break_glass() -> usize {
    panic!("glass")
}

#[test]
fn a_program_that_ends_well_exits_with_0() {
    assert_eq!(run("end", "", &[]).code, Some(0));
}

#[test]
fn a_failure_is_told_on_one_line_and_exits_with_1() {
    let ended = run("fail", "", &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .lines()
            .any(|line| line == "trireme-probe: failed to open the store: first second"),
        "{ended:?}"
    );
}

#[test]
fn any_panic_exits_with_70() {
    for story in ["panic in run", "panic in a task", "panic in an untracked task"] {
        let ended = run(story, "", &[]);
        assert_eq!(ended.code, Some(70), "{story}: {ended:?}");
        assert!(ended.stderr.contains(r#""message":"panic; stopping""#), "{story}: {ended:?}");
    }
}

#[test]
fn wrong_settings_are_all_told_and_exit_with_64() {
    let ended =
        run("end", "", &[("TRIREME_PROBE_PORT", "x"), ("TRIREME_PROBE_WORKER_THREADS", "0")]);
    assert_eq!(ended.code, Some(64), "{ended:?}");
    let told = ended.stderr.lines().filter(|line| line.starts_with("trireme-probe: ")).count();
    assert_eq!(told, 2, "{ended:?}");
}

#[test]
fn wrong_arguments_exit_with_64() {
    assert_eq!(run("end", "--colour", &[]).code, Some(64));
    assert_eq!(run("end", "--config /nowhere/trireme.toml", &[]).code, Some(64));
    assert_eq!(
        (run("fail", "--version", &[]).code, run("fail", "--help", &[]).code),
        (Some(0), Some(0))
    );
}

#[test]
fn a_signal_ends_a_program_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let ended = run_and_signal("serve", signal);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn a_task_that_outlives_the_deadline_is_named() {
    let ended = run_and_signal("linger", Signal::TERM);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.ends_with("trireme-probe: failed to end within 2s: still running: lingerer\n"),
        "{ended:?}"
    );
}

#[test]
fn logs_are_json_lines_where_there_is_no_terminal() {
    let ended = run("end", "", &[]);
    let line = ended.stderr.lines().find(|line| line.contains("starting")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&parsed["level"], &parsed["program"]), (&"INFO".into(), &"probe".into()));
}

#[test]
fn a_log_that_takes_nothing_ends_no_program() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = command("end", "", &[]).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(0));
}
