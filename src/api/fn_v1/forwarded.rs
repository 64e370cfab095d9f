//! The request headers that travel with a payload to the function: those about the request, none about the connection or
//! the browser, and no credentials, since payloads are stored. Names are written as Go writes them (`X-Request-Id`). Method
//! and URL are added under the names of Fn's HTTP triggers. Headers that claim to be Fn's own are dropped.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderMap, Method, Uri};

use crate::api::response::ApiError;

const DROPPED: [&str; 20] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
];

const DROPPED_PREFIXES: [&str; 3] = ["afn-", "fn-", "sec-"];

pub(super) fn headers(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<BTreeMap<String, String>, ApiError> {
    // The headers that `Connection` names are about this connection too.
    let listed: BTreeSet<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let mut forwarded = BTreeMap::new();
    for name in headers.keys() {
        let text = name.as_str();
        // Functions get names as variables, in which all but letters and digits is alike.
        let plain = text.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let dropped =
            DROPPED.contains(&&*plain) || DROPPED_PREFIXES.iter().any(|prefix| plain.starts_with(prefix));
        if dropped || listed.contains(text) {
            continue;
        }
        let values: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|value| value.to_str()).collect();
        let values = values.map_err(|_| {
            ApiError::bad_request(format!("the value of header `{text}` is not printable ASCII"))
        })?;
        forwarded.insert(canonical(text), values.join(", "));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    forwarded.insert("Fn-Http-Method".to_owned(), method.to_string());
    forwarded.insert("Fn-Http-Request-Url".to_owned(), format!("http://{host}{path}"));
    Ok(forwarded)
}

fn canonical(name: &str) -> String {
    let mut at_start = true;
    name.chars()
        .map(|c| {
            let c = if at_start { c.to_ascii_uppercase() } else { c };
            at_start = c == '-';
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn headers_about_the_request_are_forwarded() {
        let sent = [
            ("host", "localhost:8080"),
            ("x-request-id", "7"),
            ("x-list", "a"),
            ("x-list", "b"),
            ("accept", "*/*"),
            ("cookie", "secret"),
            ("authorization", "Bearer secret"),
            ("content-type", "text/plain"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("fn-call-id", "forged"),
            ("fn_call_id", "forged"),
            ("afn_attempt", "9"),
            ("content_type", "forged"),
            ("fn.http.method", "DELETE"),
            ("fn~call|id", "forged"),
            ("content.type", "forged"),
            ("x|trace.id~", "kept"),
            ("sec-fetch-site", "none"),
            ("idempotency-key", "k"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in sent {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let uri = Uri::from_static("/r/app/route?a=b");
        let forwarded = headers(&Method::PUT, &uri, &map).expect("text");
        let forwarded: Vec<(&str, &str)> =
            forwarded.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("Accept", "*/*"),
            ("Fn-Http-Method", "PUT"),
            ("Fn-Http-Request-Url", "http://localhost:8080/r/app/route?a=b"),
            ("X-List", "a, b"),
            ("X-Request-Id", "7"),
            ("X|trace.id~", "kept"),
        ];
        assert_eq!(forwarded, expected);
    }

    #[test]
    fn a_value_that_is_no_text_is_refused() {
        let mut map = HeaderMap::new();
        map.insert("x-name", HeaderValue::from_bytes("ü".as_bytes()).expect("opaque"));
        assert!(headers(&Method::GET, &Uri::from_static("/"), &map).is_err());
    }
}
