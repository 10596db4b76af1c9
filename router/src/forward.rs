//! What changes in the heads of requests and answers on their way through. Pure.

use std::{borrow::Cow, net::IpAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, request,
    uri::Authority,
};

use crate::{config::Network, host};

/// The request's id, made here or passed on.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const MAX_REQUEST_ID: usize = 128;

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The client's address, IPv4 in its own form.
    pub client: IpAddr,
    /// Over TLS.
    pub is_secure: bool,
    /// The port it connected to.
    pub port: u16,
}

/// A request the router does not pass on, whoever it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// `CONNECT` and `TRACE`.
    Method,
    /// No, several, or unusable host names.
    Host,
    /// A length told in two ways.
    Framing,
}

/// Which host a request is for, checked: exactly one, a name with perhaps a port, and told in one way.
pub fn authority<B>(request: &Request<B>) -> Result<Authority, Unfit> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Unfit::Method);
    }
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(Unfit::Framing);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Unfit::Host);
    }
    // A target with an authority (HTTP/2, or an absolute URI) outranks the header.
    let authority = match (request.uri().authority(), first) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_| Unfit::Host)?,
        (None, None) => return Err(Unfit::Host),
    };
    let is_plain = !authority.as_str().contains('@') && !host::normal(&authority).is_empty();
    if is_plain { Ok(authority) } else { Err(Unfit::Host) }
}

/// The id a request came with, if it can stand in a log, else a new one.
pub fn request_id(headers: &HeaderMap, random: u128) -> HeaderValue {
    let is_usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(is_usable).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(format!("{random:032x}"))
            .expect("hexadecimal digits are a header value")
    })
}

/// The protocol a client asks to change to; only HTTP/1.1 has that, and HTTP/2 in clear is not served.
pub fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let is_asked = request.version() == Version::HTTP_11 && lists(headers, "upgrade");
    let protocol = headers.get(header::UPGRADE).filter(|_| is_asked)?;
    (!protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Makes a client's request head the one a unit gets.
pub fn to_unit(
    head: &mut request::Parts,
    authority: &Authority,
    id: &HeaderValue,
    origin: &Origin,
    trusted: &[Network],
) {
    strip_hop_by_hop(&mut head.headers);
    // The server answers `100 Continue` itself as soon as the body is wanted.
    head.headers.remove(header::EXPECT);
    join_cookies(&mut head.headers);
    let host = value(authority.as_str());
    head.headers.insert(header::HOST, host.clone());
    let is_trusted = trusted.iter().any(|network| network.contains(origin.client));
    set_forwarded(&mut head.headers, host, origin, is_trusted);
    head.headers.insert(REQUEST_ID, id.clone());
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
}

/// Whether a unit keeps the connection of this answer open for another request.
pub fn is_kept<B>(answer: &Response<B>) -> bool {
    answer.version() == Version::HTTP_11 && !lists(answer.headers(), "close")
}

/// Makes a unit's answer head the one a client gets.
pub fn to_client(headers: &mut HeaderMap, id: HeaderValue) {
    strip_hop_by_hop(headers);
    headers.entry(REQUEST_ID).or_insert(id);
}

/// Puts the headers of a protocol change back after they were stripped.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Removes the headers that speak of one connection only, and those that `Connection` names as such.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in connection_options(headers) {
            // A client must not take away what the unit relies on.
            if ![header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE]
                .contains(&name)
            {
                headers.remove(name);
            }
        }
    }
    for name in [
        header::CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect()
}

fn lists(headers: &HeaderMap, option: &str) -> bool {
    connection_options(headers).iter().any(|name| name.as_str() == option)
}

/// HTTP/2 may split cookies over several lines; HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let lines: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&lines.join(&b"; "[..]));
    headers.insert(header::COOKIE, joined.expect("header values joined by `; ` are one"));
}

fn set_forwarded(headers: &mut HeaderMap, host: HeaderValue, origin: &Origin, is_trusted: bool) {
    let client = origin.client.to_string();
    let scheme = if origin.is_secure { "https" } else { "http" };
    if is_trusted {
        let before = headers.get(FORWARDED_FOR).and_then(|before| before.to_str().ok());
        let chain = before
            .map_or(Cow::Borrowed(client.as_str()), |before| format!("{before}, {client}").into());
        headers.insert(FORWARDED_FOR, value(&chain));
        headers.entry(FORWARDED_PROTO).or_insert_with(|| value(scheme));
        headers.entry(FORWARDED_PORT).or_insert_with(|| origin.port.into());
        headers.entry(FORWARDED_HOST).or_insert(host);
        return;
    }
    remove_underscore_twins(headers);
    headers.remove(header::FORWARDED);
    headers.remove(REAL_IP);
    headers.insert(FORWARDED_FOR, value(&client));
    headers.insert(FORWARDED_PROTO, value(scheme));
    headers.insert(FORWARDED_PORT, origin.port.into());
    headers.insert(FORWARDED_HOST, host);
}

/// CGI-like frameworks read `X_Forwarded_For` and `X-Forwarded-For` as one.
fn remove_underscore_twins(headers: &mut HeaderMap) {
    let is_twin = |name: &&HeaderName| {
        let name = name.as_str();
        name.contains('_')
            && (name.starts_with("x_") || name.starts_with("x-") || name == "_forwarded")
    };
    let twins: Vec<HeaderName> = headers.keys().filter(is_twin).cloned().collect();
    for twin in twins {
        let dashed = twin.as_str().replace('_', "-");
        if dashed.starts_with("x-forwarded-") || dashed == REAL_IP.as_str() {
            headers.remove(twin);
        }
    }
}

/// The path and query of a target, unchanged.
fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) if uri.authority().is_some() => Uri::from(path.clone()),
        Some(_) => uri.clone(),
        None => Uri::from_static("/"),
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("addresses and authorities hold visible characters only")
}

#[cfg(test)]
mod tests;
