//! Output of units reaches the logger: all of it, once, through any restart.

use std::time::Duration;

use model::{
    release::Probe,
    time::Time,
    unit::{Desired, Phase},
};

use crate::rig::{Rig, change_check, eventually, with_rig};

fn talker(rig: &Rig, line: &str) -> proto::gateway::Assignment {
    let mut unit = rig.unit("web-1", line);
    change_check(&mut unit, |check| check.probe = Probe::Running);
    unit
}

async fn until_lines(rig: &Rig, process: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines of {process}"), async || {
        let lines = rig.logger.lines(process);
        (lines.len() >= count).then_some(lines)
    })
    .await
}

#[test]
fn lines_are_neither_lost_nor_repeated_through_restarts_of_agent_and_logger() {
    with_rig(async |mut rig| {
        let counting = "for i in $(seq 1 400); do echo line $i; sleep 0.02; done; sleep 600";
        let unit = talker(&rig, counting);
        rig.order(unit);
        until_lines(&rig, "web.1", 30).await;
        rig.kill_agent();
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.start_agent().await;
        until_lines(&rig, "web.1", 100).await;
        rig.logger.set_down(true);
        tokio::time::sleep(Duration::from_millis(700)).await;
        rig.kill_agent();
        rig.start_agent().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.logger.set_down(false);
        until_lines(&rig, "web.1", 200).await;
        rig.kill_servers();
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.start_servers().await;
        let lines = until_lines(&rig, "web.1", 400).await;
        let expected: Vec<String> = (1..=400).map(|n| format!("line {n}")).collect();
        assert_eq!(lines, expected);
    });
}

#[test]
fn the_last_words_of_a_stopped_unit_arrive() {
    with_rig(async |mut rig| {
        let unit = talker(
            &rig,
            "trap 'echo bye >&2; exit 0' TERM; echo hello; while :; do sleep 0.1; done",
        );
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        rig.desire("web-1", Desired::Stop { since: Time(2) });
        rig.until_phase("web-1", Phase::Gone).await;
        assert_eq!(until_lines(&rig, "web.1", 2).await, ["hello", "bye"]);
        let lines = rig.logger.whole_lines("web.1");
        let streams: Vec<&str> = lines.iter().map(|line| line.stream.as_str()).collect();
        assert_eq!(streams, ["stdout", "stderr"]);
        assert!(lines.iter().all(|line| line.app == "shop" && line.at_ms > 1_700_000_000_000));
    });
}

#[test]
fn a_logger_that_is_down_delays_lines_but_not_stops() {
    with_rig(async |mut rig| {
        rig.logger.set_down(true);
        let unit = talker(&rig, "echo kept; sleep 600");
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        rig.desire("web-1", Desired::Stop { since: Time(2) });
        rig.until_phase("web-1", Phase::Gone).await;
        rig.drop_order("web-1");
        rig.kill_agent();
        rig.start_agent().await;
        assert_eq!(rig.containers("web-1").len(), 1, "its output is still there");
        rig.logger.set_down(false);
        assert_eq!(until_lines(&rig, "web.1", 1).await, ["kept"]);
        eventually("the container to go", async || {
            rig.containers("web-1").is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn any_bytes_and_long_lines_arrive() {
    with_rig(async |mut rig| {
        let line = "printf 'a\\377\\000b\\n\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end; sleep 600";
        let unit = talker(&rig, line);
        rig.order(unit);
        until_lines(&rig, "web.1", 6).await;
        let texts: Vec<Vec<u8>> =
            rig.logger.whole_lines("web.1").into_iter().map(|line| line.text).collect();
        // The engine keeps text: what is no UTF-8 becomes its replacement mark.
        assert_eq!(texts[0], "a\u{fffd}\0b".as_bytes());
        assert_eq!(texts[1], b"");
        let long = &texts[2..texts.len() - 1];
        assert!(long.iter().all(|piece| piece.len() <= 16 * 1024));
        assert_eq!(long.concat(), vec![b'x'; 40_000]);
        assert_eq!(texts[texts.len() - 1], b"end");
    });
}
