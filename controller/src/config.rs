//! The controller's settings, each with its default.
//!
//! ```text
//!   [cluster]     node, domain, data_dir, gateway, agent, logger, registry, registry_control
//!   [controller]  listen, gateway_listen, admin_listen, git_remote_base, http_port, https_port, default_memory, reserve,
//!                 store, etcd_endpoints, etcd_prefix, etcd_ca, etcd_certificate, etcd_key, etcd_server_name
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
};

use service::{List, Settings, Size};

use crate::platform::Platform;

/// Everything the controller can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Addresses of the other parts.
    pub parts: Parts,
    /// Where files are.
    pub files: Files,
    /// Where the cluster's memory is.
    pub store: StoreConfig,
    /// Names, doors and defaults of this platform.
    pub platform: Platform,
}

/// Addresses to listen on.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The public API.
    pub api: SocketAddr,
    /// For all other parts.
    pub gateway: SocketAddr,
    /// Health, version, metrics.
    pub admin: SocketAddr,
}

/// Addresses of the other parts that the controller calls.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The logger.
    pub logger: String,
    /// The registry's retention side.
    pub registry_control: String,
}

/// Where files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The folder of all programs' files.
    pub data: PathBuf,
    /// Own files.
    pub folder: PathBuf,
    /// The identity's folder.
    pub identity: PathBuf,
    /// The API's certificate and key.
    pub api: PathBuf,
}

/// Where the cluster's memory is.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// A file of this controller.
    Embedded(PathBuf),
    /// An etcd cluster.
    Etcd(EtcdConfig),
}

/// Which etcd cluster, and who we are to it.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// URLs.
    pub endpoints: Vec<String>,
    /// Put before every key.
    pub prefix: String,
    /// Mutual TLS, if it is used.
    pub tls: Option<EtcdFiles>,
}

/// Certificates for etcd.
#[derive(Debug, Clone)]
pub struct EtcdFiles {
    /// Who signs the members' certificates.
    pub ca: PathBuf,
    /// Ours.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The name in the members' certificates, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// Stands in while the other settings are read.
const DEFAULT_GATEWAY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7400));

impl Config {
    /// Reads all settings.
    pub fn read(settings: &mut Settings) -> Config {
        let node = settings.required("cluster.node", "node-1", "This node's name.");
        let data: PathBuf =
            settings.get("cluster.data_dir", "/var/lib/trireme", "Folder of all programs' files.");
        let folder = data.join("controller");
        Config {
            node,
            listen: Listen::read(settings),
            parts: Parts::read(settings),
            store: StoreConfig::read(settings, &folder),
            files: Files {
                folder,
                identity: data.join("identity").join("controller"),
                api: data.join("identity").join("api"),
                data,
            },
            platform: read_platform(settings),
        }
    }
}

impl Files {
    /// The key under which secrets are sealed.
    pub fn seal_key(&self) -> PathBuf {
        self.folder.join("seal.key")
    }

    /// The memory of a machine alone.
    pub fn store(&self) -> PathBuf {
        store_file(&self.folder)
    }
}

impl Listen {
    fn read(settings: &mut Settings) -> Listen {
        let api = settings.get("listen", "0.0.0.0:8000", "Address of the public API, HTTPS.");
        let List(everyones) = settings.get::<List<String>>(
            "cluster.gateway",
            "127.0.0.1:7400",
            "Addresses of the controllers' gateways; those of members that join later are learnt.",
        );
        let own = settings.optional::<SocketAddr>(
            "gateway_listen",
            "Address of the gateway for all other parts; `gateway` of [cluster] when absent and that is one address.",
        );
        let only = match &everyones[..] {
            [only] => only.parse().ok(),
            _ => None,
        };
        let gateway = own.or(only).unwrap_or_else(|| {
            settings.problem(format!(
                "`gateway` in [cluster] is `{}`, not one address of this machine: set `gateway_listen`",
                List(everyones)
            ));
            DEFAULT_GATEWAY
        });
        let admin = settings.get(
            "admin_listen",
            "127.0.0.1:7410",
            "Address of health, version and metrics.",
        );
        Listen { api, gateway, admin }
    }
}

impl Parts {
    fn read(settings: &mut Settings) -> Parts {
        Parts {
            logger: settings.get("cluster.logger", "127.0.0.1:7402", "Address of the logger."),
            registry_control: settings.get(
                "cluster.registry_control",
                "127.0.0.1:7403",
                "Address of the registry's side for the other parts.",
            ),
        }
    }
}

