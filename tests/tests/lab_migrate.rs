//! Two hosts: a cluster of one alone becomes one of both, and each router serves the unit of the other. The runbook
//! `from-one-node-to-three`, as it is written, but for the third.

use tests::lab::TemporaryLab;
use tests::{Load, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 48;
const HOST: &str = "demo.apps.localhost";

#[test]
fn others_join_a_node_that_began_alone() {
    let lab = TemporaryLab::bare(NUMBER, 2);
    let hosts = lab.hosts();
    let [n1, n2] = &hosts[..] else { panic!("there are two hosts") };
    n1.up_alone().unwrap();
    run(&mut n1.clusterctl(&["token:create"])).fails_with("store:migrate");
    let load = Load::at(n1.router(), HOST, &Load::MIXED);

    step("the first becomes one of several");
    let address = n1.address.to_string();
    run(&mut n1.clusterctl(&["store:migrate", "--address", &address])).ok().says("clusterctl join");

    step("the second joins");
    n2.join(&n1.token().unwrap()).unwrap();
    lab.wait_until_whole().unwrap();

    step("its router serves the app, whose unit is on the first");
    until("the second router answers", || (n2.get(HOST, "/").0 == 200).then_some(()));
    let second = Load::at(n2.router(), HOST, &Load::MIXED);
    until("the second load goes on", || (second.answered() > 100).then_some(()));

    step("the unit moves to the second, and the first router serves it there");
    run(&mut n1.clusterctl(&["drain", "n1"])).ok();
    let (before, moved) = (load.answered(), second.answered());
    until("both loads go on", || {
        (load.answered() > before + 100 && second.answered() > moved + 100).then_some(())
    });
    second.saw_no_failure();
    load.saw_no_failure();
}
