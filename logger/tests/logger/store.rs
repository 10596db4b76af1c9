//! What was acknowledged is there: after a kill, after a repeat, in its order.

use tonic::Code;

use crate::harness::{Home, line, texts};

#[tokio::test]
async fn lines_come_back_oldest_first_and_filtered() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    let mut controller = logger.client(&home, "controller");
    for n in 0..10 {
        let process = format!("web.{}", n % 2 + 1);
        agent.append("a", n, vec![line("shop", &process, format!("{n}"))]).await.unwrap();
    }
    let build = vec![line("shop", "build", "b"), line("blog", "build", "other")];
    logger.client(&home, "builder").append("b", 1, build).await.unwrap();
    controller.append("c", 1, vec![line("shop", "platform", "p")]).await.unwrap();
    assert_eq!(texts(&controller.read("shop", "", 4).await), ["8", "9", "b", "p"]);
    assert_eq!(texts(&controller.read("shop", "web", 3).await), ["7", "8", "9"]);
    assert_eq!(texts(&controller.read("shop", "web.2", 2).await), ["7", "9"]);
    assert_eq!(controller.read("shop", "", 0).await.len(), 12);
    let line = &controller.read("blog", "", 5).await[0];
    assert_eq!((line.app.as_str(), line.process.as_str(), line.at_ms), ("blog", "build", 1_000));
    assert_eq!(controller.read("none", "", 5).await, Vec::new());
}

#[tokio::test]
async fn acknowledged_lines_survive_kills_under_load_and_repeats_are_stored_once() {
    let home = Home::new();
    let mut sequence = 0;
    let mut acknowledged = 0;
    for round in 0..4 {
        let logger = home.start();
        let mut agent = logger.client(&home, "agent");
        // The batch that the kill left without an answer is sent again, as an agent does.
        let killed_at = 40 * (round + 1);
        while sequence < killed_at {
            let lines =
                vec![line("shop", "web.1", sequence.to_string()), line("blog", "web.1", "x")];
            agent.append("run", sequence, lines).await.unwrap();
            sequence += 1;
            acknowledged += 1;
        }
        let lines = vec![line("shop", "web.1", sequence.to_string()), line("blog", "web.1", "x")];
        let unanswered = tokio::spawn({
            let mut agent = agent.clone();
            async move { agent.append("run", killed_at, lines).await }
        });
        if round % 2 == 0 {
            // Stored, but the sender never hears of it.
            unanswered.await.unwrap().unwrap();
        }
        drop(logger);
    }
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    for repeat in sequence.saturating_sub(20)..=sequence {
        let lines = vec![line("shop", "web.1", repeat.to_string()), line("blog", "web.1", "x")];
        agent.append("run", repeat, lines).await.unwrap();
    }
    let mut controller = logger.client(&home, "controller");
    let stored = texts(&controller.read("shop", "", 0).await);
    let expected: Vec<String> = (0..=sequence).map(|n| n.to_string()).collect();
    assert_eq!(stored, expected);
    assert_eq!(controller.read("blog", "", 0).await.len() as u64, acknowledged + 1);
}

#[tokio::test]
async fn a_repeat_is_told_by_sender_and_count() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    for (source, sequence, text) in [
        ("a", 1, "one"),
        ("a", 1, "one"),
        ("a", 2, "two"),
        ("b", 1, "three"),
        ("", 1, "four"),
        ("", 1, "five"),
    ] {
        agent.append(source, sequence, vec![line("shop", "web.1", text)]).await.unwrap();
    }
    // Another program's source of the same name is another source.
    let mut builder = logger.client(&home, "builder");
    builder.append("a", 1, vec![line("shop", "build", "six")]).await.unwrap();
    let stored = texts(&logger.client(&home, "controller").read("shop", "", 0).await);
    assert_eq!(stored, ["one", "two", "three", "four", "five", "six"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_come_back_as_they_were() {
    let home = Home::new();
    let logger = home.start();
    let text = vec![0, 159, 146, 150, b'\n', 27, 255];
    let mut controller = logger.client(&home, "controller");
    controller.append("a", 1, vec![line("shop", "web.1", text.clone())]).await.unwrap();
    assert_eq!(controller.read("shop", "", 1).await[0].text, text);
}

#[tokio::test]
async fn each_role_may_do_its_part_only() {
    let home = Home::new();
    let logger = home.start();
    let lines = || vec![line("shop", "web.1", "x")];
    for role in ["router", "registry-proxy"] {
        let refused = logger.client(&home, role).append("a", 1, lines()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
    for role in ["agent", "builder", "router"] {
        let mut client = logger.client(&home, role);
        let request = proto::logger::ReadRequest { app: "shop".to_owned(), ..Default::default() };
        assert_eq!(client.open(request).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(client.forget("shop").await.unwrap_err().code(), Code::PermissionDenied);
    }
    let stranger = Home::new();
    assert!(logger.client(&stranger, "agent").append("a", 1, lines()).await.is_err());
}
