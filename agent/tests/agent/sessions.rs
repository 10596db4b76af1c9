//! One-off commands over the real call: bytes, terminals, exit codes, and what is left when the call breaks.

use std::time::Duration;

use proto::{
    agent::{
        Resize, RunInput, RunOutput, RunStart, agent_client::AgentClient, run_input::Input,
        run_output::Output,
    },
    problem::{Code, Problem},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code as GrpcCode, Status, Streaming};

use crate::rig::{IMAGE, Rig, docker, eventually, with_rig};

struct Call {
    inputs: mpsc::Sender<RunInput>,
    outputs: Streaming<RunOutput>,
}

#[derive(Debug, Default)]
struct Result_ {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Option<i32>,
    problem: Option<Problem>,
    is_started: bool,
}

fn start(rig: &Rig, name: &str, command: &[&str]) -> RunStart {
    RunStart {
        app: rig.node.clone(),
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: [("GREETING".to_owned(), "hello".to_owned())].into(),
        memory_bytes: 64 << 20,
        cpu_millis: 0,
        tty: false,
        size: None,
        detach: false,
    }
}

async fn call_as(rig: &Rig, role: &str, start: RunStart) -> Result<Call, Status> {
    let channel = service::channel(&rig.identity(role), &rig.agent.to_string(), "agent").unwrap();
    let (inputs, receiver) = mpsc::channel(8);
    inputs.send(RunInput { input: Some(Input::Start(start)) }).await.unwrap();
    let outputs = AgentClient::new(channel).run(ReceiverStream::new(receiver)).await?.into_inner();
    Ok(Call { inputs, outputs })
}

async fn call(rig: &Rig, start: RunStart) -> Call {
    call_as(rig, "controller", start).await.unwrap()
}

impl Call {
    async fn send(&self, input: Input) {
        self.inputs.send(RunInput { input: Some(input) }).await.unwrap();
    }

    /// Takes outputs until `is_enough` or the end.
    async fn take(&mut self, result: &mut Result_, is_enough: impl Fn(&Result_) -> bool) {
        while !is_enough(result) {
            let Some(output) = self.outputs.message().await.unwrap() else { return };
            match output.output.expect("a message has a meaning") {
                Output::Started(is_started) => result.is_started = is_started,
                Output::Stdout(bytes) => result.stdout.extend(bytes),
                Output::Stderr(bytes) => result.stderr.extend(bytes),
                Output::Exit(code) => result.exit = Some(code),
                Output::ProblemJson(problem) => {
                    result.problem = Some(Problem::from_json(&problem));
                }
            }
        }
    }

    async fn finish(mut self) -> Result_ {
        let mut result = Result_::default();
        self.take(&mut result, |_| false).await;
        result
    }
}

fn one_offs(rig: &Rig) -> String {
    let node = format!("label=trireme.node={}", rig.node);
    docker(&["ps", "-aq", "--filter", &node, "--filter", "label=trireme.oneoff"])
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    with_rig(async |rig| {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let mut call = call(&rig, start(&rig, "cat", &["cat"])).await;
        let (inputs, sent) = (call.inputs.clone(), bytes.clone());
        tokio::spawn(async move {
            for piece in sent.chunks(60_000) {
                let input = Some(Input::Stdin(piece.to_vec()));
                inputs.send(RunInput { input }).await.unwrap();
            }
            inputs.send(RunInput { input: Some(Input::StdinClosed(true)) }).await.unwrap();
        });
        let mut result = Result_::default();
        call.take(&mut result, |_| false).await;
        assert_eq!((result.exit, result.is_started), (Some(0), true), "{:?}", result.problem);
        assert!(result.stdout == bytes, "{} bytes of {}", result.stdout.len(), bytes.len());
        assert_eq!(one_offs(&rig), "", "its container is gone before its end is told");
    });
}

#[test]
fn the_exit_code_and_both_outputs_are_passed_on() {
    with_rig(async |rig| {
        let line = "printf out-$GREETING; printf err >&2; exit 42";
        let result = call(&rig, start(&rig, "x1", &["sh", "-c", line])).await.finish().await;
        assert_eq!(result.exit, Some(42), "{result:?}");
        assert_eq!((&result.stdout[..], &result.stderr[..]), (&b"out-hello"[..], &b"err"[..]));
    });
}

#[test]
fn all_output_comes_before_the_exit_even_to_a_slow_caller() {
    with_rig(async |rig| {
        let command = ["head", "-c", "5000000", "/dev/zero"];
        let mut call = call(&rig, start(&rig, "x1", &command)).await;
        let mut result = Result_::default();
        call.take(&mut result, |result| result.is_started).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        call.take(&mut result, |_| false).await;
        assert_eq!((result.exit, result.stdout.len()), (Some(0), 5_000_000));
    });
}

