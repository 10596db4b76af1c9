//! A unit's life on a real engine: start, serve, fail, stop.

use std::time::{Duration, Instant};

use model::{
    release::Probe,
    time::Time,
    unit::{Desired, Phase, UnitKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::rig::{SERVER, change, change_check, docker, eventually, with_rig};

pub async fn get(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[test]
fn a_unit_becomes_ready_serves_and_leaves_nothing_behind() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("web-1", SERVER);
        unit.env.insert("ODD".to_owned(), "two\nlines = 'x'".to_owned());
        rig.order(unit);
        let status = rig.until_phase("web-1", Phase::Ready).await;
        let address = status.address.expect("a ready unit has an address");
        assert!(get(&address).await.expect("it answers").ends_with("ok"));
        assert_eq!((status.restarts, status.trouble), (0, None));

        let [container] = &rig.containers("web-1")[..] else { panic!("one container") };
        let odd = docker(&["exec", container, "sh", "-c", "printf %s \"$ODD\""]);
        assert_eq!(odd, "two\nlines = 'x'");

        rig.desire("web-1", Desired::Drain { since: Time(2) });
        rig.desire("web-1", Desired::Stop { since: Time(3) });
        rig.until_phase("web-1", Phase::Gone).await;
        assert_eq!(rig.containers("web-1"), Vec::<String>::new());

        rig.drop_order("web-1");
        eventually("the unit to be forgotten", async || {
            rig.status("web-1").is_none().then_some(())
        })
        .await;
    });
}

#[test]
fn a_container_is_confined() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("web-1", SERVER);
        unit.cpu_millis = 500;
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        let container = &rig.containers("web-1")[0];
        let inspect = |format: &str| docker(&["inspect", "-f", format, container]);
        assert_eq!(inspect("{{.HostConfig.CapDrop}}"), "[ALL]");
        assert_eq!(
            inspect("{{.HostConfig.CapAdd}}"),
            "[CHOWN DAC_OVERRIDE FOWNER SETGID SETUID NET_BIND_SERVICE]"
        );
        assert_eq!(inspect("{{.HostConfig.SecurityOpt}}"), "[no-new-privileges]");
        assert_eq!(inspect("{{.HostConfig.PidsLimit}}"), "512");
        assert_eq!(
            inspect("{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"),
            "67108864 67108864"
        );
        assert_eq!(inspect("{{.HostConfig.NanoCpus}}"), "500000000");
        assert_eq!(inspect("{{.HostConfig.Init}} {{.HostConfig.Privileged}}"), "true false");
        assert_eq!(inspect("{{.HostConfig.NetworkMode}}"), "trireme");
        let icc = "{{index .Options \"com.docker.network.bridge.enable_icc\"}}";
        assert_eq!(docker(&["network", "inspect", "-f", icc, "trireme"]), "false");
        assert_eq!(inspect("{{.HostConfig.LogConfig.Config}}"), "map[max-file:3 max-size:10m]");
        assert_eq!(inspect("{{.Name}}"), format!("/trireme-{}-1", rig.id("web-1")));
    });
}

#[test]
fn a_crashing_unit_is_started_again_and_tells_its_last_lines() {
    with_rig(async |mut rig| {
        let unit = rig.unit("web-1", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do echo line $i; done; sleep 0.1; echo boom >&2; exit 3");
        rig.order(unit);
        let again = |restarts: u32| {
            move |status: &model::unit::UnitStatus| {
                status.phase == Phase::Backoff && status.restarts >= restarts
            }
        };
        rig.until("web-1", "failed", again(0)).await;
        let status = rig.until("web-1", "failed twice", again(1)).await;
        let trouble = status.trouble.expect("it tells why");
        assert_eq!(
            (trouble.code.as_str(), trouble.reason.as_str()),
            ("exited", "exited with code 3")
        );
        assert_eq!(trouble.last_lines.len(), 20);
        assert_eq!(trouble.last_lines.last().map(String::as_str), Some("boom"));
    });
}

#[test]
fn a_unit_killed_for_its_memory_is_told_as_such() {
    with_rig(async |mut rig| {
        let eater = "perl -e '$x = \"a\" x (300 * 1024 * 1024); sleep 60'";
        let unit = rig.unit("web-1", eater);
        rig.order(unit);
        let status = rig.until("web-1", "killed", |status| status.trouble.is_some()).await;
        let trouble = status.trouble.expect("it was asked for");
        assert_eq!(trouble.code, "out-of-memory", "{trouble:?}");
        assert_eq!(trouble.reason, "killed: out of memory (limit 64 MiB)");
    });
}

#[test]
fn an_unhealthy_unit_is_restarted_and_becomes_ready_again() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("web-1", "sleep 600");
        change_check(&mut unit, |check| {
            let command = ["test", "!", "-e", "/tmp/sick"].map(str::to_owned).to_vec();
            check.probe = Probe::Exec { command };
        });
        rig.order(unit);
        rig.until_phase("web-1", Phase::Ready).await;
        docker(&["exec", &rig.containers("web-1")[0], "touch", "/tmp/sick"]);
        let status = rig
            .until("web-1", "restarted", |status| {
                status.phase == Phase::Ready && status.restarts == 1
            })
            .await;
        let trouble = status.trouble.expect("it tells why");
        assert_eq!(trouble.code, "unhealthy");
        assert!(trouble.reason.contains("exited with code 1"), "{}", trouble.reason);
    });
}

