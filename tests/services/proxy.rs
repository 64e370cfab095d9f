//! A proxy before LocalStack that can be cut, and that loses answers to what LocalStack has done. What it counts is
//! what the other side did.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// What cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Nothing,
    Store,
    Queues,
    All,
}

impl Cut {
    fn is_of(self, request: &str) -> bool {
        let is_queue = request.starts_with("AmazonSQS.");
        match self {
            Cut::Nothing => false,
            Cut::Store => !is_queue,
            Cut::Queues => is_queue,
            Cut::All => true,
        }
    }
}

struct Shared {
    upstream: String,
    /// By how much the store's clock runs ahead.
    ahead: Mutex<Duration>,
    cut: watch::Sender<Cut>,
    losses: Mutex<Vec<Loss>>,
    lost: watch::Sender<Vec<String>>,
}

/// How many answers to such requests are still to be lost.
struct Loss {
    request: &'static str,
    left: usize,
}

impl Proxy {
    pub async fn before(endpoint: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            upstream: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            ahead: Mutex::default(),
            cut: watch::Sender::new(Cut::Nothing),
            losses: Mutex::default(),
            lost: watch::Sender::new(Vec::new()),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, shared.clone()));
        Proxy { address, shared, _server: server }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whoever asks the store for the time by a probe is told a later one: as if all else were older.
    pub fn set_store_clock_ahead(&self, by: Duration) {
        *self.shared.ahead.lock().expect("no panic") = by;
    }

    /// Breaks off the requests that are cut, and refuses them from here on. Others go on: a receive that is broken off may
    /// take a message along.
    pub fn cut(&self, cut: Cut) {
        self.shared.cut.send_replace(cut);
    }

    pub fn mend(&self) {
        self.cut(Cut::Nothing);
    }

    /// The next answers to such requests are lost, after what they ask for was done. A request is named by its method
    /// and a part of its path, `PUT /status`, or by its operation: `SendMessageBatch`.
    pub fn lose_answers(&self, request: &'static str, count: usize) {
        self.shared.losses.lock().expect("no panic").push(Loss { request, left: count });
    }

    /// Waits until this many answers were lost, and names them.
    pub async fn lost(&self, count: usize) -> Vec<String> {
        let mut lost = self.shared.lost.subscribe();
        let all = tokio::time::timeout(crate::support::PATIENCE, lost.wait_for(|lost| lost.len() >= count));
        all.await.expect("answers are lost in time").expect("the proxy lives").clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        if *shared.cut.borrow() == Cut::All {
            continue;
        }
        let shared = shared.clone();
        connections.spawn(async move {
            let serve = service_fn(|request| unless_cut(&shared, request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), serve)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// An error ends the connection without an answer.
async fn unless_cut(shared: &Shared, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let name = name(&parts);
    let mut cut = shared.cut.subscribe();
    tokio::select! {
        biased;
        _ = cut.wait_for(|cut| cut.is_of(&name)) => Err(io::Error::other(format!("{name} is cut off"))),
        answer = forward(shared, parts, body, &name) => answer,
    }
}

async fn forward(
    shared: &Shared,
    mut parts: Parts,
    body: Incoming,
    name: &str,
) -> io::Result<Response<Full<Bytes>>> {
    for hop in [header::EXPECT, header::TRANSFER_ENCODING, header::CONNECTION] {
        parts.headers.remove(hop);
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let stream = TcpStream::connect(&shared.upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let asked = async {
        let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await;
        let (mut head, body) = answer.map_err(io::Error::other)?.into_parts();
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONNECTION);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok::<_, io::Error>(Response::from_parts(head, Full::new(body)))
    };
    let mut asked = std::pin::pin!(asked);
    let mut connection = std::pin::pin!(connection);
    let answer = tokio::select! {
        biased;
        answer = &mut asked => answer?,
        ended = &mut connection => {
            ended.map_err(io::Error::other)?;
            asked.await?
        }
    };
    let answer = if name.contains("/probes/") { shared.later(answer) } else { answer };
    if shared.loses(name) {
        shared.lost.send_modify(|lost| lost.push(name.to_owned()));
        return Err(io::Error::other(format!("the answer to {name} is lost")));
    }
    Ok(answer)
}

/// `AmazonSQS.SendMessageBatch`, or `PUT /bucket/prefix/apps/…/status`.
fn name(parts: &Parts) -> String {
    match parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        Some(target) => target.to_owned(),
        None => format!("{} {}", parts.method, parts.uri.path()),
    }
}

impl Shared {
    fn later(&self, mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let ahead = *self.ahead.lock().expect("no panic");
        if let Some(modified) = answer.headers_mut().get_mut(header::LAST_MODIFIED) {
            let text = modified.to_str().expect("a date");
            let time = DateTime::from_str(text, Format::HttpDate).expect("a date");
            let later = DateTime::from_secs(time.secs() + ahead.as_secs() as i64);
            let later = later.fmt(Format::HttpDate).expect("a date");
            *modified = later.parse().expect("a header");
        }
        answer
    }

    fn loses(&self, name: &str) -> bool {
        let mut losses = self.losses.lock().expect("no panic");
        let loss = losses.iter_mut().find(|loss| loss.left > 0 && loss.is_for(name));
        loss.map(|loss| loss.left -= 1).is_some()
    }
}

impl Loss {
    fn is_for(&self, name: &str) -> bool {
        match self.request.split_once(' ') {
            Some((method, end)) => name.starts_with(method) && name.contains(end),
            None => name.ends_with(self.request),
        }
    }
}
