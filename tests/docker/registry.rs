//! A registry of a few lines, in memory: as much of the distribution protocol as Docker asks for when it pushes and
//! pulls, behind a login if there is one. Docker takes a registry on this machine without TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use afn::model::Digest;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use tokio::task::JoinSet;

pub struct Registry {
    pub address: SocketAddr,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Shelf {
    /// `Basic …`, if a login is asked for.
    login: Option<String>,
    blobs: BTreeMap<String, Bytes>,
    /// By repository and by tag or digest: media type and text.
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: Vec<Vec<u8>>,
}

type Shared = Arc<Mutex<Shelf>>;

impl Registry {
    pub async fn start(login: Option<(&str, &str)>) -> Registry {
        let encoded = login.map(|(user, password)| {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {pair}")
        });
        let shelf: Shared = Arc::new(Mutex::new(Shelf { login: encoded, ..Shelf::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        let app = axum::Router::new().fallback(serve).with_state(shelf);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Registry { address, _server: server }
    }
}

async fn serve(State(shelf): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("Docker sends all of it");
    let mut shelf: MutexGuard<'_, Shelf> = shelf.lock().expect("no panic");
    if !shelf.lets_in(&head.headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
        return (StatusCode::UNAUTHORIZED, challenge, error("UNAUTHORIZED")).into_response();
    }
    let path = head.uri.path().trim_start_matches("/v2").trim_matches('/');
    if path.is_empty() {
        return StatusCode::OK.into_response();
    }
    if let Some((repo, upload)) = path.split_once("/blobs/uploads") {
        let query = head.uri.query().unwrap_or_default();
        return shelf.upload(&head.method, repo, upload.trim_matches('/'), query, &body);
    }
    if let Some((_, digest)) = path.split_once("/blobs/") {
        return match shelf.blobs.get(digest) {
            Some(blob) => blob.clone().into_response(),
            None => (StatusCode::NOT_FOUND, error("BLOB_UNKNOWN")).into_response(),
        };
    }
    match path.split_once("/manifests/") {
        Some((repo, name)) => shelf.manifest(&head.method, &head.headers, repo, name, body),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Shelf {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.login.is_none() || self.login.as_deref() == given
    }

    fn upload(&mut self, method: &Method, repo: &str, number: &str, query: &str, body: &[u8]) -> Response {
        if method == Method::POST {
            self.uploads.push(Vec::new());
        }
        let number = number.parse().unwrap_or(self.uploads.len() - 1);
        self.uploads[number].extend_from_slice(body);
        if method == Method::PUT {
            let digest =
                query.split('&').find_map(|pair| pair.strip_prefix("digest=")).expect("Docker says it");
            let digest = digest.replace("%3A", ":");
            self.blobs.insert(digest, std::mem::take(&mut self.uploads[number]).into());
            return StatusCode::CREATED.into_response();
        }
        let range = format!("0-{}", self.uploads[number].len().saturating_sub(1));
        let location = format!("/v2/{repo}/blobs/uploads/{number}");
        (StatusCode::ACCEPTED, [(header::LOCATION, location), (header::RANGE, range)]).into_response()
    }

    fn manifest(
        &mut self,
        method: &Method,
        headers: &HeaderMap,
        repo: &str,
        name: &str,
        body: Bytes,
    ) -> Response {
        let place = |name: &str| (repo.to_owned(), name.to_owned());
        if method == Method::PUT {
            let media_type = headers[header::CONTENT_TYPE].to_str().expect("it is text").to_owned();
            let digest = format!("sha256:{}", Digest::of(&body));
            for name in [name, &digest] {
                self.manifests.insert(place(name), (media_type.clone(), body.clone()));
            }
            return (StatusCode::CREATED, [("docker-content-digest", digest)]).into_response();
        }
        match self.manifests.get(&place(name)) {
            Some((media_type, text)) => {
                let digest = format!("sha256:{}", Digest::of(text));
                let headers = [("content-type", media_type.clone()), ("docker-content-digest", digest)];
                (headers, text.clone()).into_response()
            }
            None => (StatusCode::NOT_FOUND, error("MANIFEST_UNKNOWN")).into_response(),
        }
    }
}

fn error(code: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"{}"}}]}}"#, code.to_lowercase().replace('_', " "))
}
