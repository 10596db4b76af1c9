//! The text of `trireme.toml`: what every program reads, made from the choices.

use std::net::SocketAddr;

use toml::Value;

use super::{
    choices::Choices,
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
    let inner = |offset: u16| address(choices.admin(offset));
    let public = |port: u16| address(SocketAddr::new(choices.bind, port));
    let registry = format!("127.0.0.1:{}", ports.registry);
    let socket = path(&choices.docker_socket);
    let mut sections: Vec<Section> = vec![
        (
            "cluster",
            vec![
                ("node", choices.node.clone().into()),
                ("domain", choices.domain.clone().into()),
                ("data_dir", path(&layout.data)),
                ("gateway", inner(0)),
                ("agent", inner(1)),
                ("logger", inner(2)),
                ("registry", registry.clone().into()),
                ("registry_control", inner(3)),
            ],
        ),
        ("controller", controller(choices)),
        ("agent", vec![("listen", inner(1)), ("docker_socket", socket.clone())]),
        ("builder", vec![("listen", public(ports.ssh)), ("docker", socket)]),
        ("registry-proxy", vec![("listen", registry.into()), ("control_listen", inner(3))]),
        (
            "router",
            vec![("http_listen", public(ports.http)), ("https_listen", public(ports.https))],
        ),
        ("logger", vec![("listen", inner(2))]),
    ];
    for (name, values) in &mut sections {
        let program = PROGRAMS.iter().find(|program| program.name == *name);
        values.extend(program.map(|program| ("admin_listen", inner(program.admin_offset))));
    }
    sections
}

fn controller(choices: &Choices) -> Vec<(&'static str, Value)> {
    let ports = &choices.ports;
    vec![
        ("listen", address(SocketAddr::new(choices.bind, ports.api))),
        (
            "git_remote_base",
            format!("ssh://git@{}:{}", git_host(&choices.domain), ports.ssh).into(),
        ),
        ("http_port", i64::from(ports.http).into()),
        ("https_port", i64::from(ports.https).into()),
    ]
}

/// The host of git remotes. Names below `localhost` are known to browsers, but not to every ssh.
fn git_host(domain: &str) -> String {
    if domain == "localhost" || domain.ends_with(".localhost") {
        return "localhost".to_owned();
    }
    format!("deis.{domain}")
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
    use super::*;

    #[test]
    fn git_remotes_name_a_host_that_ssh_finds() {
        assert_eq!(git_host("apps.localhost"), "localhost");
        assert_eq!(git_host("example.org"), "deis.example.org");
        assert_eq!(git_host("notlocalhost"), "deis.notlocalhost");
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
