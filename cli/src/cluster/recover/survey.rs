//! Whether a recovery is called for: the quorum is gone and stays away, and every other member is named as dead and is silent.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use proto::api::{StoreInfo, StoreMember};
use tokio::net::TcpStream;

/// A restart of the others, or an election, takes less.
const LOST_FOR_MS: u64 = 30_000;
/// What answers at all does so in less.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The other members, if the store needs a recovery.
pub fn lost(store: &StoreInfo) -> anyhow::Result<Vec<StoreMember>> {
    let Some(ms) = store.without_quorum_ms else {
        bail!(
            "find anything to recover: the store has its quorum. A lost node is replaced with `clusterctl nodes:replace NODE`"
        );
    };
    if ms < LOST_FOR_MS {
        bail!(
            "begin so soon: the quorum is gone for {} s only, and may come back by itself. Try again in {} s",
            ms / 1_000,
            (LOST_FOR_MS - ms).div_ceil(1_000)
        );
    }
    let others = store.members.iter().filter(|member| !member.is_here);
    let others: Vec<StoreMember> = others.cloned().collect();
    if others.is_empty() {
        bail!("find other members of the store: it has this one alone. See `clusterctl logs etcd`");
    }
    Ok(others)
}

/// Whether exactly the other members were named.
pub fn check_named(others: &[StoreMember], named: &[String]) -> anyhow::Result<()> {
    let others: BTreeSet<&str> = others.iter().map(|member| member.node.as_str()).collect();
    let named: BTreeSet<&str> = named.iter().map(|name| name.trim()).collect();
    if others == named {
        return Ok(());
    }
    let list = others.into_iter().collect::<Vec<_>>().join(",");
    bail!(
        "confirm that every other member is switched off for good: they are {list}. Switch them off, then `clusterctl recover --confirm-dead {list}`; nothing was changed"
    )
}

/// Whether all of them are silent: one that runs and is forgotten may go on as another cluster.
pub async fn check_silent(others: &[StoreMember]) -> anyhow::Result<()> {
    for member in others {
        let address: SocketAddr = member
            .address
            .parse()
            .with_context(|| format!("find the address of {}", member.node))?;
        let answered = tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(address)).await;
        if let Ok(Ok(_)) = answered {
            bail!(
                "go on without {}: it answers at {address}. If it is well, the quorum comes back by itself; else switch it off first. Nothing was changed",
                member.node
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(without_quorum_ms: Option<u64>, nodes: &[&str]) -> StoreInfo {
        let member = |(place, node): (usize, &&str)| StoreMember {
            node: (*node).to_owned(),
            address: "127.0.0.1:1".to_owned(),
            is_here: place == 0,
        };
        let members = nodes.iter().enumerate().map(member).collect();
        StoreInfo { without_quorum_ms, members }
    }

    #[test]
    fn only_a_quorum_that_stays_away_is_recovered() {
        let refused = |store: StoreInfo| lost(&store).unwrap_err().to_string();
        assert!(refused(store(None, &["n1", "n2"])).contains("nodes:replace"));
        assert!(refused(store(Some(12_500), &["n1", "n2"])).contains("again in 18 s"));
        assert!(refused(store(Some(60_000), &["n1"])).contains("alone"));
        assert_eq!(lost(&store(Some(30_000), &["n1", "n2", "n3"])).unwrap().len(), 2);
    }

    #[test]
    fn every_other_member_is_named_and_no_other() {
        let others = lost(&store(Some(30_000), &["n1", "n2", "n3"])).unwrap();
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            check_named(&others, &names)
        };
        assert!(named(&["n3", "n2"]).is_ok());
        for wrong in [&[][..], &["n2"], &["n1", "n2", "n3"], &["n2", "n4"]] {
            let refused = named(wrong).unwrap_err().to_string();
            assert!(refused.contains("--confirm-dead n2,n3"), "{refused}");
        }
    }

    #[tokio::test]
    async fn one_that_answers_is_not_dead() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut others = lost(&store(Some(30_000), &["n1", "n2"])).unwrap();
        assert!(check_silent(&others).await.is_ok());
        others[0].address = listener.local_addr().unwrap().to_string();
        let refused = check_silent(&others).await.unwrap_err().to_string();
        assert!(refused.contains("without n2: it answers"), "{refused}");
    }
}
