//! One reader of an app's log: what all loggers have, then what comes, until the reader goes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use model::name::{AppName, NodeName};
use model::node::Member;
use proto::logger::{Line, LineBatch, ReadRequest};
use proto::problem::{Code, Problem};
use service::{Clock, Stop};
use tokio::sync::mpsc;
use tokio_stream::StreamMap;
use tonic::Streaming;

use super::history::{self, History};
use super::merge::{self, Shown};
use super::{Logs, PROCESS};
use crate::reach::Reach;
use crate::view::ViewReceiver;

/// How often loggers that do not answer, and new ones, are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Clocks of nodes may differ by this much.
const SKEW_MS: u64 = 5_000;

/// What a reader gets. Closed at the end.
pub type Batches = mpsc::Receiver<LineBatch>;

/// The reader's place.
pub(super) struct Reading {
    reach: Reach,
    view: ViewReceiver,
    clock: Clock,
    stop: Stop,
    app: AppName,
    request: ReadRequest,
    shown: Shown,
    /// Loggers that are being read.
    live: StreamMap<NodeName, Streaming<LineBatch>>,
    /// Loggers that were said to be silent.
    silent: BTreeSet<NodeName>,
}

impl Reading {
    pub(super) fn new(logs: &Logs, app: AppName, request: ReadRequest, stop: Stop) -> Reading {
        Reading {
            reach: logs.reach.clone(),
            view: logs.view.clone(),
            clock: logs.clock.clone(),
            stop,
            app,
            request,
            shown: Shown::default(),
            live: StreamMap::new(),
            silent: BTreeSet::new(),
        }
    }

    /// What there is, and what is to be said about it.
    pub(super) async fn begin(&mut self) -> Result<LineBatch, Problem> {
        let members = self.members();
        let read = join_all(members.iter().map(|member| self.read_own(member))).await;
        let (mut logs, mut answering, mut notes, mut dropped) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        for (member, history) in members.iter().zip(read) {
            let Some(history) = history else {
                self.silent.insert(member.name.clone());
                continue;
            };
            if history.is_broken {
                notes.push(format!("lines of node {} are missing: its log broke off", member.name));
            }
            dropped += history.dropped;
            answering.push(member);
            logs.push(history.lines);
            if let Some(rest) = history.rest {
                self.live.insert(member.name.clone(), rest);
            }
        }
        if answering.is_empty() {
            return Err(Problem::new(Code::Unavailable, "the log service does not answer").hint(
                "try again in a moment; an administrator finds the reason with `clusterctl status`",
            ));
        }
        let (copies, origins) = self.read_copies(&answering).await;
        logs.extend(copies);
        for node in &self.silent {
            notes.push(match origins.contains(node.as_str()) {
                true => format!(
                    "node {node} does not answer: its lines are those that other nodes keep"
                ),
                false => {
                    format!("lines of node {node} are missing: its log service does not answer")
                }
            });
        }
        let count = match self.request.lines {
            0 => usize::MAX,
            count => count as usize,
        };
        let mut lines = merge::newest(logs, count, &mut self.shown);
        lines.extend(notes.into_iter().map(|text| self.note(text)));
        Ok(LineBatch { lines: lines.into(), dropped, caught_up: true })
    }

