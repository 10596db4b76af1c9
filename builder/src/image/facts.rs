//! What an image says of itself: its port, and whether it has a command.

use bollard::models::ImageInspect;
use proto::problem::{Code, Problem};

use crate::recipe::Plan;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The one port it exposes, if it exposes exactly one.
    pub exposed_port: Option<u16>,
    has_command: bool,
}

impl Facts {
    /// Refuses an image that would run nothing where the plan relies on its own command.
    pub fn require_command(&self, plan: &Plan) -> Result<(), Problem> {
        if self.has_command || plan.processes.values().all(Option::is_some) {
            return Ok(());
        }
        Err(Problem::new(
            Code::Unsupported,
            "the Dockerfile has neither CMD nor ENTRYPOINT, so nothing says what to run",
        )
        .hint("Add a CMD to the Dockerfile, or a Procfile"))
    }

    /// Images of our own recipes expose nothing; their plans say what runs.
    pub fn of_our_own() -> Facts {
        Facts { exposed_port: None, has_command: true }
    }

    /// Reads what the engine knows of an image.
    pub fn of(image: &ImageInspect) -> Facts {
        let Some(config) = &image.config else {
            return Facts { exposed_port: None, has_command: false };
        };
        let is_set =
            |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let ports: Vec<&String> = config.exposed_ports.iter().flatten().collect();
        let exposed_port = match ports.as_slice() {
            [port] => port.strip_suffix("/tcp").and_then(|port| port.parse().ok()),
            _ => None,
        };
        Facts { exposed_port, has_command: is_set(&config.cmd) || is_set(&config.entrypoint) }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ImageConfig;

    use super::*;

    fn facts(ports: &[&str], cmd: &[&str]) -> Facts {
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let config =
            ImageConfig { exposed_ports: list(ports), cmd: list(cmd), ..Default::default() };
        Facts::of(&ImageInspect { config: Some(config), ..Default::default() })
    }

    #[test]
    fn exactly_one_tcp_port_counts() {
        assert_eq!(facts(&["8080/tcp"], &["x"]).exposed_port, Some(8080));
        for ports in [&[][..], &["80/tcp", "81/tcp"], &["53/udp"]] {
            assert_eq!(facts(ports, &["x"]).exposed_port, None, "{ports:?}");
        }
    }

    #[test]
    fn an_image_without_a_command_is_found() {
        assert!(facts(&[], &["x"]).has_command && !facts(&[], &[]).has_command);
    }
}
