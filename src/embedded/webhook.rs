//! Webhooks over HTTP, signed as Standard Webhooks says: the HMAC-SHA256 of id, time and body under a secret that the receiver
//! knows too. HTTPS comes with the TLS that S3 and SQS bring. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

use super::webhook_target::{WebhookAllow, WebhookTarget, resolve};
use crate::context::{Env, env};
use crate::error::{self, Error, causes};
use crate::model::Time;
use crate::seam::{Clock, Webhook};

/// Identifies a batch's webhook: the same in every try.
const ID: &str = "webhook-id";
/// Seconds since 1970. A receiver refuses what is too old, so that nobody can send it again.
const TIMESTAMP: &str = "webhook-timestamp";
/// `v1,` and the digest in Base64.
const SIGNATURE: &str = "webhook-signature";
/// How a secret in Base64 begins. Any other text is the key itself.
const BASE64_SECRET: &str = "whsec_";
/// The timeout of a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[cfg(feature = "aws")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "aws"))]
type Connector = HttpConnector;

pub struct HttpWebhook {
    secret: Option<Vec<u8>>,
    allowed: Vec<WebhookAllow>,
    clock: Arc<dyn Clock>,
}

impl HttpWebhook {
    pub fn new(env: &Env, allowed: Vec<WebhookAllow>, clock: Arc<dyn Clock>) -> error::Result<HttpWebhook> {
        let secret = env.get(env::WEBHOOK_SECRET)?.map(|secret| match secret.strip_prefix(BASE64_SECRET) {
            Some(base64) => BASE64_STANDARD.decode(base64).map_err(|error| {
                Error::invalid(format!(
                    "{} is not Base64 behind {BASE64_SECRET}: {error}",
                    env::WEBHOOK_SECRET.name
                ))
            }),
            None => Ok(secret.into_bytes()),
        });
        Ok(HttpWebhook { secret: secret.transpose()?, allowed, clock })
    }

    /// Connects to the address that was checked, whatever the name resolves to by then.
    async fn send(&self, target: WebhookTarget, delivery: &str, body: &str) -> Result<String, String> {
        let scheme = if target.is_https { "https" } else { "http" };
        let at = self.clock.now();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{}{}", target.address, target.path))
            .header(HOST, &target.authority)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("afn/", env!("CARGO_PKG_VERSION")))
            .header(ID, delivery)
            .header(TIMESTAMP, at.0 / 1000);
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, delivery, at, body));
        }
        let request =
            request.body(Full::from(body.to_owned())).map_err(|error| format!("cannot be sent: {error}"))?;
        let client: Client<Connector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build(connector(target.host)?);
        let answer = client.request(request).await.map_err(|error| explain(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(status.to_string()) } else { Err(status.to_string()) }
    }
}

/// `host`: what the certificate is for.
#[cfg(feature = "aws")]
fn connector(host: String) -> Result<Connector, String> {
    let name = hyper_rustls::FixedServerNameResolver::new(
        host.clone().try_into().map_err(|error| format!("{host} is no host of a certificate: {error}"))?,
    );
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| format!("cannot read the certificates of this system: {error}"))?;
    Ok(builder.https_or_http().with_server_name_resolver(name).enable_http1().build())
}

#[cfg(not(feature = "aws"))]
fn connector(_host: String) -> Result<Connector, String> {
    Ok(HttpConnector::new())
}

#[async_trait]
impl Webhook for HttpWebhook {
    async fn post(&self, url: &str, delivery: &str, body: &str) -> Result<String, String> {
        let send = async { self.send(resolve(url, &self.allowed).await?, delivery, body).await };
        tokio::time::timeout(ANSWER_WITHIN, send)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))
    }
}

/// An error with its causes: the outermost alone is no more than "cannot connect".
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn signature(secret: &[u8], delivery: &str, at: Time, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(format!("{delivery}.{}.{body}", at.0 / 1000).as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::seam::clock::SystemClock;

    fn webhook(secret: &str, allowed: &[&str]) -> HttpWebhook {
        let env: Env = [("AFN_WEBHOOK_SECRET", secret)].into_iter().collect();
        let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
        HttpWebhook::new(&env, allowed, Arc::new(SystemClock)).unwrap()
    }

    /// The example of the specification's libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let webhook = webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &[]);
        let signature = signature(
            webhook.secret.as_deref().unwrap(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Time(1_614_265_330_000),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let env: Env = [("AFN_WEBHOOK_SECRET", "whsec_?")].into_iter().collect();
        assert!(HttpWebhook::new(&env, Vec::new(), Arc::new(SystemClock)).is_err());
    }

    /// Answers one request; gives what was sent.
    fn receiver(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/done", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut head).unwrap(), 0);
            }
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            head + &String::from_utf8(body).unwrap()
        });
        (url, thread)
    }

    #[tokio::test]
    async fn what_is_posted_is_signed_and_named() {
        let (url, received) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        let posted = webhook("hush", &["127.0.0.1"]).post(&url, "01BATCH", "{}").await;
        assert_eq!(posted, Ok("204 No Content".to_owned()));
        let received = received.join().unwrap();
        assert!(received.starts_with("post /done http/1.1\r\n"), "{received}");
        assert!(received.contains("webhook-id: 01batch\r\n"), "{received}");
        let at = received.lines().find_map(|line| line.strip_prefix("webhook-timestamp: ")).unwrap();
        let at: u64 = at.parse().unwrap();
        assert!(SystemClock.now().0 / 1000 - at < 60);
        let signature = signature(b"hush", "01BATCH", Time(1000 * at), "{}").to_lowercase();
        assert!(received.contains(&format!("webhook-signature: {signature}\r\n")), "{received}");
        assert!(
            received.contains(&format!("host: {}\r\n", &url["http://".len()..url.len() - "/done".len()]))
        );
        assert!(received.ends_with("\r\n\r\n{}"), "{received}");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_that_says_why() {
        let webhook = webhook("", &["127.0.0.0/8"]);
        let (url, received) = receiver("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(webhook.post(&url, "01B", "{}").await, Err("503 Service Unavailable".to_owned()));
        assert!(!received.join().unwrap().contains("webhook-signature"));
        let nobody = webhook.post("http://127.0.0.1:1/", "01B", "{}").await.unwrap_err();
        assert!(nobody.to_lowercase().contains("refused"), "{nobody}");
    }

    #[tokio::test]
    async fn it_goes_where_it_may_and_no_further() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let inner = format!("http://{}/", listener.local_addr().unwrap());
        let refused = webhook("", &[]).post(&inner, "01B", "{}").await.unwrap_err();
        assert!(refused.contains("127.0.0.1, which is not public"), "{refused}");
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {inner}\r\ncontent-length: 0\r\n\r\n");
        let (url, _received) = receiver(answer.leak());
        let redirected = webhook("", &["127.0.0.1"]).post(&url, "01B", "{}").await;
        assert_eq!(redirected, Err("307 Temporary Redirect".to_owned()));
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