impl StoreConfig {
    fn read(settings: &mut Settings, folder: &Path) -> StoreConfig {
        let kind: String = settings.get(
            "store",
            "embedded",
            "Where the cluster's memory is: `embedded` (a file) or `etcd`.",
        );
        let endpoints: List<String> =
            settings.get("etcd_endpoints", "", "URLs of the etcd members.");
        let prefix =
            settings.get("etcd_prefix", "trireme/", "What stands before every key in etcd.");
        let ca = settings.optional("etcd_ca", "File of the authority of the etcd members.");
        let certificate = settings.optional("etcd_certificate", "File of our certificate to etcd.");
        let key = settings.optional("etcd_key", "File of that certificate's key.");
        let server_name = settings.optional(
            "etcd_server_name",
            "Name in the members' certificates, where it is not the endpoint's host.",
        );
        let tls = match (ca, certificate, key) {
            (Some(ca), Some(certificate), Some(key)) => {
                Some(EtcdFiles { ca, certificate, key, server_name })
            }
            (None, None, None) => None,
            _ => {
                settings.problem(
                    "`etcd_ca`, `etcd_certificate` and `etcd_key` must be set together".to_owned(),
                );
                None
            }
        };
        match kind.as_str() {
            "embedded" => {}
            "etcd" if !endpoints.0.is_empty() => {
                return StoreConfig::Etcd(EtcdConfig { endpoints: endpoints.0, prefix, tls });
            }
            "etcd" => settings.problem("`etcd_endpoints` must name a member of etcd".to_owned()),
            other => {
                settings.problem(format!("`store` is `{other}`; it must be `embedded` or `etcd`"))
            }
        }
        StoreConfig::Embedded(store_file(folder))
    }
}

fn store_file(folder: &Path) -> PathBuf {
    folder.join("store.redb")
}

fn read_platform(settings: &mut Settings) -> Platform {
    let domain = settings.get(
        "cluster.domain",
        "apps.localhost",
        "The platform's domain: apps answer at `<app>.<domain>`.",
    );
    Platform {
        version: service::VERSION.to_owned(),
        domain,
        git_remote_base: settings.get(
            "git_remote_base",
            "ssh://git@localhost:2222",
            "What git remotes begin with.",
        ),
        http_port: settings.get("http_port", "80", "Port of the router for HTTP, as users see it."),
        https_port: settings.get(
            "https_port",
            "443",
            "Port of the router for HTTPS, as users see it.",
        ),
        logger: settings.get("cluster.logger", "127.0.0.1:7402", "Address of the logger."),
        default_memory_bytes: settings
            .get::<Size>("default_memory", "512M", "Memory of a unit without a limit of its own.")
            .0,
        reserve: settings.get(
            "reserve",
            "warn",
            "When a production app would not survive the loss of a node: `warn` or `refuse`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use service::settings::Source;

    use super::*;

    fn read(table: &str) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trireme.toml");
        std::fs::write(&path, table).unwrap();
        let mut settings = Settings::new("controller", Source::load(Some(path)));
        let config = Config::read(&mut settings);
        settings.finish(config)
    }

    #[test]
    fn one_machine_needs_no_more_than_the_shared_table() {
        let config = read(
            "[cluster]\nnode = \"n1\"\ndata_dir = \"/srv/t\"\ngateway = \"127.0.0.1:17400\"\n",
        );
        let config = config.unwrap();
        assert_eq!(config.listen.gateway.to_string(), "127.0.0.1:17400");
        assert_eq!(config.files.seal_key(), Path::new("/srv/t/controller/seal.key"));
        assert!(
            matches!(config.store, StoreConfig::Embedded(path) if path == Path::new("/srv/t/controller/store.redb"))
        );
        assert_eq!(config.platform.default_memory_bytes, 512 << 20);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let cluster = "[cluster]\nnode = \"n1\"\ngateway = \"controller-1:7400\"\n";
        let problems = read(cluster).unwrap_err();
        assert!(problems[0].contains("gateway_listen"), "{problems:?}");
        let several =
            "[cluster]\nnode = \"n1\"\ngateway = [\"10.0.0.1:7400\", \"10.0.0.2:7400\"]\n";
        assert!(read(several).unwrap_err()[0].contains("gateway_listen"));
        let own = format!("{several}[controller]\ngateway_listen = \"10.0.0.1:7400\"\n");
        assert_eq!(read(&own).unwrap().listen.gateway.to_string(), "10.0.0.1:7400");
        let etcd =
            "[cluster]\nnode = \"n1\"\n[controller]\nstore = \"etcd\"\netcd_ca = \"ca.pem\"\n";
        assert_eq!(read(etcd).unwrap_err().len(), 2);
        let other = "[cluster]\nnode = \"n1\"\n[controller]\nstore = \"papyrus\"\n";
        assert!(read(other).unwrap_err()[0].contains("papyrus"));
    }
}
