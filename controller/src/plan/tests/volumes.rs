//! Units bound to volumes, among others that are not.

use model::volume::Volume;

use super::*;
use crate::plan::imagine::{beyond_the_reserve, losing, outlook};

impl Cluster {
    /// The app's one type mounts a volume of a node from now on.
    fn mount(&mut self, app: &str, volume: &str, node: &str) {
        let app = &mut self.snapshot.apps.get_mut(&app.parse().unwrap()).unwrap().value;
        let process = app.formation.keys().next().unwrap().clone();
        let volume_document = Volume {
            id: format!("{}-{volume}-1", app.name).parse().unwrap(),
            node: name(node),
            created: self.now,
            mounts: BTreeMap::from([(process.clone(), format!("/{volume}").parse().unwrap())]),
        };
        app.volumes.insert(volume.parse().unwrap(), volume_document);
        app.formation.get_mut(&process).unwrap().epoch += 1;
        app.generation += 1;
    }

    /// Three nodes that are known; the app serves two units, on `n2`, where its volume is.
    fn bound(sizes: &[u64]) -> Cluster {
        let mut cluster = Cluster::new(sizes);
        cluster.step();
        cluster.app(production("shop", 2));
        cluster.mount("shop", "data", "n2");
        cluster.steps(6);
        assert_eq!((cluster.nodes_of("shop"), cluster.serving("shop")), ("n2 n2".to_owned(), 2));
        cluster
    }

    fn rules() -> Rules {
        Rules { default_memory_bytes: 100 * MIB }
    }
}

#[test]
fn units_move_to_the_volume_that_their_type_mounts_and_only_there() {
    let mut cluster = Cluster::new(&[4, 4, 4]);
    cluster.app(production("shop", 2));
    cluster.app(production("blog", 3));
    cluster.steps(6);
    assert_eq!(cluster.nodes_of("shop"), "n1 n2");
    cluster.mount("shop", "data", "n3");
    cluster.steps(8);
    assert_eq!((cluster.nodes_of("shop"), cluster.serving("shop")), ("n3 n3".to_owned(), 2));
    let mounts = cluster.snapshot.units.values().filter(|unit| unit.value.app.as_str() == "shop");
    let mounts: Vec<_> = mounts.map(|unit| unit.value.mounts.clone()).collect();
    let data = ("/data".parse().unwrap(), "shop-data-1".parse().unwrap());
    assert_eq!(mounts, [BTreeMap::from([data.clone()]), BTreeMap::from([data])]);
    assert_eq!(cluster.nodes_of("blog"), "n1 n2 n3");
}

#[test]
fn a_lost_node_is_waited_for_with_its_units_as_they_were() {
    let mut cluster = Cluster::bound(&[4, 4, 4]);
    let units = cluster.snapshot.units.clone();
    cluster.silent.insert(name("n2"));
    cluster.steps(40);
    let why = cluster.waits("shop");
    let reason = "web.1 waits: its volume `data` is on n2, which is lost";
    assert_eq!(why[0], ("volume", reason));
    assert_eq!(cluster.snapshot.units, units);
    cluster.silent.clear();
    cluster.steps(4);
    assert_eq!((cluster.serving("shop"), cluster.waits("shop")), (2, vec![]));
    assert_eq!(cluster.snapshot.units, units);
}

#[test]
fn a_drain_leaves_bound_units_and_says_why() {
    let mut cluster = Cluster::bound(&[4, 4, 4]);
    cluster.app(production("blog", 3));
    cluster.steps(6);
    cluster.drain("n2");
    cluster.steps(10);
    assert_eq!(
        (cluster.nodes_of("shop"), cluster.nodes_of("blog")),
        ("n2 n2".into(), "n1 n1 n3".into())
    );
    let (code, reason) = cluster.waits("shop")[0];
    assert_eq!(code, "drain");
    assert!(reason.contains("is on n2, which is being drained; it stays there until"), "{reason}");
}

#[test]
fn a_later_machine_of_the_name_gets_none_of_them() {
    let mut cluster = Cluster::bound(&[4, 4, 4]);
    cluster.snapshot.units.clear();
    let spec = &mut cluster.snapshot.specs.get_mut(&name("n2")).unwrap().value;
    spec.joined = cluster.now.plus_ms(1);
    cluster.steps(4);
    assert_eq!(cluster.nodes_of("shop"), "");
    let reason = cluster.waits("shop")[0].1;
    assert!(reason.contains("is on n2, which is no longer in the cluster"), "{reason}");
}

#[test]
fn labels_and_memory_of_that_node_count_and_room_is_made_there_alone() {
    let mut cluster = Cluster::new(&[3, 2, 3]);
    cluster.app(Wants { class: Class::Preview, ..production("trial", 6) });
    cluster.steps(6);
    assert_eq!(cluster.nodes_of("trial"), "n1 n1 n2 n2 n3 n3");
    cluster.app(production("shop", 2));
    cluster.mount("shop", "data", "n2");
    cluster.steps(10);
    assert_eq!((cluster.nodes_of("shop"), cluster.serving("shop")), ("n2 n2".to_owned(), 2));
    assert_eq!(cluster.nodes_of("trial"), "n1 n1 n1 n3 n3 n3");
    cluster.scale_of("shop").count = 3;
    cluster.steps(4);
    let (code, reason) = cluster.waits("shop")[0];
    assert!(code == "no-room" && reason.contains("on n2, which has 0 MiB"), "{reason}");
    cluster.scale_of("shop").tags.insert("disk".to_owned(), "ssd".to_owned());
    cluster.step();
    let (code, reason) = cluster.waits("shop")[0];
    assert!(code == "no-label" && reason.contains("not labelled disk=ssd"), "{reason}");
}

#[test]
fn a_dry_run_and_the_reserve_know_of_volumes() {
    let mut cluster = Cluster::bound(&[4, 4, 4]);
    cluster.scale_of("shop").count = 3;
    let foretold = outlook(&cluster.snapshot, &Cluster::rules(), cluster.now);
    let nodes: Vec<_> = foretold.starts.iter().map(|unit| unit.node.as_str()).collect();
    assert_eq!((nodes, foretold.waiting), (vec!["n2"], vec![]));
    let loss = losing(&cluster.snapshot, &[name("n2")], &Cluster::rules(), cluster.now);
    let codes: BTreeSet<_> = loss.waiting.iter().map(|(_, waiting)| waiting.code).collect();
    assert_eq!(codes, BTreeSet::from(["volume"]));
    let shop = "shop".parse().unwrap();
    let beyond = beyond_the_reserve(&cluster.snapshot, &shop, &Cluster::rules(), cluster.now);
    assert_eq!(beyond, None, "no reserve elsewhere would help");
}
