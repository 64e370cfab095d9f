//! A world to call functions in: everything is real but the store and queues, which are in memory, and the functions,
//! which are closures.

use std::sync::Arc;
use std::time::Duration;

use afn::api::{self, Listeners};
use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::catalog::{Catalog, Publish};
use afn::event::Silent;
use afn::executor::scripted::{Act, Scripted};
use afn::layout::Key;
use afn::model::{AppName, CallId, Digest, Kind, Limits, Source, State, Version};
use afn::results::call::{CallView, wait};
use afn::seam::clock::SystemClock;
use afn::seam::executor::Invocation;
use afn::seam::queue::{Queue, QueuePair, Queues};
use afn::seam::rng::SystemRng;
use afn::seam::store::PutObject;
use afn::seam::{Clock, Deps};
use afn::submit::call::{Accepted, Request, submit};
use afn::worker::{Config, Phase, Worker};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::PATIENCE;

pub struct World {
    pub deps: Deps,
    pub app: AppName,
    pub address: std::net::SocketAddr,
    pub socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
    stop: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl World {
    /// Serves the API; nobody works yet.
    pub async fn start() -> World {
        World::with_token(None).await
    }

    pub async fn with_token(token: Option<&str>) -> World {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queue = || -> Arc<dyn Queue> { Arc::new(MemoryQueue::new(clock.clone())) };
        let lane = || QueuePair { live: queue(), dead: queue() };
        let deps = Deps {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            events: Arc::new(Silent),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = watch::channel(Phase::Run);
        let token = token.map(str::to_owned);
        let state = api::ApiOptions { deps: deps.clone(), version: "0.1.0".to_owned(), token };
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("api.sock");
        let unix = Some(UnixListener::bind(&socket).expect("a socket"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut stopped = stopped;
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop != Phase::Run).await;
            };
            api::serve(Listeners { tcp: listener, unix }, state, stop).await.expect("served to the end");
        });
        let app = "asyncapp".parse().expect("a name");
        World { deps, app, address, socket, _folder: folder, stop, tasks }
    }

    /// Starts a worker whose functions do what the script says.
    pub fn work(&mut self, script: impl Fn(&Invocation) -> Act + Send + Sync + 'static) {
        let executor = Arc::new(Scripted::new(self.deps.clock.clone(), script));
        let worker = Worker::new(self.deps.clone(), executor, Config::new("worker-1", 2));
        let stopped = self.stop.subscribe();
        self.tasks.spawn(async move {
            worker.run(stopped).await.expect("worked to the end");
        });
    }

    pub async fn deploy(&self, name: &str, kind: Kind) {
        deploy(&self.deps, &self.app, name, kind).await;
    }

    pub async fn submit(&self, function: &str, payload: &'static str) -> Accepted {
        let request = Request {
            app: self.app.clone(),
            route: format!("/{function}").parse().expect("a route"),
            payload: payload.into(),
            content_type: Some("text/plain".to_owned()),
            headers: Default::default(),
            delay: Duration::ZERO,
            idempotency_key: None,
        };
        submit(&self.deps, request).await.expect("accepted")
    }

    pub async fn outcome(&self, call: CallId) -> CallView {
        let view = wait(&self.deps, &self.app, call, Some(PATIENCE), |_| {}).await.expect("an outcome");
        assert!(view.state.is_final());
        view
    }

    pub async fn outcome_is(&self, call: CallId, state: State) -> CallView {
        let view = self.outcome(call).await;
        assert_eq!((view.state, &view.reason.is_some()), (state, &(state != State::Success)), "{view:?}");
        view
    }

    /// Sends bytes, reads all that comes back until the server closes.
    pub async fn raw(&self, request: impl AsRef<[u8]>) -> Vec<u8> {
        self.raw_over(TcpStream::connect(self.address).await.expect("a connection"), request).await
    }

    pub async fn raw_over(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        request: impl AsRef<[u8]>,
    ) -> Vec<u8> {
        let exchange = async {
            stream.write_all(request.as_ref()).await.expect("sent");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an answer");
            answer
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
    }

    /// One request; its answer without the date, split into head and body.
    pub async fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "Connection: close\r\n\r\n";
        let answer = self.raw([request.as_bytes(), body].concat()).await;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).expect("text");
        let lines = head.split("\r\n").filter(|line| !line.starts_with("Date: "));
        Answer { head: lines.collect::<Vec<&str>>().join("\n"), body: answer[end + 4..].to_vec() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.http("GET", path, &[], b"").await
    }

    pub fn begin_stop(&self) {
        self.stop.send_replace(Phase::Drain);
    }

    /// Stops API and worker, and sees that they end.
    pub async fn stop(mut self) {
        self.begin_stop();
        let end = async { while self.tasks.join_next().await.transpose().expect("no panic").is_some() {} };
        tokio::time::timeout(PATIENCE, end).await.expect("an end in time");
    }
}

/// Publishes a function of that name, under the route of that name.
pub async fn deploy(deps: &Deps, app: &AppName, name: &str, kind: Kind) {
    let sha256 = Digest::of(b"");
    // A function that was published before may have left it.
    let _ = deps.store.put(&Key::Archive(app.clone(), sha256.clone()), PutObject::create("")).await;
    let source = Source::Archive { sha256, bytes: 0 };
    let version = Version {
        command: vec!["true".to_owned()],
        ..Version::new("0.0.1", source, Limits::default(), deps.now()).expect("a version")
    };
    let publish = Publish {
        name: name.parse().expect("a name"),
        route: format!("/{name}").parse().expect("a route"),
        kind,
        config: None,
        annotations: Default::default(),
        version,
    };
    Catalog::new(deps.clone()).publish(app, publish).await.expect("published");
}

#[derive(Debug)]
pub struct Answer {
    /// Status line and headers, a line each.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        let status = self.head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        status.and_then(|status| status.parse().ok()).expect("a status line")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}
