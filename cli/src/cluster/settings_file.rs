//! The text of `trireme.toml`: what every program reads, made from the choices.

use std::net::{IpAddr, SocketAddr};

use service::identity::{CA_FILE, CERT_FILE, KEY_FILE};
use toml::Value;

use super::{
    choices::Choices,
    etcd::Side,
    layout::{Layout, PROGRAMS},
};

/// One table of the file: its name, its keys and their values.
type Section = (&'static str, Vec<(&'static str, Value)>);

/// The settings of a cluster. Only what differs between clusters stands in it; everything else keeps its default.
pub fn content(layout: &Layout, choices: &Choices) -> String {
    let mut text = String::from(
        "# Written by `clusterctl up` from cluster.json; changes made here are lost at the next `up`.\n",
    );
    for (name, values) in sections(layout, choices) {
        text.push_str(&format!("\n[{name}]\n"));
        for (key, value) in values {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

fn sections(layout: &Layout, choices: &Choices) -> Vec<Section> {
    let ports = &choices.ports;
    let inner = |offset: u16| address(choices.inner(offset));
    let public = |port: u16| address(SocketAddr::new(choices.bind, port));
    let registry = format!("127.0.0.1:{}", ports.registry);
    let socket = path(&choices.docker_socket);
    let mut sections: Vec<Section> = vec![
        ("cluster", cluster(layout, choices)),
        ("controller", controller(layout, choices)),
        ("agent", agent(choices, socket.clone())),
        ("builder", vec![("listen", public(ports.ssh)), ("docker", socket)]),
        ("registry-proxy", vec![("listen", registry.into()), ("control_listen", inner(3))]),
        (
            "router",
            vec![("http_listen", public(ports.http)), ("https_listen", public(ports.https))],
        ),
        ("logger", vec![("listen", inner(2))]),
    ];
    let programs = choices.programs();
    sections.retain(|(name, _)| {
        *name == "cluster" || programs.iter().any(|program| program.name == *name)
    });
    for (name, values) in &mut sections {
        let program = PROGRAMS.iter().find(|program| program.name == *name);
        values.extend(
            program.map(|program| ("admin_listen", address(choices.admin(program.admin_offset)))),
        );
    }
    sections
}

fn agent(choices: &Choices, socket: Value) -> Vec<(&'static str, Value)> {
    let mut values = vec![("listen", address(choices.inner(1))), ("docker_socket", socket)];
    // Routers of other nodes reach units here.
    let publish = choices.several.as_ref().map(|several| several.address.to_string());
    values.extend(publish.map(|address| ("publish", address.into())));
    values
}

fn cluster(layout: &Layout, choices: &Choices) -> Vec<(&'static str, Value)> {
    let inner = |offset: u16| address(choices.inner(offset));
    let mut values = vec![
        ("node", choices.node.clone().into()),
        ("domain", choices.domain.clone().into()),
        ("data_dir", path(&layout.data)),
        ("gateway", inner(0)),
        ("agent", inner(1)),
        ("logger", inner(2)),
        ("registry", format!("127.0.0.1:{}", choices.ports.registry).into()),
        ("registry_control", inner(3)),
    ];
    if let Some(several) = &choices.several {
        let gateway = values.iter_mut().find(|(name, _)| *name == "gateway");
        gateway.into_iter().for_each(|(_, value)| *value = several.gateways.join(",").into());
        if several.control {
            values.push(("own_gateway", inner(0)));
        }
    }
    values
}

fn controller(layout: &Layout, choices: &Choices) -> Vec<(&'static str, Value)> {
    let ports = &choices.ports;
    let mut values = vec![
        ("listen", address(SocketAddr::new(choices.bind, ports.api))),
        ("git_remote_base", format!("ssh://git@{}:{}", git_host(choices), ports.ssh).into()),
        ("http_port", i64::from(ports.http).into()),
        ("https_port", i64::from(ports.https).into()),
    ];
    if let Some(several) = &choices.several {
        let file = |name: &str| path(&Side::Client.folder(layout).join(name));
        values.extend([
            ("gateway_listen", address(choices.inner(0))),
            ("store", "etcd".into()),
            // The member beside it: when that is down, another node's controller has another member.
            ("etcd_endpoints", several.client_url(ports.base).into()),
            ("etcd_ca", file(CA_FILE)),
            ("etcd_certificate", file(CERT_FILE)),
            ("etcd_key", file(KEY_FILE)),
        ]);
    }
    values
}

/// The host of git remotes. Names below `localhost` are known to browsers, but not to every ssh, and lead to the
/// asking machine.
fn git_host(choices: &Choices) -> String {
    match &choices.several {
        Some(several) if choices.is_local() => match several.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
        None if choices.is_local() => "localhost".to_owned(),
        _ => format!("deis.{}", choices.domain),
    }
}

fn address(address: SocketAddr) -> Value {
    address.to_string().into()
}

fn path(path: &std::path::Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::super::choices::{PortWishes, Wishes};
    use super::super::several::Several;
    use super::*;

    fn several(domain: &str, control: bool) -> Choices {
        let several = Several {
            control,
            ..Several::first("trireme", "10.77.0.11".parse().unwrap(), "n1", 7400)
        };
        let wishes =
            Wishes { domain: Some(domain.to_owned()), several: Some(several), ..Wishes::default() };
        Choices::new(&Layout::new("/d"), "n1").with(&wishes)
    }

    #[test]
    fn git_remotes_name_a_host_that_ssh_finds() {
        let alone = |domain: &str| Choices { several: None, ..several(domain, true) };
        assert_eq!(git_host(&alone("apps.localhost")), "localhost");
        assert_eq!(git_host(&alone("example.org")), "deis.example.org");
        assert_eq!(git_host(&alone("notlocalhost")), "deis.notlocalhost");
        assert_eq!(git_host(&several("apps.localhost", true)), "10.77.0.11");
        assert_eq!(git_host(&several("example.org", true)), "deis.example.org");
    }

    #[test]
    fn a_node_of_several_listens_for_the_others_and_remembers_in_etcd() {
        let tables: toml::Table =
            content(&Layout::new("/d"), &several("a.org", true)).parse().unwrap();
        let text = |table: &str, key: &str| tables[table][key].as_str().unwrap().to_owned();
        assert_eq!(text("cluster", "own_gateway"), "10.77.0.11:7400");
        assert_eq!(text("agent", "listen"), "10.77.0.11:7401");
        assert_eq!(text("agent", "admin_listen"), "127.0.0.1:7411");
        assert_eq!(text("registry-proxy", "listen"), "127.0.0.1:5000");
        assert_eq!(text("controller", "etcd_endpoints"), "https://10.77.0.11:7404");
        assert_eq!(text("controller", "etcd_key"), "/d/etcd/client/key.pem");
    }

    #[test]
    fn a_node_that_only_runs_apps_has_no_controller() {
        let tables: toml::Table =
            content(&Layout::new("/d"), &several("a.org", false)).parse().unwrap();
        assert!(!tables.contains_key("controller") && !tables.contains_key("builder"));
        assert!(!tables["cluster"].as_table().unwrap().contains_key("own_gateway"));
    }

    #[test]
    fn every_program_has_its_table_and_the_chosen_ports() {
        let layout = Layout::new("/srv/a \"b\"");
        let ports = PortWishes { http: Some(8080), base: Some(17400), ..PortWishes::default() };
        let wishes = Wishes { ports, bind: Some("::1".parse().unwrap()), ..Wishes::default() };
        let choices = Choices::new(&layout, "n1").with(&wishes);
        let tables: toml::Table = content(&layout, &choices).parse().unwrap();
        for program in PROGRAMS {
            let admin = tables[program.name]["admin_listen"].as_str().unwrap();
            assert_eq!(admin, format!("127.0.0.1:{}", 17400 + program.admin_offset));
        }
        assert_eq!(tables["cluster"]["data_dir"].as_str(), Some("/srv/a \"b\""));
        assert_eq!(tables["router"]["http_listen"].as_str(), Some("[::1]:8080"));
        assert_eq!(tables["controller"]["http_port"].as_integer(), Some(8080));
        assert_eq!(tables["cluster"]["gateway"].as_str(), Some("127.0.0.1:17400"));
    }
}
