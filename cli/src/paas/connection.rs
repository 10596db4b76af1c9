//! A connection to the controller: where it is, and TCP with TLS to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::tls::Trust;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A controller's address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken; plain HTTP is for this machine only.
    pub is_tls: bool,
}

impl Address {
    /// Reads `https://host:port`; without a scheme it is https.
    pub fn parse(text: &str) -> Result<Address, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!("`{text}` is not the address of a controller: {why}"))
                .hint("It looks like https://deis.example.com:8000")
        };
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: http::Uri = full.parse().map_err(|_| wrong("it cannot be read"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if !uri.path().trim_matches('/').is_empty() || authority.as_str().contains('@') {
            return Err(wrong("only a host and a port belong there"));
        }
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("only https is spoken")),
        };
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let address = Address { host, port, is_tls };
        if !is_tls && !address.is_this_machine() {
            return Err(wrong("plain http would show the password to the network"));
        }
        Ok(address)
    }

    /// As it is written in a `Host` header and after `https://`.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// As it is remembered.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Names under `.localhost` are this machine by definition (RFC 6761), whatever DNS says.
    fn is_localhost(&self) -> bool {
        self.host == "localhost" || self.host.ends_with(".localhost")
    }

    fn is_this_machine(&self) -> bool {
        let loopback = self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || self.is_localhost()
    }
}

/// Connects, and speaks TLS when the address says so.
pub async fn dial(address: &Address, trust: &Trust) -> Result<Box<dyn Stream>, Failure> {
    let connecting = async {
        let tcp = connect(address).await?;
        let _ = tcp.set_nodelay(true);
        let boxed: Box<dyn Stream> = match address.is_tls {
            true => Box::new(secure(address, tcp, trust).await?),
            false => Box::new(tcp),
        };
        Ok(boxed)
    };
    let timed = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    timed.unwrap_or_else(|_| {
        let message = format!("the controller at {} did not answer within 10 s", address.url());
        Err(Failure::unreachable(message).hint(look_on_the_node()))
    })
}

async fn connect(address: &Address) -> Result<TcpStream, Failure> {
    let candidates = resolve(address).await?;
    let mut last = None;
    for candidate in candidates {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = match last {
        Some(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there".to_owned()
        }
        Some(error) => error.to_string(),
        None => "the name has no address".to_owned(),
    };
    let message = format!("the controller at {} cannot be reached: {why}", address.url());
    Err(Failure::unreachable(message).hint(look_on_the_node()))
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    if address.is_localhost() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, address.port))]);
    }
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    found.map(Iterator::collect).map_err(|error| {
        Failure::unreachable(format!("the name {} cannot be resolved: {error}", address.host))
            .hint("Check the name, or this machine's DNS.")
    })
}

async fn secure(
    address: &Address,
    tcp: TcpStream,
    trust: &Trust,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let name = rustls_pki_types::ServerName::try_from(address.host.clone())
        .map_err(|_| Failure::usage(format!("`{}` is not a host name", address.host)))?;
    let connector = TlsConnector::from(Arc::clone(&trust.config));
    connector.connect(name, tcp).await.map_err(|error| trust.explain(address, &error))
}

fn look_on_the_node() -> &'static str {
    "Running apps go on serving without it. On its machine, `clusterctl status` says what is wrong."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_again() {
        let url = |text: &str| Address::parse(text).ok().map(|address| address.url());
        assert_eq!(url("https://deis.example.com:8000/").unwrap(), "https://deis.example.com:8000");
        assert_eq!(url("deis.example.com").unwrap(), "https://deis.example.com:443");
        assert_eq!(url("https://[::1]:8000").unwrap(), "https://[::1]:8000");
        assert_eq!(url("http://deis.apps.localhost:80").unwrap(), "http://deis.apps.localhost:80");
        assert_eq!(url("http://127.0.0.1:81").unwrap(), "http://127.0.0.1:81");
        for wrong in
            ["", "ftp://x", "https://u:p@x", "https://x/path", "http://example.com", "https://"]
        {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn names_under_localhost_need_no_dns() {
        let address = Address::parse("https://deis.any.localhost:7").unwrap();
        assert_eq!(resolve(&address).await.unwrap(), ["127.0.0.1:7".parse().unwrap()]);
    }
}
