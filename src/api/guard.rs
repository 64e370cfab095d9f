//! Decides who may send requests. Over TCP a client needs the token: other users of this machine can connect too.
//!
//! A browser lets any page send requests to this machine, and a foreign host name that points here makes them look like
//! requests of the page's own server. So a request must name this server as its host, and must not come from a page of
//! another origin. Programs that are no browsers (curl, Fn's CLI) send nothing that is refused. Every response tells
//! browsers not to run it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HOST, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::connections::Entrance;
use super::response::ApiError;
use crate::model::Digest;

pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let entrance = request.extensions().get::<Entrance>().copied();
    let local = match entrance {
        Some(Entrance::Tcp(address)) => Some(address),
        Some(Entrance::Unix) | None => None,
    };
    let token = shared.token.as_ref().filter(|_| !matches!(entrance, Some(Entrance::Unix)));
    let mut response = match check(request.uri().authority(), request.headers(), local) {
        Err(why) => ApiError::new(StatusCode::FORBIDDEN, why).into_response(),
        Ok(()) if token.is_some_and(|token| !has_token(request.headers(), token)) => unauthorized(),
        Ok(()) => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// Compares digests: the time that takes reveals nothing of the token.
fn has_token(headers: &HeaderMap, token: &Digest) -> bool {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let Some((scheme, given)) = given.to_str().ok().and_then(|given| given.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && Digest::of(given.trim().as_bytes()) == *token
}

fn unauthorized() -> Response {
    let why = "the token is missing or wrong: send `Authorization: Bearer TOKEN` with the one that `afn start` \
               printed, or use its unix socket";
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, why).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn check(target: Option<&Authority>, headers: &HeaderMap, local: Option<SocketAddr>) -> Result<(), String> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("the request does not name one host: send one `Host` header".to_owned());
    };
    let host = host.to_str().map_err(|_| "the `Host` header is not text".to_owned())?;
    for named in [Some(host), target.map(Authority::as_str)].into_iter().flatten() {
        if !is_ours(named, local) {
            return Err(format!(
                "host `{named}` is not this server: reach it as localhost or by the address it listens on"
            ));
        }
    }
    for origin in headers.get_all(ORIGIN) {
        // Another port of this machine is another origin.
        if origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host) {
            return Err(format!("requests from pages of origin {origin:?} are refused"));
        }
    }
    // A page that loads a picture sends no `Origin`, but the browser adds this header.
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return Err(format!(
            "requests from pages of another origin are refused (`Sec-Fetch-Site: {site:?}`)"
        ));
    }
    Ok(())
}

/// Anybody can point a host name at this machine, except `localhost`. Addresses cannot be faked that way.
fn is_ours(authority: &str, local: Option<SocketAddr>) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let unspecified = address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listened_on = local.is_some_and(|local| local.ip().to_canonical() == address.to_canonical());
    !unspecified && (address.to_canonical().is_loopback() || listened_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = axum::http::HeaderName::try_from(*name).expect("a name");
            map.append(name, HeaderValue::try_from(*value).expect("a value"));
        }
        check(None, &map, Some("192.168.1.7:8080".parse().expect("an address")))
    }

    #[test]
    fn only_our_own_names_are_hosts() {
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:9999",
            "127.0.0.1:8080",
            "127.3.2.1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "192.168.1.7:8080",
        ] {
            assert_eq!(answer(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.8",
            "0.0.0.0:8080",
            "[::]:8080",
            "user@localhost",
            "",
            "localhost:8080:8080",
        ] {
            let why = answer(&[("host", host)]).expect_err(host);
            assert!(why.starts_with(&format!("host `{host}` is not this server")), "{why}");
        }
        assert!(answer(&[]).is_err());
        assert!(answer(&[("host", "localhost"), ("host", "evil.example")]).is_err());
    }

    #[test]
    fn the_token_is_shown_as_a_bearers() {
        let token = Digest::of(b"secret");
        let shown = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values
                .iter()
                .for_each(|value| _ = headers.append(AUTHORIZATION, HeaderValue::from_static(value)));
            has_token(&headers, &token)
        };
        assert!(shown(&["Bearer secret"]) && shown(&["bearer  secret"]));
        for wrong in
            [&[][..], &["secret"], &["Bearer secre"], &["Basic secret"], &["Bearer x", "Bearer secret"]]
        {
            assert!(!shown(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn only_our_own_origin_may_ask() {
        let host = ("host", "localhost:8080");
        assert_eq!(answer(&[host, ("origin", "http://localhost:8080")]), Ok(()));
        for origin in ["http://localhost:3000", "https://localhost:8080", "http://evil.example", "null", ""] {
            let why = answer(&[host, ("origin", origin)]).expect_err(origin);
            assert_eq!(why, format!("requests from pages of origin {origin:?} are refused"));
        }
        for (site, ok) in [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)]
        {
            assert_eq!(answer(&[host, ("sec-fetch-site", site)]).is_ok(), ok, "{site}");
        }
    }

    #[test]
    fn a_target_with_a_host_of_its_own_is_held_to_the_same() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        let target = |host| Authority::from_static(host);
        assert!(check(Some(&target("evil.example")), &headers, None).is_err());
        assert!(check(Some(&target("localhost:8080")), &headers, None).is_ok());
    }
}
