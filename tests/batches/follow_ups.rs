//! What follows a batch, with its supervisor killed at every step: one call, and a webhook that always says the same.

use std::sync::Arc;

use afn::layout::Key;
use afn::model::CallId;
use afn::seam::StoreExt as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::facts::one_outcome_each;
use super::ground::lines;
use super::world::{APP, PATIENCE, World};
use crate::support::Running;

everywhere!(followed_once_however_often_its_supervisor_dies);

const SECRET: &str = "a secret of both sides";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Post {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

/// Takes posts in, and answers once it is told to.
struct Receiver {
    url: String,
    posts: Arc<watch::Sender<Vec<Post>>>,
    answers: Arc<watch::Sender<bool>>,
    _server: JoinSet<()>,
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/done", listener.local_addr().expect("an address"));
        let (posts, answers) = (Arc::new(watch::Sender::default()), Arc::new(watch::Sender::new(false)));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, posts.clone(), answers.clone()));
        Receiver { url, posts, answers, _server: server }
    }

    async fn posted(&self, count: usize) -> Vec<Post> {
        let mut posts = self.posts.subscribe();
        let enough = tokio::time::timeout(PATIENCE, posts.wait_for(|posts| posts.len() >= count)).await;
        enough.expect("it is posted in time").expect("the receiver lives").clone()
    }
}

async fn serve(
    listener: TcpListener,
    posts: Arc<watch::Sender<Vec<Post>>>,
    answers: Arc<watch::Sender<bool>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (posts, answers) = (posts.clone(), answers.clone());
        connections.spawn(async move {
            let take = service_fn(|request| take(request, &posts, &answers));
            let server = hyper::server::conn::http1::Builder::new();
            // Whoever posted may be killed before the answer.
            let _ = server.serve_connection(TokioIo::new(stream), take).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    posts: &watch::Sender<Vec<Post>>,
    answers: &watch::Sender<bool>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    let body = request.into_body().collect().await?.to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("JSON");
    posts.send_modify(|posts| posts.push(Post { id, timestamp, signature, body }));
    answers.subscribe().wait_for(|answers| *answers).await.expect("the test lives");
    Ok(Response::new(Full::default()))
}

async fn worker(world: &World) -> Running {
    let mut command = world.command();
    command.env("AFN_WEBHOOK_SECRET", SECRET).env("AFN_WEBHOOK_ALLOW", "127.0.0.1");
    world.worker_of(command, "-j 2").await
}

async fn stored(world: &World, key: Key) {
    let store = world.open().await.deps.store;
    let begun = tokio::time::Instant::now();
    while !store.exists(&key).await.expect("a head") {
        assert!(begun.elapsed() < PATIENCE, "{key} is not written");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn followed_once_however_often_its_supervisor_dies(world: World) {
    const CALLS: u64 = 50;
    world.deploy("echo", "cat").await;
    world.deploy("notify", "cat").await;
    world.write("in.txt", lines(CALLS));
    let receiver = Receiver::start().await;
    let options = format!("--then {APP}/notify --on-complete {}", receiver.url);
    let batch = world.submit_batch("echo", "in.txt", &options).await;
    let follow_up = CallId::following(batch);

    let lost = worker(&world).await;
    world.until_batch(batch, "decided", |view| view.decided == CALLS).await;
    lost.kill().await;
    for step in [Key::Summary(world.app(), batch), Key::Payload(world.app(), follow_up)] {
        let lost = worker(&world).await;
        stored(&world, step).await;
        lost.kill().await;
    }
    for _ in 0..2 {
        let before = receiver.posts.borrow().len();
        let lost = worker(&world).await;
        receiver.posted(before + 1).await;
        lost.kill().await;
    }
    receiver.answers.send_replace(true);
    let _last = worker(&world).await;
    let view = world.until_batch(batch, "followed", |view| view.fired.is_some()).await;

    one_outcome_each(&world, batch, CALLS).await;
    let fired = view.fired.expect("it was waited for");
    assert_eq!(fired.then, Some(follow_up));
    let webhook = fired.webhook.expect("it was asked for");
    assert!(webhook.delivered, "{webhook:?}");
    let posts = receiver.posted(3).await;
    assert!(posts.iter().all(|post| post.body == posts[0].body), "{posts:#?}");
    for Post { id, timestamp, signature, body } in &posts {
        assert_eq!(*id, batch.to_string());
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key will do");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        assert_eq!(*signature, format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())));
    }
    let told: Value = serde_json::from_str(&posts[0].body).expect("JSON");
    assert_eq!(
        (&told["batch_id"], &told["summary"]["counts"]["success"]),
        (&batch.to_string().into(), &CALLS.into())
    );
    // The call was told the same, and has its one outcome.
    world.afn(&format!("wait {follow_up} --timeout 4m")).await.ok();
    assert_eq!(world.afn(&format!("get result {APP} {follow_up}")).await.ok(), posts[0].body);
    let calls = world.afn(&format!("list calls {APP} --path /notify --output json")).await.json();
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
}
