//! `trireme-registry-proxy`: the node's image registry.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main("registry-proxy", registry_proxy::Config::read, registry_proxy::run)
}
