//! Several loggers of one cluster: what one of them acknowledged outlives it.

use crate::harness::{Home, line, texts};

#[tokio::test]
async fn what_a_dead_node_had_taken_is_read_from_another() {
    let [one, two, three] = Home::cluster();
    let (first, second, third) = (one.start(), two.start(), three.start());
    let mut agent = first.client(&one, "agent");
    for n in 0..5 {
        agent.append("run", n, vec![line("shop", "web.1", format!("line {n}"))]).await.unwrap();
    }
    // Sent twice, as after a lost answer.
    agent.append("run", 4, vec![line("shop", "web.1", "line 4")]).await.unwrap();
    let own = first.client(&one, "controller").read("shop", "", 0).await;
    drop(first);
    let mut reader = second.client(&two, "controller");
    assert_eq!(reader.origins("shop").await, ["n1"]);
    let kept = reader.read_of("n1", "shop").await;
    assert_eq!(texts(&kept), ["line 0", "line 1", "line 2", "line 3", "line 4"]);
    // The same lines under the same names, so that a reader of both shows none twice.
    assert_eq!(kept, own);
    assert!(kept.iter().all(|line| line.id != 0));
    // They are no lines of its own, and of none but one.
    assert!(reader.read("shop", "", 0).await.is_empty());
    assert!(third.client(&three, "controller").origins("shop").await.is_empty());
}

#[tokio::test]
async fn a_dead_neighbour_is_passed_over_and_a_lonely_node_goes_on() {
    let [one, two, three] = Home::cluster();
    let (first, third) = (one.start(), three.start());
    let mut agent = first.client(&one, "agent");
    agent.append("run", 1, vec![line("shop", "web.1", "one")]).await.unwrap();
    let mut reader = third.client(&three, "controller");
    assert_eq!(texts(&reader.read_of("n1", "shop").await), ["one"]);
    drop((third, reader));
    agent.append("run", 2, vec![line("shop", "web.1", "two")]).await.unwrap();
    let own = first.client(&one, "controller").read("shop", "", 0).await;
    assert_eq!(texts(&own), ["one", "two"]);
    drop(two);
}

#[tokio::test]
async fn a_forgotten_app_is_forgotten_in_the_copies_too() {
    let [one, two] = Home::cluster();
    let (first, second) = (one.start(), two.start());
    let mut agent = first.client(&one, "agent");
    agent.append("run", 1, vec![line("shop", "web.1", "one")]).await.unwrap();
    agent.append("run", 2, vec![line("blog", "web.1", "other")]).await.unwrap();
    let mut reader = second.client(&two, "controller");
    reader.forget("shop").await.unwrap();
    assert!(reader.read_of("n1", "shop").await.is_empty());
    assert_eq!(texts(&reader.read_of("n1", "blog").await), ["other"]);
    assert!(reader.origins("shop").await.is_empty());
}

#[tokio::test]
async fn only_loggers_of_the_cluster_ship() {
    let [one, two] = Home::cluster();
    let second = two.start();
    let request = proto::logger::ShipRequest::default();
    for role in ["agent", "controller", "builder"] {
        let refused = second.client(&one, role).ship(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{role}");
    }
    second.client(&one, "logger").ship(request).await.unwrap();
}
