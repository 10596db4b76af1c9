//! Following: history and what is added join without a gap, for many at once, and a slow one delays nobody.

use std::collections::HashMap;

use futures_util::future::join_all;
use proto::logger::{Line, ReadRequest};

use crate::harness::{Client, Home, line, message, next, take, texts};

#[tokio::test]
async fn history_and_what_is_added_join_without_gap_or_repetition() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    let total = 2_000;
    let writing = tokio::spawn(async move {
        for n in 0..total {
            agent.append("a", n, vec![line("shop", "web.1", n.to_string())]).await.unwrap();
        }
    });
    let mut controller = logger.client(&home, "controller");
    let mut checked = 0;
    while !writing.is_finished() && checked < 8 {
        let mut stream = controller.follow("shop", 10).await;
        let lines = texts(&take(&mut stream, 40).await);
        let numbers: Vec<u64> = lines.iter().map(|text| text.parse().unwrap()).collect();
        let first = numbers[0];
        let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
        assert_eq!(numbers, expected);
        checked += 1;
    }
    assert!(checked > 3, "{checked}");
    writing.abort();
}

/// Numbers of one unit's lines in the order they were read.
fn by_unit(lines: &[Line]) -> HashMap<String, Vec<u64>> {
    let mut units: HashMap<String, Vec<u64>> = HashMap::new();
    for line in lines {
        let number = String::from_utf8(line.text.clone()).unwrap().parse().unwrap();
        units.entry(line.process.clone()).or_default().push(number);
    }
    units
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_writers_and_ten_followers_all_see_every_line_once_and_in_order() {
    const WRITERS: u64 = 20;
    const BATCHES: u64 = 40;
    const LINES: u64 = 10;
    let home = Home::new();
    let logger = home.start();
    let mut followers = Vec::new();
    for _ in 0..10 {
        let mut stream = logger.client(&home, "controller").follow("shop", 0).await;
        let count = usize::try_from(WRITERS * BATCHES * LINES).unwrap();
        followers.push(tokio::spawn(async move { take(&mut stream, count).await }));
    }
    let write = async |mut agent: Client, writer: u64| {
        for batch in 0..BATCHES {
            let unit = format!("web.{writer}");
            let numbers = batch * LINES..(batch + 1) * LINES;
            let lines = numbers.map(|n| line("shop", &unit, n.to_string())).collect();
            agent.append(&format!("run{writer}"), batch, lines).await.unwrap();
        }
    };
    join_all((0..WRITERS).map(|writer| write(logger.client(&home, "agent"), writer))).await;
    let whole: Vec<u64> = (0..BATCHES * LINES).collect();
    for follower in followers {
        let units = by_unit(&follower.await.unwrap());
        assert_eq!(units.len() as u64, WRITERS);
        for (unit, numbers) in units {
            assert!(numbers == whole, "{unit}: {numbers:?}");
        }
    }
}

#[tokio::test]
async fn a_slow_follower_is_told_what_it_lost_and_delays_nobody() {
    let home = Home::new();
    let logger = home.start_with(&[("MAX_APP_BYTES", "512K")]);
    let mut agent = logger.client(&home, "agent");
    let mut controller = logger.client(&home, "controller");
    // It asks and then does not read.
    let mut slow = controller.follow("shop", 10).await;
    let (batches, lines) = (100, 40);
    for batch in 0..batches {
        let lines = (0..lines).map(|_| line("shop", "web.1", "x".repeat(2_000))).collect();
        agent.append("a", batch, lines).await.unwrap();
    }
    agent.append("a", batches, vec![line("shop", "web.1", "last")]).await.unwrap();
    let (mut seen, mut lost) = (0, 0);
    loop {
        let batch = next(&mut slow).await.unwrap();
        lost += batch.dropped;
        seen += batch.lines.len() as u64;
        if batch.lines.last().is_some_and(|line| line.text == b"last") {
            break;
        }
    }
    assert!(lost > 0);
    assert_eq!(seen + lost, batches * lines + 1);
}

#[tokio::test]
async fn only_wanted_lines_are_followed_and_forgetting_ends_it() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    let mut controller = logger.client(&home, "controller");
    let request = ReadRequest {
        app: "shop".to_owned(),
        process: "web.2".to_owned(),
        follow: true,
        since_ms: 500,
        lines: 5,
        ..ReadRequest::default()
    };
    let mut stream = controller.open(request).await.unwrap();
    let early = Line { at_ms: 499, ..line("shop", "web.2", "early") };
    let lines = vec![line("shop", "web.1", "a"), early, line("shop", "web.2", "b")];
    agent.append("a", 1, lines).await.unwrap();
    assert_eq!(texts(&take(&mut stream, 1).await), ["b"]);

    controller.forget("shop").await.unwrap();
    assert_eq!(next(&mut stream).await, None);
    assert!(!home.app("shop").exists());
    assert_eq!(controller.read("shop", "", 0).await, Vec::new());
    agent.append("a", 2, vec![line("shop", "web.1", "again")]).await.unwrap();
    assert_eq!(texts(&controller.read("shop", "", 0).await), ["again"]);
}

#[tokio::test]
async fn a_stop_ends_those_who_follow() {
    let home = Home::new();
    let logger = home.start();
    let mut controller = logger.client(&home, "controller");
    controller.append("a", 1, vec![line("shop", "web.1", "one")]).await.unwrap();
    let mut stream = controller.follow("shop", 10).await;
    assert_eq!(texts(&take(&mut stream, 1).await), ["one"]);
    let stopped = tokio::task::spawn_blocking(move || logger.stop());
    assert_eq!(next(&mut stream).await, None);
    assert_eq!(stopped.await.unwrap(), Some(0));
}

#[tokio::test]
async fn who_follows_is_told_once_where_history_ends() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    let mut controller = logger.client(&home, "controller");
    agent.append("run", 1, vec![line("shop", "web.1", "old")]).await.unwrap();
    let mut stream = controller.follow("shop", 10).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        let batch = message(&mut stream).await.unwrap();
        told.extend(texts(&batch.lines));
        if batch.caught_up {
            told.push("caught up".to_owned());
            agent.append("run", 2, vec![line("shop", "web.1", "new")]).await.unwrap();
        }
    }
    assert_eq!(told, ["old", "caught up", "new"]);
}
