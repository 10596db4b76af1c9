//! Heads in, heads out.

use super::*;

const ORIGIN: Origin = Origin {
    client: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)),
    is_secure: true,
    port: 443,
};

fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

/// The head a unit gets, sorted, `name: value`.
fn forwarded(request: Request<()>, trusted: &[Network]) -> Vec<String> {
    let authority = authority(&request).unwrap();
    let id = request_id(request.headers(), 7);
    let (mut head, ()) = request.into_parts();
    to_unit(&mut head, &authority, &id, &ORIGIN, trusted);
    let mut lines: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.insert(0, head.uri.to_string());
    lines
}

const ADDED: [&str; 5] = [
    "x-forwarded-for: 203.0.113.7",
    "x-forwarded-host: Shop.example:8443",
    "x-forwarded-port: 443",
    "x-forwarded-proto: https",
    "x-request-id: 00000000000000000000000000000007",
];

#[test]
fn host_is_kept_and_the_origin_is_told() {
    let lines = forwarded(request("/a%2Fb?q=1", &[("host", "Shop.example:8443")]), &[]);
    assert_eq!(lines[..2], ["/a%2Fb?q=1", "host: Shop.example:8443"]);
    assert_eq!(lines[2..], ADDED);
}

#[test]
fn what_an_untrusted_client_claims_is_overwritten() {
    let claims = [
        ("host", "Shop.example:8443"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x_forwarded_for", "1.1.1.1"),
        ("x-forwarded_proto", "http"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
    ];
    let lines = forwarded(request("/", &claims), &[]);
    assert_eq!(lines[2..], ADDED);
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to_the_chain() {
    let claims =
        [("host", "shop.example"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "http")];
    let trusted = ["203.0.113.0/24".parse().unwrap()];
    let lines = forwarded(request("/", &claims), &trusted);
    assert!(lines.contains(&"x-forwarded-for: 1.1.1.1, 203.0.113.7".to_owned()), "{lines:?}");
    assert!(lines.contains(&"x-forwarded-proto: http".to_owned()), "{lines:?}");
}

#[test]
fn hop_by_hop_headers_end_here_and_host_cannot_be_named_as_one() {
    let headers = [
        ("host", "Shop.example:8443"),
        ("connection", "close, X-Secret"),
        ("connection", "host, content-length, X-Forwarded-For"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("proxy-authorization", "x"),
        ("expect", "100-continue"),
    ];
    let lines = forwarded(request("/", &headers), &[]);
    assert_eq!(lines[1], "host: Shop.example:8443");
    assert_eq!(lines[2..], ADDED);
}

#[test]
fn a_targets_authority_outranks_the_host_header() {
    let lines = forwarded(request("http://Shop.example:8443/x?y", &[("host", "other")]), &[]);
    assert_eq!(lines[..2], ["/x?y", "host: Shop.example:8443"]);
    let lines = forwarded(request("http://Shop.example:8443", &[]), &[]);
    assert_eq!(lines[..2], ["/", "host: Shop.example:8443"]);
}

#[test]
fn a_request_without_one_clear_host_is_unfit() {
    for headers in [
        &[][..],
        &[("host", "")],
        &[("host", "a"), ("host", "a")],
        &[("host", "user@shop.example")],
        &[("host", "shop.example/path")],
        &[("host", "a b")],
        &[("host", ".")],
    ] {
        assert_eq!(authority(&request("/", headers)), Err(Unfit::Host), "{headers:?}");
    }
}

#[test]
fn a_length_told_in_two_ways_is_unfit() {
    let headers = [("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "3")];
    assert_eq!(authority(&request("/", &headers)), Err(Unfit::Framing));
}

#[test]
fn tunnels_and_traces_are_refused() {
    for method in [Method::CONNECT, Method::TRACE] {
        let mut request = request("shop.example:443", &[("host", "shop.example")]);
        *request.method_mut() = method;
        assert_eq!(authority(&request), Err(Unfit::Method));
    }
}

#[test]
fn cookies_split_by_http2_are_joined() {
    let headers = [("host", "a.b"), ("cookie", "x=1"), ("cookie", "y=2"), ("cookie", "z=3")];
    let lines = forwarded(request("/", &headers), &[]);
    assert!(lines.contains(&"cookie: x=1; y=2; z=3".to_owned()), "{lines:?}");
}

#[test]
fn only_a_proper_upgrade_is_one() {
    let asked = |connection, protocol| {
        upgrade(&request("/", &[("connection", connection), ("upgrade", protocol)]))
    };
    assert_eq!(asked("keep-alive, Upgrade", "websocket").unwrap(), "websocket");
    assert_eq!(asked("keep-alive", "websocket"), None);
    assert_eq!(asked("upgrade, http2-settings", "h2c"), None);
    let mut old = request("/", &[("connection", "upgrade"), ("upgrade", "websocket")]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(upgrade(&old), None);
}

#[test]
fn a_request_id_is_passed_on_if_it_is_harmless() {
    let id = |text: &str| request_id(request("/", &[("x-request-id", text)]).headers(), 1);
    assert_eq!(id("abc-1"), "abc-1");
    for strange in ["", "a b", &"x".repeat(129)] {
        assert_eq!(id(strange), "00000000000000000000000000000001", "{strange}");
    }
}

#[test]
fn answers_lose_hop_by_hop_headers_and_carry_the_id() {
    let mut headers = request(
        "/",
        &[("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "1"), ("date", "d")],
    )
    .headers()
    .clone();
    to_client(&mut headers, HeaderValue::from_static("id"));
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "x-request-id"]);
}

#[test]
fn a_connection_is_kept_unless_the_unit_says_otherwise() {
    let answer = |version, connection: &str| {
        let builder = Response::builder().version(version).header("connection", connection);
        is_kept(&builder.body(()).unwrap())
    };
    assert!(answer(Version::HTTP_11, "keep-alive"));
    assert!(!answer(Version::HTTP_11, "x-hop, Close"));
    assert!(!answer(Version::HTTP_10, "keep-alive"));
}
