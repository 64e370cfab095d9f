//! Webhooks over HTTP, signed: the body's HMAC-SHA256 under a secret that the receiver knows too. HTTPS comes with the TLS
//! that S3 and SQS bring.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

use crate::context::{Env, env};
use crate::error;
use crate::seam::Webhook;

/// The same in every try of one batch.
const DELIVERY: &str = "afn-delivery";
/// `sha256=` and the digest in hexadecimal digits.
const SIGNATURE: &str = "afn-signature";
/// What a receiver has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[cfg(feature = "aws")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "aws"))]
type Connector = HttpConnector;

pub struct HttpWebhook {
    /// Or why there is none: a worker that never has a webhook to post does not care.
    client: Result<Client<Connector, Full<Bytes>>, String>,
    secret: Option<String>,
}

impl HttpWebhook {
    pub fn new(env: &Env) -> error::Result<HttpWebhook> {
        let client = connector().map(|connector| Client::builder(TokioExecutor::new()).build(connector));
        Ok(HttpWebhook { client, secret: env.get(env::WEBHOOK_SECRET)? })
    }
}

#[cfg(feature = "aws")]
fn connector() -> Result<Connector, String> {
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| format!("cannot read the certificates of this system: {error}"))?;
    Ok(builder.https_or_http().enable_http1().build())
}

#[cfg(not(feature = "aws"))]
fn connector() -> Result<Connector, String> {
    Ok(HttpConnector::new())
}

#[async_trait]
impl Webhook for HttpWebhook {
    async fn post(&self, url: &str, delivery: &str, body: &str) -> Result<String, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("afn/", env!("CARGO_PKG_VERSION")))
            .header(DELIVERY, delivery);
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, body));
        }
        let request =
            request.body(Full::from(body.to_owned())).map_err(|error| format!("cannot be asked: {error}"))?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, client.request(request))
            .await
            .map_err(|_| format!("no answer within {} s", ANSWER_WITHIN.as_secs()))?
            .map_err(|error| explain(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(status.to_string()) } else { Err(status.to_string()) }
    }
}

/// With its causes: the outermost says no more than that it could not connect.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        assert_eq!(
            signature("Jefe", "what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
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
        let env: Env = [("AFN_WEBHOOK_SECRET", "hush")].into_iter().collect();
        let webhook = HttpWebhook::new(&env).unwrap();
        let (url, received) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(webhook.post(&url, "01BATCH", "{}").await, Ok("204 No Content".to_owned()));
        let received = received.join().unwrap();
        assert!(received.starts_with("post /done http/1.1\r\n"), "{received}");
        assert!(received.contains("afn-delivery: 01batch\r\n"), "{received}");
        assert!(received.contains(&format!("afn-signature: {}\r\n", signature("hush", "{}"))), "{received}");
        assert!(received.ends_with("\r\n\r\n{}"), "{received}");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_that_says_why() {
        let webhook = HttpWebhook::new(&Env::default()).unwrap();
        let (url, received) = receiver("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(webhook.post(&url, "01B", "{}").await, Err("503 Service Unavailable".to_owned()));
        assert!(!received.join().unwrap().contains("afn-signature"));
        let nobody = webhook.post("http://127.0.0.1:1/", "01B", "{}").await.unwrap_err();
        assert!(nobody.to_lowercase().contains("refused"), "{nobody}");
    }
}
