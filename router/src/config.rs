//! The router's settings, each with its default.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use service::{List, Settings, Size, Span};

/// Everything the router can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// The platform's domain.
    pub domain: String,
    /// Where controllers' gateways listen.
    pub gateways: Vec<String>,
    /// Files and addresses of this program.
    pub place: Place,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// What a client may use up.
    pub limits: Limits,
    /// Clients whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
}

/// Where the router keeps and finds things.
#[derive(Debug, Clone)]
pub struct Place {
    /// Clear HTTP.
    pub http: SocketAddr,
    /// HTTPS.
    pub https: SocketAddr,
    /// Health, version, metrics.
    pub admin: SocketAddr,
    /// Own files.
    pub folder: PathBuf,
    /// The identity's folder.
    pub identity: PathBuf,
    /// The platform certificate's chain.
    pub platform_cert: PathBuf,
    /// Its key.
    pub platform_key: PathBuf,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection to a unit.
    pub connect: Duration,
    /// For the first byte of an answer, after the request was sent.
    pub first_byte: Duration,
    /// For the next byte of an answer.
    pub idle: Duration,
    /// For anything on an upgraded connection.
    pub tunnel_idle: Duration,
    /// For a whole request head on a client's connection.
    pub client: Duration,
    /// For the next use of a connection to a unit.
    pub pool_idle: Duration,
}

/// What a client may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Open client connections.
    pub connections: usize,
}

/// Addresses with a common prefix: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// hyper's smallest buffer.
const MIN_HEAD: u64 = 8 * 1024;

impl Config {
    /// Reads all settings.
    pub fn read(settings: &mut Settings) -> Config {
        let node = settings.required("cluster.node", "node-1", "This node's name.");
        let domain = settings.get(
            "cluster.domain",
            "apps.localhost",
            "The platform's domain: apps answer at `<app>.<domain>`.",
        );
        Config {
            node,
            domain,
            gateways: link::gateways(settings),
            place: Place::read(settings),
            timeouts: Timeouts::read(settings),
            limits: Limits::read(settings),
            trusted_proxies: settings
                .get::<List<Network>>("trusted_proxies", "", "Addresses or networks of proxies in front of the router, whose `X-Forwarded-*` headers are passed on.")
                .0,
        }
    }
}

impl Place {
    fn read(settings: &mut Settings) -> Place {
        let data: PathBuf =
            settings.get("cluster.data_dir", "/var/lib/trireme", "Folder of all programs' files.");
        let folder = data.join("router");
        let platform = folder.join("platform");
        Place {
            http: settings.get("http_listen", "0.0.0.0:80", "Address for HTTP."),
            https: settings.get("https_listen", "0.0.0.0:443", "Address for HTTPS."),
            admin: settings.get("admin_listen", "127.0.0.1:7414", "Address for health, version and metrics."),
            identity: data.join("identity").join("router"),
            platform_cert: settings
                .optional("platform_cert", "PEM file with the certificate chain for `*.<domain>`; without it `router/platform/chain.pem` in the data folder.")
                .unwrap_or_else(|| platform.join("chain.pem")),
            platform_key: settings
                .optional("platform_key", "PEM file with its private key; without it `router/platform/key.pem` in the data folder.")
                .unwrap_or_else(|| platform.join("key.pem")),
            folder,
        }
    }
}

impl Timeouts {
    fn read(settings: &mut Settings) -> Timeouts {
        let mut span = |key, default, doc| settings.get::<Span>(key, default, doc).0;
        Timeouts {
            connect: span("connect_timeout", "5s", "Longest wait for a connection to a unit."),
            first_byte: span(
                "first_byte_timeout",
                "10m",
                "Longest wait for a unit's answer to begin, from the last byte of the request that was sent.",
            ),
            idle: span("idle_timeout", "10m", "Longest pause within a unit's answer."),
            tunnel_idle: span(
                "tunnel_idle_timeout",
                "1h",
                "Longest silence on a websocket or other upgraded connection.",
            ),
            client: span(
                "client_timeout",
                "60s",
                "Longest time a client's connection may be without a whole request head.",
            ),
            pool_idle: span(
                "pool_idle_timeout",
                "3s",
                "How long a connection to a unit is kept for the next request; less than the units' own keep-alive limits.",
            ),
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings) -> Limits {
        let head: Size = settings.get("head_limit", "64K", "Largest request head.");
        if head.0 < MIN_HEAD {
            settings
                .problem(format!("`head_limit` is {head}; it must be at least {}", Size(MIN_HEAD)));
        }
        let connections = settings.get(
            "max_connections",
            "10000",
            "Most client connections at one time; further ones wait.",
        );
        if connections == 0 {
            settings.problem("`max_connections` is 0; nobody could connect".to_owned());
        }
        Limits { head_bytes: usize::try_from(head.0).unwrap_or(usize::MAX), connections }
    }
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address or network such as `10.0.0.1` or `10.0.0.0/8`")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix > widest {
            return Err(wrong());
        }
        Ok(Network { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_only() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe00::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "ten", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_default_is_valid() {
        let reference = Settings::reference("router", Config::read);
        assert!(reference.iter().any(|setting| setting.key == "platform_cert"));
    }
}
