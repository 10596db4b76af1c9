//! Answers the router gives itself: what happened and what to do, as a small page or as JSON.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use crate::{
    body::ResponseBody,
    fleet::NoUnit,
    forward::{REQUEST_ID, Unfit},
};

/// When a client may try again while an app has no unit.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Why a request got no answer from a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not passed on, whoever it is for.
    Unfit(Unfit),
    /// There is no unit for it.
    NoUnit(NoUnit),
    /// No connection to any unit.
    Unreachable,
    /// The unit's connection broke before it answered.
    Broken,
    /// The unit did not begin to answer in time.
    Silent,
    /// The client did not send its body in time.
    ClientSilent,
}

struct Words {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    hint: &'static str,
}

impl Refusal {
    fn words(self) -> Words {
        let words = |status, code, message, hint| Words { status, code, message, hint };
        match self {
            Refusal::Unfit(Unfit::Method) => words(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This method is not served here.",
                "",
            ),
            Refusal::Unfit(Unfit::Host) => words(
                StatusCode::BAD_REQUEST,
                "invalid",
                "The request does not name one host.",
                "Send one `Host` header with the name of the app.",
            ),
            Refusal::Unfit(Unfit::Framing) => words(
                StatusCode::BAD_REQUEST,
                "invalid",
                "The request gives its length in two ways.",
                "Send either `Content-Length` or `Transfer-Encoding`.",
            ),
            Refusal::NoUnit(NoUnit::UnknownHost) => words(
                StatusCode::NOT_FOUND,
                "unknown-host",
                "No app answers to this name.",
                "Check the spelling, or bind the name with `paasctl domains:add`.",
            ),
            Refusal::NoUnit(NoUnit::Maintenance) => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "maintenance",
                "This app is down for maintenance.",
                "Please come back in a while.",
            ),
            Refusal::NoUnit(NoUnit::NoneReady) => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-units",
                "This app is not running.",
                "Its owner finds out why with `paasctl ps`.",
            ),
            Refusal::Unreachable | Refusal::NoUnit(NoUnit::AllTried) => words(
                StatusCode::BAD_GATEWAY,
                "unreachable",
                "This app cannot be reached.",
                "Please try again; its owner finds out why with `paasctl ps`.",
            ),
            Refusal::Broken => words(
                StatusCode::BAD_GATEWAY,
                "broken-answer",
                "This app ended the connection without an answer.",
                "Its owner finds out why with `paasctl logs`.",
            ),
            Refusal::Silent => words(
                StatusCode::GATEWAY_TIMEOUT,
                "no-answer",
                "This app took too long to answer.",
                "Please try again; its owner finds out why with `paasctl logs`.",
            ),
            Refusal::ClientSilent => words(
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "The request was not sent to its end in time.",
                "Please try again.",
            ),
        }
    }
}

/// The answer to a request that had this `Accept` header.
pub fn refuse(
    refusal: Refusal,
    accept: Option<&HeaderValue>,
    id: &HeaderValue,
) -> Response<ResponseBody> {
    let words = refusal.words();
    let shown_id = id.to_str().unwrap_or_default();
    let (content_type, body) = if wants_json(accept) {
        let body = json!({ "code": words.code, "message": words.message, "hint": words.hint, "request_id": shown_id });
        ("application/json", body.to_string())
    } else {
        ("text/html; charset=utf-8", page(&words, shown_id))
    };
    let mut response = Response::new(ResponseBody::Own(Full::new(Bytes::from(body))));
    *response.status_mut() = words.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, id.clone());
    if words.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    if words.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    response
}

fn wants_json(accept: Option<&HeaderValue>) -> bool {
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json") && !accept.contains("text/html"))
}

fn page(words: &Words, id: &str) -> String {
    let (status, message, hint) = (words.status.as_u16(), words.message, words.hint);
    // The id came from a client; it is the only text here that did.
    let id = id.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{status} {message}</title>\n<style>body{{font:18px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em;color:#223}}\
         small{{color:#667}}</style></head>\n<body><h1>{message}</h1>\n<p>{hint}</p>\n<p><small>{status} &middot; request {id}</small></p>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(refusal: Refusal, accept: &'static str, id: &'static str) -> String {
        let accept = HeaderValue::from_static(accept);
        let response = refuse(refusal, Some(&accept), &HeaderValue::from_static(id));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_browser_gets_a_page_and_a_program_gets_json() {
        let refusal = Refusal::NoUnit(NoUnit::Maintenance);
        let page = text(refusal, "text/html,application/json", "id-1").await;
        assert!(
            page.contains("<h1>This app is down for maintenance.</h1>") && page.contains("id-1")
        );
        let json: serde_json::Value =
            serde_json::from_str(&text(refusal, "application/json", "id-1").await).unwrap();
        assert_eq!(
            (json["code"].as_str(), json["request_id"].as_str()),
            (Some("maintenance"), Some("id-1"))
        );
    }

    #[tokio::test]
    async fn a_request_id_cannot_become_markup() {
        let page = text(Refusal::Broken, "*/*", "<script>&").await;
        assert!(page.contains("&lt;script&gt;&amp;") && !page.contains("<script>"));
    }

    #[test]
    fn only_unavailable_says_when_to_come_back() {
        let id = HeaderValue::from_static("id");
        let has_retry =
            |refusal| refuse(refusal, None, &id).headers().contains_key(header::RETRY_AFTER);
        assert!(has_retry(Refusal::NoUnit(NoUnit::NoneReady)) && !has_retry(Refusal::Broken));
    }
}
