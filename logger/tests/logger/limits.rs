//! What is bounded: an app's files, a batch, the disk.

use tonic::Code;

use crate::harness::{Home, line, texts};

#[tokio::test]
async fn an_apps_files_stay_within_their_limit_and_the_newest_lines_stay() {
    let home = Home::new();
    let logger = home.start_with(&[("MAX_APP_BYTES", "1M")]);
    let mut agent = logger.client(&home, "agent");
    for batch in 0..100 {
        let lines =
            (0..50).map(|n| line("shop", "web.1", format!("{:0>1000}", batch * 50 + n))).collect();
        agent.append("a", batch, lines).await.unwrap();
        let files = std::fs::read_dir(home.app("shop")).unwrap();
        let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 1 << 20, "{size}");
    }
    let kept = texts(&logger.client(&home, "controller").read("shop", "", 0).await);
    let numbers: Vec<u64> = kept.iter().map(|text| text.parse().unwrap()).collect();
    assert!(numbers.len() > 500, "{}", numbers.len());
    let expected: Vec<u64> = (5_000 - numbers.len() as u64..5_000).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn a_disk_at_its_floor_refuses_lines_and_reads_go_on() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    agent.append("a", 1, vec![line("shop", "web.1", "before")]).await.unwrap();
    drop(logger);
    let logger = home.start_with(&[("MIN_FREE", "1000000T")]);
    let mut agent = logger.client(&home, "agent");
    let refused = agent.append("a", 2, vec![line("shop", "web.1", "during")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("disk"), "{refused}");
    let kept = texts(&logger.client(&home, "controller").read("shop", "", 0).await);
    assert_eq!(kept, ["before"]);
}

#[tokio::test]
async fn a_bad_batch_is_refused_whole() {
    let home = Home::new();
    let logger = home.start();
    let mut agent = logger.client(&home, "agent");
    for lines in [
        vec![line("shop", "web.1", "x"), line("../../etc", "web.1", "x")],
        vec![line("shop", "web.1", "x"); 1_001],
    ] {
        let refused = agent.append("a", 1, lines).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert!(!home.app("shop").exists());
}
