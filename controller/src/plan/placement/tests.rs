//! Laws of placement on worlds of any shape.

use std::collections::BTreeMap;

use model::node::Addresses;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn node(number: usize, memory_mib: u64) -> Node {
    Node {
        name: format!("n{number:03}").parse().unwrap(),
        addresses: Addresses::default(),
        memory_bytes: memory_mib * MIB,
        sessions_bytes: 0,
        cpu_millis: 4000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        sights: BTreeMap::new(),
        left_running: BTreeMap::new(),
        heard: Time(0),
    }
}

fn spec(node: &Node, zone: &str, duty: Duty) -> NodeSpec {
    NodeSpec {
        name: node.name.clone(),
        addresses: Addresses::default(),
        labels: Tags::from([("zone".to_owned(), zone.to_owned())]),
        duty,
        joined: Time(0),
        admission: String::new(),
    }
}

/// Nodes with these sizes, in zones `a` and `b` by turns.
fn room(sizes_mib: &[u64]) -> Room {
    let mut room = Room::empty();
    for (number, size) in sizes_mib.iter().enumerate() {
        let node = node(number, *size);
        let zone = if number % 2 == 0 { "a" } else { "b" };
        room.open(&node, Some(&spec(&node, zone, Duty::Open)));
    }
    room
}

struct Kind {
    app: AppName,
    process: ProcessType,
    tags: Tags,
    memory_mib: u64,
}

impl Kind {
    fn new(app: &str, zone: Option<&str>, memory_mib: u64) -> Kind {
        let tags = zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect();
        Kind { app: app.parse().unwrap(), process: ProcessType::web(), tags, memory_mib }
    }

    fn place(&self, room: &mut Room) -> Result<NodeName, Refusal> {
        room.place(Need {
            app: &self.app,
            process: &self.process,
            tags: &self.tags,
            home: None,
            memory_bytes: self.memory_mib * MIB,
            cpu_millis: 100,
        })
    }
}

fn placed(kind: &Kind, room: &mut Room, count: usize) -> Vec<String> {
    (0..count).map(|_| kind.place(room).unwrap().to_string()).collect()
}

#[test]
fn a_type_is_spread_before_a_node_gets_a_second_one() {
    let mut room = room(&[10_000, 1_000, 1_000]);
    let kind = Kind::new("shop", None, 300);
    let mut first = placed(&kind, &mut room, 3);
    first.sort();
    assert_eq!(first, ["n000", "n001", "n002"]);
    assert_eq!(placed(&kind, &mut room, 1), ["n000"], "of equals, the emptiest");
}

#[test]
fn the_emptiest_node_by_its_fuller_dimension_is_taken() {
    let mut room = room(&[1_000, 1_000]);
    let hungry = Kind::new("hungry", None, 100);
    let need = Need {
        app: &hungry.app,
        process: &hungry.process,
        tags: &hungry.tags,
        home: None,
        memory_bytes: 100 * MIB,
        cpu_millis: 3_000,
    };
    assert_eq!(room.place(need).unwrap().as_str(), "n000");
    assert_eq!(placed(&Kind::new("large", None, 300), &mut room, 1), ["n001"]);
    let small = Kind::new("small", None, 10);
    assert_eq!(placed(&small, &mut room, 1), ["n001"], "its memory is fuller, n000's CPU more so");
}

#[test]
fn only_nodes_with_all_labels_are_taken_and_their_lack_is_said() {
    let mut room = room(&[500, 500, 500, 500]);
    let in_b = Kind::new("shop", Some("b"), 400);
    let mut nodes = placed(&in_b, &mut room, 2);
    nodes.sort();
    assert_eq!(nodes, ["n001", "n003"]);
    let full = in_b.place(&mut room).unwrap_err();
    assert_eq!(full.code, "no-room");
    assert!(full.reason.contains("zone=b has 400 MiB") && full.reason.contains("100 MiB"));
    let nowhere = Kind::new("shop", Some("c"), 1).place(&mut room).unwrap_err();
    assert_eq!(nowhere.code, "no-label");
    assert!(nowhere.reason.contains("zone=c") && nowhere.reason.contains("nodes:label"));
}

#[test]
fn nodes_that_are_silent_cordoned_or_draining_take_nothing() {
    let mut snapshot = Snapshot::default();
    let duties = [Duty::Cordoned, Duty::Draining { since: Time(0) }, Duty::Open];
    for (number, duty) in duties.into_iter().enumerate() {
        let node = Node { heard: Time(if number == 2 { 0 } else { 9_000 }), ..node(number, 100) };
        let spec = model::snapshot::Versioned { value: spec(&node, "a", duty), revision: 1 };
        snapshot.specs.insert(node.name.clone(), spec);
        snapshot.nodes.insert(node.name.clone(), node);
    }
    let mut room = Room::of(&snapshot, Time(10_000));
    let refusal = Kind::new("shop", None, 1).place(&mut room).unwrap_err();
    assert_eq!(refusal.code, "no-node");
    assert!(refusal.reason.contains("1 silent") && refusal.reason.contains("2 cordoned"));
}

proptest! {
    /// Nothing is given twice, nothing waits while there is room, spreading is exact, and the same questions get the same answers.
    #[test]
    fn placement_keeps_its_laws(
        sizes in proptest::collection::vec(1..300_u64, 1..60),
        wants in proptest::collection::vec((0..4_usize, 0..3_usize, 1..80_u64), 1..200),
    ) {
        let zones = [None, Some("a"), Some("b")];
        let apps = ["one", "two", "three", "four"];
        let (mut first, mut second) = (room(&sizes), room(&sizes));
        let mut free: Vec<u64> = sizes.clone();
        let mut running: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        for (app, zone, memory_mib) in wants {
            let kind = Kind::new(apps[app], zones[zone], memory_mib);
            let answer = kind.place(&mut first);
            prop_assert_eq!(&answer, &kind.place(&mut second));
            let suits = |number: usize| zone == 0 || number % 2 == zone - 1;
            let fits = |number: &usize| suits(*number) && free[*number] >= memory_mib;
            let fitting: Vec<usize> = (0..sizes.len()).filter(fits).collect();
            let count = |number: &usize| running.get(&(app, *number)).copied().unwrap_or(0);
            match answer {
                Ok(name) => {
                    let number: usize = name.as_str()[1..].parse().unwrap();
                    prop_assert!(fitting.contains(&number), "overcommitted");
                    let fewest = fitting.iter().map(&count).min().unwrap();
                    prop_assert_eq!(count(&number), fewest, "not spread");
                    free[number] -= memory_mib;
                    *running.entry((app, number)).or_default() += 1;
                }
                Err(_) => prop_assert!(fitting.is_empty(), "refused with room in {:?}", fitting),
            }
        }
    }
}