#[test]
fn an_http_check_wants_the_status_it_was_given() {
    with_rig(async |mut rig| {
        let http = |status: u16| Probe::Http {
            method: "GET".to_owned(),
            path: "/well?yes".to_owned(),
            host: Some("shop.example".to_owned()),
            status_from: status,
            status_to: status,
        };
        let mut good = rig.unit("web-1", SERVER);
        change_check(&mut good, |check| check.probe = http(200));
        let mut bad = rig.unit("web-2", SERVER);
        change_check(&mut bad, |check| {
            check.probe = http(204);
            check.grace_ms = 500;
        });
        rig.order(good);
        rig.order(bad);
        rig.until_phase("web-1", Phase::Ready).await;
        let status = rig.until("web-2", "refused", |status| status.trouble.is_some()).await;
        let trouble = status.trouble.expect("it was asked for");
        let (reason, lines) = (trouble.reason, trouble.last_lines);
        assert!(reason.ends_with("GET /well?yes answered 200"), "{reason}");
        assert!(lines.iter().any(|line| line.starts_with("hit GET /well?yes")), "{lines:?}");
        assert!(!rig.phases("web-2").contains(&Phase::Ready));
    });
}

#[test]
fn a_unit_without_questions_is_ready_when_it_stays_up() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("worker-1", "sleep 600");
        change_check(&mut unit, |check| check.probe = Probe::Running);
        rig.order(unit);
        rig.until_phase("worker-1", Phase::Ready).await;
    });
}

#[test]
fn a_release_phase_runs_once_whatever_happens() {
    with_rig(async |mut rig| {
        for (id, line) in [("rel-1", "echo well"), ("rel-2", "echo ill >&2; exit 4")] {
            let mut unit = rig.unit(id, line);
            change(&mut unit, |unit| unit.kind = UnitKind::ReleasePhase);
            rig.order(unit);
        }
        let well = rig.until_phase("rel-1", Phase::Finished).await;
        assert_eq!(well.trouble, None);
        let ill = rig.until_phase("rel-2", Phase::Finished).await.trouble.expect("it failed");
        assert_eq!((ill.code.as_str(), ill.reason.as_str()), ("exited", "exited with code 4"));
        assert_eq!(ill.last_lines, ["ill"]);

        let before = rig.containers("rel-1");
        rig.kill_agent();
        rig.start_agent().await;
        rig.until_phase("rel-1", Phase::Finished).await;
        rig.until_phase("rel-2", Phase::Finished).await;
        assert_eq!(rig.containers("rel-1"), before, "it did not run again");
    });
}

#[test]
fn a_missing_image_is_told_and_tried_again() {
    with_rig(async |mut rig| {
        let mut unit = rig.unit("web-1", SERVER);
        let digest = "0".repeat(64);
        // A registry that does not answer, and then is not there.
        let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = registry.local_addr().unwrap();
        unit.image = format!("{address}/shop@sha256:{digest}");
        rig.order(unit);
        rig.until_phase("web-1", Phase::Pulling).await;
        drop(registry);
        let status = rig
            .until("web-1", "refused twice", |status| {
                status.phase == Phase::Backoff && status.restarts >= 1
            })
            .await;
        let trouble = status.trouble.expect("it tells why");
        assert_eq!(trouble.code, "image-missing", "{trouble:?}");
    });
}

#[test]
fn a_stopping_unit_gets_its_grace_and_not_more() {
    with_rig(async |mut rig| {
        let mut polite = rig.unit(
            "web-1",
            "trap 'sleep 1; exit 0' TERM; touch /tmp/up; while :; do sleep 0.1; done",
        );
        let mut deaf = rig.unit("web-2", "trap '' TERM; while :; do sleep 0.1; done");
        for unit in [&mut polite, &mut deaf] {
            change_check(unit, |check| check.probe = Probe::Running);
        }
        polite.stop_grace_seconds = 60;
        deaf.stop_grace_seconds = 1;
        rig.order(polite);
        rig.order(deaf);
        rig.until_phase("web-1", Phase::Ready).await;
        rig.until_phase("web-2", Phase::Ready).await;
        let began = Instant::now();
        rig.desire("web-1", Desired::Stop { since: Time(2) });
        rig.desire("web-2", Desired::Stop { since: Time(2) });
        rig.until_phase("web-1", Phase::Gone).await;
        rig.until_phase("web-2", Phase::Gone).await;
        assert!(began.elapsed() >= Duration::from_secs(1));
    });
}

#[test]
fn ten_units_start_together() {
    with_rig(async |mut rig| {
        let units: Vec<_> = (1..=10).map(|n| rig.unit(&format!("web-{n}"), SERVER)).collect();
        for unit in units {
            rig.order(unit);
        }
        let mut addresses = std::collections::BTreeSet::new();
        for n in 1..=10 {
            let status = rig.until_phase(&format!("web-{n}"), Phase::Ready).await;
            addresses.insert(status.address);
        }
        assert_eq!(addresses.len(), 10);
    });
}

#[test]
fn a_unit_the_node_has_no_memory_for_waits_and_then_starts() {
    with_rig(async |mut rig| {
        let total: u64 = std::fs::read_to_string("/proc/meminfo")
            .unwrap()
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap();
        rig.kill_agent();
        rig.reserve(total * 1024 - (100 << 20));
        rig.start_agent().await;
        let first = rig.unit("web-1", SERVER);
        rig.order(first);
        rig.until_phase("web-1", Phase::Ready).await;
        let second = rig.unit("web-2", SERVER);
        rig.order(second);
        let status = rig.until("web-2", "refused", |status| status.trouble.is_some()).await;
        assert_eq!(status.phase, Phase::Assigned);
        assert_eq!(status.trouble.expect("it was asked for").code, "no-room");
        rig.desire("web-1", Desired::Stop { since: Time(2) });
        let status = rig.until_phase("web-2", Phase::Ready).await;
        assert_eq!(status.trouble, None);
    });
}
