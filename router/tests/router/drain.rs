//! Units that leave, and the router's own end, with requests in flight.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use super::{
    client::{Client, SHOP, get, request, whole},
    rig::{Rig, eventually, unit_id},
    unit::{Unit, say},
};

/// A unit whose answers wait until the test lets them go.
async fn slow_unit() -> (Unit, Arc<Notify>, Arc<Semaphore>) {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (arriving, releasing) = (arrived.clone(), release.clone());
    let unit = Unit::start(move |_| {
        let (arrived, release) = (arriving.clone(), releasing.clone());
        async move {
            arrived.notify_one();
            release.acquire().await.unwrap().forget();
            say("slow but whole")
        }
    })
    .await;
    (unit, arrived, release)
}

#[tokio::test]
async fn a_unit_that_left_is_reported_until_its_slow_request_ends() {
    let rig = Rig::start().await;
    let (old, arrived, release) = slow_unit().await;
    let new = Unit::saying("new").await;
    rig.serve(&[old.address]).await;
    let http = rig.router.http;
    let slow = tokio::spawn(async move { get(http, SHOP, "/").await });
    arrived.notified().await;

    rig.serve(&[new.address]).await;
    let id = unit_id(old.address).parse().unwrap();
    let report = rig.gateway.last_report().unwrap();
    assert_eq!((report.version, report.draining.get(&id)), (2, Some(&1)));
    for _ in 0..10 {
        assert_eq!(get(rig.router.http, SHOP, "/").await.text, "new");
    }
    assert_eq!(rig.gateway.last_report().unwrap().draining.get(&id), Some(&1));

    release.add_permits(1);
    assert_eq!(slow.await.unwrap().text, "slow but whole");
    let ended = tokio::time::Instant::now();
    rig.gateway.report(|report| report.draining.is_empty()).await;
    assert!(ended.elapsed() < Duration::from_millis(700), "told at once: {:?}", ended.elapsed());
}

/// Units come and go as in a deploy: each is stopped as soon as the router says it is drained.
#[tokio::test(flavor = "multi_thread")]
async fn units_replaced_under_load_fail_no_request_and_break_no_client_connection() {
    const CLIENTS: usize = 6;
    let rig = Rig::start().await;
    let start_unit = || {
        Unit::start(|_| async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            say("ok")
        })
    };
    let mut units = vec![start_unit().await, start_unit().await];
    let addresses = |units: &[Unit]| units.iter().map(|unit| unit.address).collect::<Vec<_>>();
    rig.serve(&addresses(&units)).await;
    let done = service::Stop::new();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (http, done) = (rig.router.http, done.clone());
        clients.spawn(async move {
            let mut client = Client::connect(http).await;
            let mut count = 0;
            while !done.is_set() {
                let method = if number % 2 == 0 { "GET" } else { "POST" };
                let asking = request(method, SHOP, "/", if number % 2 == 0 { "" } else { "body" });
                let answer = whole(client.send(asking).await.unwrap()).await.unwrap();
                assert_eq!(
                    (answer.status, answer.text.as_str()),
                    (StatusCode::OK, "ok"),
                    "{method} {count}"
                );
                count += 1;
            }
            count
        });
    }
    for _ in 0..20 {
        let new = start_unit().await;
        let old = units.remove(0);
        units.push(new);
        rig.serve(&addresses(&units)).await;
        let id = unit_id(old.address).parse().unwrap();
        rig.gateway.report(|report| !report.draining.contains_key(&id)).await;
        drop(old);
    }
    done.set();
    let counts = clients.join_all().await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut rig = Rig::start().await;
    let (unit, arrived, release) = slow_unit().await;
    rig.serve(&[unit.address]).await;
    let http = rig.router.http;
    let idle = Client::connect(http).await;
    let slow = tokio::spawn(async move { get(http, SHOP, "/").await });
    arrived.notified().await;
    rig.router.stop.set();
    eventually("the listener to close", Duration::from_secs(5), || {
        std::net::TcpStream::connect(http).err()
    })
    .await;
    assert!(!slow.is_finished());
    release.add_permits(1);
    assert_eq!(slow.await.unwrap().text, "slow but whole");
    let ended =
        tokio::time::timeout(Duration::from_secs(5), rig.router.ended.take().unwrap()).await;
    ended.expect("idle connections do not hold it up").unwrap().unwrap();
    drop(idle);
    assert!(
        tokio::net::TcpListener::bind(http).await.is_ok(),
        "the port is free for the next router"
    );
}
