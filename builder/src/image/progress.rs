//! BuildKit's trace as lines for the pusher, and its failure as a problem.

use std::collections::{HashMap, HashSet};

use bollard::{errors::Error, moby::buildkit::v1::StatusResponse};
use proto::problem::{Code, Problem};

use crate::recipe::READ_CONFIG;

/// A line without an end is shown when it is this long.
const MAX_PARTIAL: usize = 8 << 10;

/// What was told of a build so far.
pub struct Progress {
    show_steps: bool,
    names: HashMap<String, String>,
    told: HashSet<String>,
    partial: HashMap<String, String>,
    failed: Option<(String, String)>,
}

impl Progress {
    /// With `show_steps` the instructions are told too: they are the user's own.
    pub fn new(show_steps: bool) -> Progress {
        Progress {
            show_steps,
            names: HashMap::new(),
            told: HashSet::new(),
            partial: HashMap::new(),
            failed: None,
        }
    }

    /// The lines that a piece of trace adds.
    pub fn lines(&mut self, status: &StatusResponse) -> Vec<String> {
        let mut lines = Vec::new();
        for vertex in &status.vertexes {
            self.names.insert(vertex.digest.clone(), vertex.name.clone());
            let begun = vertex.cached || vertex.started.is_some();
            if begun && is_instruction(&vertex.name) && self.told.insert(vertex.digest.clone()) {
                let cached = if vertex.cached { " (cached)" } else { "" };
                if self.show_steps {
                    lines.push(format!("{}{cached}", vertex.name));
                } else if vertex.cached
                    && vertex.name.contains(" RUN ")
                    && vertex.name.contains(" install ")
                {
                    lines.push("Dependencies are unchanged".to_owned());
                }
            }
            if !vertex.error.is_empty() && !vertex.error.contains("context canceled") {
                self.failed = Some((vertex.name.clone(), vertex.error.clone()));
            }
        }
        for log in &status.logs {
            let buffer = self.partial.entry(log.vertex.clone()).or_default();
            buffer.push_str(&String::from_utf8_lossy(&log.msg));
            while let Some(end) = buffer.find('\n') {
                let rest = buffer.split_off(end + 1);
                lines.push(std::mem::replace(buffer, rest).trim_end().to_owned());
            }
            if buffer.len() > MAX_PARTIAL {
                lines.push(std::mem::take(buffer));
            }
        }
        lines
    }

    /// What was said without a line's end.
    pub fn rest(&mut self) -> Vec<String> {
        self.partial.drain().map(|(_, text)| text).filter(|text| !text.trim().is_empty()).collect()
    }

    /// Why the build failed, in the user's words.
    pub fn problem(&self, error: Error, memory_bytes: u64) -> Problem {
        let text = match &error {
            Error::DockerStreamError { error } => error.clone(),
            Error::DockerResponseServerError { message, .. } => message.clone(),
            other => {
                tracing::error!(error = %other, "the Docker Engine failed at a build");
                return engine_is_away();
            }
        };
        let (step, reason) = match &self.failed {
            Some((step, reason)) => (instruction(step), reason.as_str()),
            None => (String::new(), text.as_str()),
        };
        let code = exit_code(reason);
        let message = match (step.is_empty(), code) {
            (false, Some(code)) => {
                format!("the build failed: `{step}` ended with exit code {code}")
            }
            (false, None) => format!("the build failed at `{step}`: {}", short(reason)),
            (true, _) => format!("the build failed: {}", short(reason)),
        };
        let problem = Problem::new(Code::BuildFailed, message);
        match code {
            Some(137) => problem.hint(format!(
                "It was killed, most likely because it needed more memory than builds have ({} MiB)",
                memory_bytes >> 20
            )),
            _ => problem.hint("The lines above say why. Nothing was changed; the version before goes on serving"),
        }
    }
}

/// The engine cannot be reached.
pub fn engine_is_away() -> Problem {
    Problem::new(Code::Unavailable, "the Docker Engine does not answer")
        .hint("Push again in a moment; `clusterctl doctor` shows what is wrong")
}

/// `[2/5] RUN x`, as against `[internal] load build definition`.
fn is_instruction(name: &str) -> bool {
    name.starts_with('[') && !name.starts_with("[internal]")
}

/// The instruction without its place in the line, cut to a readable length.
fn instruction(name: &str) -> String {
    let text = name.split_once("] ").map_or(name, |(_, rest)| rest);
    short(&without_mounts(text))
}

/// The mounts of our own recipes are no news to the user.
fn without_mounts(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.starts_with("--mount=")).collect();
    words.join(" ").replacen(READ_CONFIG, "", 1)
}

fn short(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST).chain("...".chars()).collect()
}

fn exit_code(reason: &str) -> Option<u32> {
    let (_, rest) = reason.rsplit_once("exit code: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    use super::*;

    fn vertex(name: &str, error: &str) -> StatusResponse {
        let vertex = Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            error: error.to_owned(),
            cached: true,
            ..Vertex::default()
        };
        StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
    }

    fn log(text: &str) -> StatusResponse {
        let log = VertexLog {
            vertex: "v".to_owned(),
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        };
        StatusResponse { logs: vec![log], ..StatusResponse::default() }
    }

    #[test]
    fn steps_are_told_once_and_only_where_they_are_the_users() {
        let mut own = Progress::new(true);
        assert_eq!(own.lines(&vertex("[1/2] FROM x", "")), ["[1/2] FROM x (cached)"]);
        assert!(own.lines(&vertex("[1/2] FROM x", "")).is_empty());
        assert!(own.lines(&vertex("[internal] load", "")).is_empty());
        assert!(Progress::new(false).lines(&vertex("[1/2] FROM x", "")).is_empty());
    }

    #[test]
    fn output_is_told_in_whole_lines() {
        let mut progress = Progress::new(false);
        assert!(progress.lines(&log("par")).is_empty());
        assert_eq!(progress.lines(&log("tial\nnext\nla")), ["partial", "next"]);
        assert_eq!(progress.rest(), ["la"]);
    }

    #[test]
    fn a_failure_names_the_step_and_its_exit_code() {
        let mut progress = Progress::new(false);
        let reason = "executor failed running [/bin/sh -c x]: exit code: 137";
        progress.lines(&vertex("[3/4] RUN --mount=type=cache,id=x pip install", reason));
        let error = || Error::DockerStreamError { error: "failed".to_owned() };
        let problem = progress.problem(error(), 512 << 20);
        assert_eq!(problem.message, "the build failed: `RUN pip install` ended with exit code 137");
        assert!(problem.hint.contains("512 MiB"), "{problem}");
        let unknown = Progress::new(true).problem(error(), 0);
        assert_eq!(
            (unknown.code, unknown.message.as_str()),
            (Code::BuildFailed, "the build failed: failed")
        );
    }
}