#[test]
fn arguments_reach_the_command_without_a_shell() {
    with_rig(async |rig| {
        let command = ["printf", "%s|", "a b", "$HOME", "; exit 3", "*"];
        let result = call(&rig, start(&rig, "x1", &command)).await.finish().await;
        assert_eq!(String::from_utf8_lossy(&result.stdout), "a b|$HOME|; exit 3|*|");
    });
}

#[test]
fn a_terminal_has_its_size_follows_its_window_and_echoes() {
    with_rig(async |rig| {
        let mut start = start(&rig, "x1", &["sh", "-c", "read a; stty size; read b; stty size"]);
        start.tty = true;
        start.size = Some(Resize { rows: 33, columns: 101 });
        let mut call = call(&rig, start).await;
        let mut result = Result_::default();
        let shows = |text: &'static str| {
            move |result: &Result_| String::from_utf8_lossy(&result.stdout).contains(text)
        };
        call.send(Input::Stdin(b"one\n".to_vec())).await;
        call.take(&mut result, shows("33 101")).await;
        call.send(Input::Resize(Resize { rows: 40, columns: 120 })).await;
        call.send(Input::Stdin(b"two\n".to_vec())).await;
        call.take(&mut result, |_| false).await;
        let shown = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(shown.contains("40 120") && shown.contains("two\r\n"), "{shown}");
        assert_eq!(result.exit, Some(0));
    });
}

#[test]
fn a_broken_call_ends_its_command() {
    with_rig(async |rig| {
        let mut call = call(&rig, start(&rig, "x1", &["sleep", "600"])).await;
        call.take(&mut Result_::default(), |result| result.is_started).await;
        assert_ne!(one_offs(&rig), "");
        drop(call);
        eventually("the container to go", async || one_offs(&rig).is_empty().then_some(())).await;
    });
}

#[test]
fn a_detached_command_outlives_its_call_and_the_agent_and_tells_the_log() {
    with_rig(async |mut rig| {
        let line = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo ended";
        let mut wanted = start(&rig, "x1", &["sh", "-c", line]);
        wanted.detach = true;
        let result = call(&rig, wanted).await.finish().await;
        assert!(result.is_started && result.exit.is_none(), "{result:?}");
        eventually("its first line", async || {
            (rig.logger.lines("run.x1") == ["begun"]).then_some(())
        })
        .await;
        rig.kill_agent();
        rig.start_agent().await;
        docker(&["exec", &one_offs(&rig), "touch", "/tmp/go"]);
        eventually("its last line", async || {
            (rig.logger.lines("run.x1") == ["begun", "ended"]).then_some(())
        })
        .await;
        eventually("the container to go", async || one_offs(&rig).is_empty().then_some(())).await;
    });
}

#[test]
fn an_agent_removes_the_attached_commands_of_its_earlier_run() {
    with_rig(async |mut rig| {
        rig.kill_agent();
        let node = format!("trireme.node={}", rig.node);
        let labels = ["--label", &node, "--label", "trireme.oneoff=x1"];
        docker(&[&["run", "-d"][..], &labels, &[IMAGE, "sleep", "600"]].concat());
        assert_ne!(one_offs(&rig), "");
        rig.start_agent().await;
        eventually("the container to go", async || one_offs(&rig).is_empty().then_some(())).await;
    });
}

#[test]
fn what_cannot_be_run_is_a_problem_not_a_silence() {
    with_rig(async |rig| {
        let mut large = start(&rig, "x1", &["true"]);
        large.memory_bytes = 1 << 60;
        let problem = call(&rig, large).await.finish().await.problem.expect("it has no room");
        assert_eq!(problem.code, Code::NoRoom);
        let named = start(&rig, "../x1", &["true"]);
        let problem = call(&rig, named).await.finish().await.problem.expect("it is no name");
        assert_eq!(problem.code, Code::Invalid);
        let mut missing = start(&rig, "x2", &["true"]);
        missing.image = format!("127.0.0.1:1/shop@sha256:{}", "0".repeat(64));
        let problem = call(&rig, missing).await.finish().await.problem.expect("no such image");
        assert_eq!(problem.code, Code::Unavailable);
        let unknown = call(&rig, start(&rig, "x3", &["no-such-command"])).await.finish().await;
        assert_eq!(unknown.exit, Some(127), "{unknown:?}");
        assert_eq!(one_offs(&rig), "");
    });
}

#[test]
fn only_the_controller_may_run_commands() {
    with_rig(async |rig| {
        for role in ["agent", "router", "logger"] {
            let refused =
                call_as(&rig, role, start(&rig, "x1", &["true"])).await.err().expect(role);
            assert_eq!(refused.code(), GrpcCode::PermissionDenied, "{role}");
        }
        assert_eq!(one_offs(&rig), "");
    });
}
