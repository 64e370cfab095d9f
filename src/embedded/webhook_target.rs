//! Where webhooks may go. Whoever submits a batch names the URL, and the worker that dials it may reach services that the
//! submitter cannot. So a worker posts to public addresses over HTTPS, and elsewhere only as its own user allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Scheme;

use crate::error::{Error, Result};
use crate::model::webhook::has_userinfo;

/// A host by its name, or a network: webhooks may go there, also over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAllow {
    Host(String),
    /// The first bits that count, of an address in IPv6 (IPv4 as mapped).
    Network(Ipv6Addr, u32),
}

impl FromStr for WebhookAllow {
    type Err = Error;

    fn from_str(text: &str) -> Result<WebhookAllow> {
        let wrong = || {
            Error::invalid(format!("`{text}` is neither a host nor a network"))
                .with_hint("like hooks.example.com, 10.1.2.3 or 10.0.0.0/8")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            return match bits.is_none() && !text.is_empty() && text.chars().all(is_name) {
                true => Ok(WebhookAllow::Host(text.to_ascii_lowercase())),
                false => Err(wrong()),
            };
        };
        let (mapped, width) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), 32),
            IpAddr::V6(address) => (address, 128),
        };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(wrong());
        }
        Ok(WebhookAllow::Network(mapped, bits + 128 - width))
    }
}

impl WebhookAllow {
    /// This machine itself.
    pub fn loopback() -> Vec<WebhookAllow> {
        let v4 = Ipv4Addr::new(127, 0, 0, 0).to_ipv6_mapped();
        vec![WebhookAllow::Network(v4, 96 + 8), WebhookAllow::Network(Ipv6Addr::LOCALHOST, 128)]
    }

    fn allows(&self, host: &str, address: IpAddr) -> bool {
        match self {
            WebhookAllow::Host(name) => name == host,
            WebhookAllow::Network(network, bits) => {
                let address = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                let differ = address.to_bits() ^ network.to_bits();
                differ.leading_zeros() >= *bits
            }
        }
    }
}

/// A host, resolved once: what is dialled is what was checked.
#[derive(Debug)]
pub struct WebhookTarget {
    pub is_https: bool,
    pub host: String,
    /// Host and port as the URL has them.
    pub authority: String,
    pub address: SocketAddr,
    pub path: String,
}

/// The error is why the worker does not post there.
pub async fn resolve(url: &str, allowed: &[WebhookAllow]) -> Result<WebhookTarget, String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is not a URL: {error}"))?;
    let authority = uri.authority().ok_or("it is not a URL with a host")?;
    if has_userinfo(url) {
        return Err("the URL has a user or password in it".to_owned());
    }
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| format!("cannot resolve {host}: {error}"))?.collect();
    let first = found.first().ok_or_else(|| format!("{host} has no address"))?;
    let may = |address: &&SocketAddr| {
        allowed.iter().any(|allowed| allowed.allows(&host, address.ip()))
            || (is_https && is_public(address.ip()))
    };
    let Some(address) = found.iter().find(may).copied() else {
        let why = match is_public(first.ip()) {
            true => format!("{host} is not to be posted to over http"),
            false => format!("{host} has the address {}, which is not public", first.ip()),
        };
        return Err(format!("{why}: `--webhook-allow` of the worker can allow it"));
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(WebhookTarget { is_https, host, authority: authority.as_str().to_owned(), address, path })
}

/// Whether an address is assigned for the internet, and so belongs to no private network and no machine's own services.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., ..)
                    | (169, 254, _)
                    | (192, 168, _)
                    | (100, 64..128, _)
                    | (172, 16..32, _)
                    | (198, 18 | 19, _)
                    | (192, 0, 0 | 2)
                    | (192, 88, 99)
                    | (198, 51, 100)
                    | (203, 0, 113)
            )
        }
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), address.segments()) {
            (Some(mapped), _) => is_public(mapped.into()),
            // Tunnels to IPv4 (2001::/32, 2002::/16) and documentation lie among the public ones.
            (None, [0x2001, 0..0x200 | 0xdb8, ..] | [0x2002, ..] | [0x3fff, ..]) => false,
            (None, [first, ..]) => first & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_networks_of_ones_own_are_not_public() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "2001::1",
            "2001:db8::1",
        ];
        assert_eq!(private.map(|address| is_public(address.parse().unwrap())), [false; 24]);
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
        ];
        assert_eq!(public.map(|address| is_public(address.parse().unwrap())), [true; 7]);
    }

    async fn refused(url: &str, allowed: &[&str]) -> String {
        let allowed: Vec<_> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        resolve(url, &allowed).await.unwrap_err()
    }

    async fn address(url: &str, allowed: &[&str]) -> String {
        let allowed: Vec<_> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        resolve(url, &allowed).await.unwrap().address.to_string()
    }

    #[tokio::test]
    async fn only_what_is_public_or_allowed_is_dialled() {
        for url in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://[::1]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            let why = refused(url, &["10.0.0.0/8", "hooks.internal"]).await;
            assert!(why.contains("which is not public: `--webhook-allow`"), "{why}");
        }
        assert!(refused("http://8.8.8.8/", &[]).await.contains("over http"));
        assert!(refused("https://me:secret@8.8.8.8/", &[]).await.contains("user or password"));
        assert_eq!(address("https://8.8.8.8/x", &[]).await, "8.8.8.8:443");
        assert_eq!(address("http://127.0.0.1:81/", &["127.0.0.0/8"]).await, "127.0.0.1:81");
        assert_eq!(address("http://127.0.0.1/", &["127.0.0.1"]).await, "127.0.0.1:80");
        assert_eq!(address("https://[::1]:8/", &["::/64"]).await, "[::1]:8");
        assert!(address("https://LOCALHOST:9/", &["localhost"]).await.ends_with(":9"));
        assert!(refused("https://127.0.0.1/", &["127.0.1.0/24"]).await.contains("not public"));
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "a b", "https://x", "host/8", "::1/129"] {
            assert!(wrong.parse::<WebhookAllow>().is_err(), "{wrong}");
        }
    }
}