    /// Sends what comes, until the reader, the app or this program is gone.
    pub(super) async fn follow(mut self, reader: mpsc::Sender<LineBatch>) {
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        looks.tick().await;
        let mut since_ms = self.clock.now_ms();
        let mut opening = FuturesUnordered::new();
        let stop = self.stop.clone();
        loop {
            let batch = tokio::select! {
                () = stop.wait() => return,
                () = reader.closed() => return,
                Some((node, message)) = self.live.next(), if !self.live.is_empty() => match message {
                    Ok(batch) => self.unseen(batch),
                    Err(status) => {
                        tracing::debug!(%node, %status, "a logger broke off");
                        self.live.remove(&node);
                        self.lost(node)
                    }
                },
                Some((node, history)) = opening.next(), if !opening.is_empty() => match history {
                    Some(history) => self.found(node, history),
                    None => self.lost(node),
                },
                _ = looks.tick() => {
                    if !self.is_app_here() {
                        return;
                    }
                    let members = self.members();
                    let away = members.iter().filter(|member| !self.live.contains_key(&member.name));
                    if opening.is_empty() {
                        let request = ReadRequest { lines: 0, since_ms, ..self.request.clone() };
                        opening.extend(away.map(|member| open(self.reach.clone(), member.clone(), request.clone())));
                        since_ms = self.clock.now_ms().saturating_sub(SKEW_MS);
                    }
                    continue;
                }
            };
            let is_worth_it = !batch.lines.is_empty() || batch.dropped > 0;
            if is_worth_it && reader.send(batch).await.is_err() {
                return;
            }
        }
    }

    fn members(&self) -> Vec<Member> {
        self.reach.members(&self.view.borrow().snapshot)
    }

    fn is_app_here(&self) -> bool {
        let snapshot = &self.view.borrow().snapshot;
        snapshot.apps.get(&self.app).is_some_and(|app| app.value.destroyed.is_none())
    }

    async fn read_own(&self, member: &Member) -> Option<History> {
        open(self.reach.clone(), member.clone(), self.request.clone()).await.1
    }

    /// Lines of nodes whose own loggers do not answer, as those that answer keep them; and which nodes these are.
    async fn read_copies(
        &self,
        answering: &[&Member],
    ) -> (Vec<std::collections::VecDeque<Line>>, BTreeSet<String>) {
        let copies = answering.iter().map(|member| async move {
            let Ok(client) = self.reach.logger(member) else { return Vec::new() };
            let origins = history::origins(client.clone(), &self.request.app).await;
            let absent = origins
                .into_iter()
                .filter(|origin| !answering.iter().any(|member| member.name.as_str() == origin));
            let reads = absent.map(|origin| async {
                let request =
                    ReadRequest { origin: origin.clone(), follow: false, ..self.request.clone() };
                let read = history::read(client.clone(), request).await;
                Some((origin, read.ok()?.lines))
            });
            join_all(reads).await
        });
        let found = join_all(copies).await.into_iter().flatten().flatten();
        let (origins, logs): (BTreeSet<_>, Vec<_>) = found.unzip();
        (logs, origins)
    }

    fn unseen(&mut self, mut batch: LineBatch) -> LineBatch {
        batch.lines.retain(|line| self.shown.is_new(line));
        batch
    }

    fn found(&mut self, node: NodeName, history: History) -> LineBatch {
        self.silent.remove(&node);
        if let Some(rest) = history.rest {
            self.live.insert(node, rest);
        }
        let lines = history.lines.into();
        self.unseen(LineBatch { lines, dropped: history.dropped, caught_up: false })
    }

    /// Says once that a node is silent.
    fn lost(&mut self, node: NodeName) -> LineBatch {
        let mut lines = Vec::new();
        if self.silent.insert(node.clone()) {
            let text = format!(
                "lines of node {node} are missing from now on: its log service does not answer"
            );
            lines.push(self.note(text));
        }
        LineBatch { lines, ..LineBatch::default() }
    }

    fn note(&self, text: String) -> Line {
        Line {
            app: self.app.to_string(),
            process: PROCESS.to_owned(),
            at_ms: self.clock.now_ms(),
            text: text.into_bytes(),
            ..Line::default()
        }
    }
}

/// Reads a node's own logger; none where it does not answer.
async fn open(reach: Reach, member: Member, request: ReadRequest) -> (NodeName, Option<History>) {
    let history = async {
        let client = reach.logger(&member).ok()?;
        let read = history::read(client, request).await;
        read.inspect_err(|status| {
            tracing::debug!(node = %member.name, %status, "a logger does not answer");
        })
        .ok()
    };
    let history = history.await;
    (member.name, history)
}
