//! The lines of an app whose units run on several nodes, one of which does not answer.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use model::node::{Addresses, Duty, NodeSpec};
use model::snapshot::Versioned;
use model::time::Time;
use proto::logger::logger_server::{Logger, LoggerServer};
use proto::logger::{
    AppendAnswer, AppendRequest, ForgetAnswer, ForgetRequest, Line, LineBatch, OriginsAnswer,
    OriginsRequest, ReadRequest, ShipRequest,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use crate::harness::{PATIENCE, Platform, START_MS};

/// A logger with lines of its own and of other nodes, by node; what comes later is the same for every reader.
#[derive(Clone)]
struct Shelf {
    own: Vec<Line>,
    copies: BTreeMap<String, Vec<Line>>,
    coming: watch::Receiver<Option<Line>>,
}

#[tonic::async_trait]
impl Logger for Shelf {
    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendAnswer>, Status> {
        Ok(Response::new(AppendAnswer {}))
    }

    async fn ship(&self, _: Request<ShipRequest>) -> Result<Response<AppendAnswer>, Status> {
        Err(Status::unimplemented("for loggers"))
    }

    async fn origins(&self, _: Request<OriginsRequest>) -> Result<Response<OriginsAnswer>, Status> {
        Ok(Response::new(OriginsAnswer { nodes: self.copies.keys().cloned().collect() }))
    }

    type ReadStream = BoxStream<'static, Result<LineBatch, Status>>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let lines = match request.origin.as_str() {
            "" => self.own.clone(),
            origin => self.copies[origin].clone(),
        };
        let history = stream::iter([Ok(LineBatch { lines, ..LineBatch::default() })]);
        if !request.follow {
            return Ok(Response::new(history.boxed()));
        }
        let end = stream::iter([Ok(LineBatch { caught_up: true, ..LineBatch::default() })]);
        let coming = WatchStream::new(self.coming.clone()).filter_map(async |line| {
            Some(Ok(LineBatch { lines: vec![line?], ..LineBatch::default() }))
        });
        Ok(Response::new(history.chain(end).chain(coming.boxed()).boxed()))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetAnswer>, Status> {
        Ok(Response::new(ForgetAnswer {}))
    }
}

fn line(after_ms: u64, text: &str) -> Line {
    Line {
        app: "shop".to_owned(),
        process: "web.1".to_owned(),
        at_ms: START_MS + after_ms,
        text: text.as_bytes().to_vec(),
        id: after_ms,
        ..Line::default()
    }
}

async fn serve(platform: &Platform, shelf: Shelf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(LoggerServer::new(shelf));
    tokio::spawn(server.serve_with_incoming(platform.identity("logger").incoming(listener)));
    address
}

fn spec(name: &str, logger: &str) -> NodeSpec {
    NodeSpec {
        name: name.parse().unwrap(),
        addresses: Addresses { logger: logger.to_owned(), ..Addresses::default() },
        labels: BTreeMap::new(),
        duty: Duty::Open,
        joined: Time(0),
        admission: String::new(),
    }
}

/// A platform with `shop` and these nodes.
async fn with_nodes(nodes: &[(&str, Option<Shelf>)]) -> (Platform, String) {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let mut specs = Vec::new();
    for (name, shelf) in nodes {
        let address = match shelf {
            Some(shelf) => serve(&platform, shelf.clone()).await,
            None => "127.0.0.1:9".to_owned(),
        };
        specs.push(spec(name, &address));
    }
    platform
        .edit_view(|view| {
            let snapshot = std::sync::Arc::make_mut(&mut view.snapshot);
            for spec in specs {
                snapshot.specs.insert(spec.name.clone(), Versioned { value: spec, revision: 1 });
            }
        })
        .await;
    (platform, olga)
}

async fn texts(platform: &Platform, token: &str, query: &str) -> Vec<String> {
    let path = format!("/v1/apps/shop/logs?{query}");
    let answer = platform.get(token, &path).await;
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    body.lines().filter_map(text).collect()
}

fn text(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event.strip_prefix("data: ")?).unwrap();
    Some(event["text"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn lines_of_all_nodes_are_one_log_and_a_silent_one_is_said() {
    let (_coming, coming) = watch::channel(None);
    let of_two = vec![line(20, "b"), line(40, "d")];
    let shelf = |own: Vec<Line>, copies: &[(&str, Vec<Line>)]| {
        let copies = copies.iter().map(|(node, lines)| ((*node).to_owned(), lines.clone()));
        Some(Shelf { own, copies: copies.collect(), coming: coming.clone() })
    };
    let one = || shelf(vec![line(10, "a"), line(30, "c")], &[("n3", vec![line(25, "x")])]);
    let (platform, olga) = with_nodes(&[
        ("n1", one()),
        ("n2", shelf(of_two.clone(), &[])),
        ("n3", shelf(vec![line(25, "x")], &[("n2", of_two.clone())])),
    ])
    .await;
    assert_eq!(texts(&platform, &olga, "").await, ["a", "b", "x", "c", "d"]);
    assert_eq!(texts(&platform, &olga, "lines=2").await, ["c", "d"]);

    // The second one is gone; the third has what it had taken, and so has the first a part of it.
    let first = shelf(vec![line(10, "a")], &[("n2", vec![line(20, "b")])]);
    let third = shelf(vec![], &[("n2", of_two)]);
    let (platform, olga) = with_nodes(&[("n1", first), ("n2", None), ("n3", third)]).await;
    let kept = "node n2 does not answer: its lines are those that other nodes keep";
    assert_eq!(texts(&platform, &olga, "").await, ["a", "b", "d", kept]);

    // Nobody has anything of it.
    let (platform, olga) = with_nodes(&[("n1", one()), ("n2", None)]).await;
    let missing = "lines of node n2 are missing: its log service does not answer";
    // The copies of a node that left the cluster are read on.
    assert_eq!(texts(&platform, &olga, "").await, ["a", "x", "c", missing]);
}

#[tokio::test]
async fn who_follows_gets_the_news_of_every_node_once() {
    let (said, coming) = watch::channel(None);
    let shelf = |own| Some(Shelf { own, copies: BTreeMap::new(), coming: coming.clone() });
    let nodes = [("n1", shelf(vec![line(10, "a")])), ("n2", shelf(vec![line(20, "b")]))];
    let (platform, olga) = with_nodes(&nodes).await;
    let request = platform.request(&olga, "GET", "/v1/apps/shop/logs?follow=true", "");
    let mut body = platform.send(request).await.into_body();
    let (mut read, mut seen) = (String::new(), Vec::new());
    // Both loggers tell the same lines here, as two that have one line do.
    for (count, next) in [(2, "c"), (3, "d"), (4, "")] {
        while seen.len() < count {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap();
            read.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
            seen = read.lines().filter_map(text).collect();
        }
        said.send_replace(Some(line(100 + count as u64, next)));
    }
    assert_eq!(seen, ["a", "b", "c", "d"]);
}
