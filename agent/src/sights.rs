//! How this node finds the agents of the others: it tries to connect, so that a leader can tell a dead machine from a cut cable.

use std::{collections::BTreeMap, io, time::Duration};

use link::Members;
use model::{
    name::NodeName,
    node::{Member, Sight},
};
use service::Stop;
use tokio::{net::TcpStream, sync::watch, task::JoinSet};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An agent that has not taken a connection by then is silent.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many are tried in one round; where there are more, round after round the next ones.
const AT_ONCE: usize = 8;

/// The latest of each other node.
pub type Sights = BTreeMap<NodeName, Sight>;

/// Looks for the others until `stop`.
pub async fn look(
    own: NodeName,
    members: watch::Receiver<Members>,
    seen: watch::Sender<Sights>,
    stop: Stop,
) {
    let mut last = None;
    loop {
        let round = {
            let members = members.borrow();
            let others: Vec<&Member> =
                members.nodes.iter().filter(|member| member.name != own).collect();
            seen.send_modify(|seen| {
                seen.retain(|name, _| others.iter().any(|member| member.name == *name));
            });
            next_round(&others, last.as_ref())
        };
        last = round.last().map(|member| member.name.clone()).or(last);
        let mut asked = JoinSet::new();
        for Member { name, addresses } in round {
            asked.spawn(async move { (name, sight(&addresses.agent).await) });
        }
        let found = tokio::select! {
            () = stop.wait() => return,
            found = asked.join_all() => found,
        };
        seen.send_modify(|seen| seen.extend(found));
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// All of them, or as many as may be tried at once, beginning behind the last one of the last round.
fn next_round(others: &[&Member], last: Option<&NodeName>) -> Vec<Member> {
    let first = others.iter().position(|member| Some(&member.name) > last).unwrap_or(0);
    let round = others.iter().cycle().skip(first).take(others.len().min(AT_ONCE));
    round.map(|member| (*member).clone()).collect()
}

async fn sight(address: &str) -> Sight {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Sight::Reached,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Sight::Refused,
        Ok(Err(_)) | Err(_) => Sight::Silent,
    }
}

#[cfg(test)]
mod tests {
    use model::node::Addresses;

    use super::*;

    fn member(name: &str, agent: String) -> Member {
        let addresses = Addresses { agent, ..Addresses::default() };
        Member { name: name.parse().unwrap(), addresses }
    }

    fn names(round: &[Member]) -> Vec<&str> {
        round.iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn a_few_are_all_tried_and_many_in_turn() {
        let members: Vec<Member> =
            (1..=9).map(|n| member(&format!("n{n}"), String::new())).collect();
        let all: Vec<&Member> = members.iter().collect();
        assert_eq!(names(&next_round(&all[..2], Some(&members[0].name))), ["n2", "n1"]);
        let first = next_round(&all, None);
        assert_eq!(names(&first), ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"]);
        let second = next_round(&all, Some(&first[7].name));
        assert_eq!(names(&second), ["n9", "n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
        // The last one has left the cluster.
        assert_eq!(names(&next_round(&all[..8], Some(&members[8].name)))[0], "n1");
        assert!(next_round(&[], None).is_empty());
    }

    #[tokio::test]
    async fn an_agent_is_reached_refused_or_silent() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let reached = listening.local_addr().unwrap().to_string();
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // A listener whose queue is full takes no more: the kernel drops what comes.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let _queued = [TcpStream::connect(silent).await, TcpStream::connect(silent).await];
        let nodes = vec![
            member("n1", refused.to_string()),
            member("n2", reached),
            member("n3", refused.to_string()),
            member("n4", silent.to_string()),
        ];
        let members = Members { nodes, ..Members::default() };
        let (told, seen) = (watch::Sender::new(members), watch::Sender::default());
        let mut latest = seen.subscribe();
        let (stop, own) = (Stop::new(), "n1".parse().unwrap());
        let looking = tokio::spawn(look(own, told.subscribe(), seen, stop.clone()));
        let found = latest.wait_for(|sights| sights.len() == 3).await.unwrap().clone();
        let found: Vec<Sight> = found.into_values().collect();
        assert_eq!(found, [Sight::Reached, Sight::Refused, Sight::Silent]);
        told.send_replace(Members::default());
        latest.wait_for(Sights::is_empty).await.unwrap();
        stop.set();
        looking.await.unwrap();
    }
}
