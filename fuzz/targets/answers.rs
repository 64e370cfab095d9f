//! What a function of format `http-stream` answers, byte for byte: the first byte says how long the pieces are that the rest
//! is said in. Nothing makes it panic or wait, and in one piece it is the same kind of answer.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use afn::contract::http_stream::{Answer, Connection, SOCKET_NAME};
use afn::model::{CallId, Config, Digest, Format, Function, Kind, Limits, Nonce, Source, Time, Version};
use afn::seam::executor::{Verdict, Invocation};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

struct Place {
    runtime: Runtime,
    dir: tempfile::TempDir,
    listener: UnixListener,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let listener = runtime.block_on(async { UnixListener::bind(dir.path().join(SOCKET_NAME)) });
        Place { runtime, dir, listener: listener.expect("a socket") }
    })
}

/// Reads one request, says all of it, and hangs up.
async fn say(listener: &UnixListener, pieces: Vec<Vec<u8>>) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut request = Vec::new();
    while !request.ends_with(b"0\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    for piece in pieces {
        let _ = stream.write_all(&piece).await;
        tokio::task::yield_now().await;
    }
}

fn answer_to(pieces: Vec<Vec<u8>>) -> Answer {
    let Place { runtime, dir, listener } = place();
    runtime.block_on(async {
        let call = async {
            let mut connection =
                Connection::establish(dir.path(), std::future::pending()).await.expect("it listens");
            connection.call(&work(), Time(0)).await.expect("no fault of the worker's")
        };
        let both = async { tokio::join!(call, say(listener, pieces)).0 };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("it hung up")
    })
}

fn work() -> Invocation {
    Invocation {
        app: "app".parse().expect("a name"),
        app_config: Config::new().into(),
        function: Function {
            name: "f".parse().expect("a name"),
            route: "/f".parse().expect("a route"),
            kind: Kind::Async,
            version: "0.0.1-000000000000".parse().expect("a version"),
            config: Config::new(),
            annotations: Default::default(),
            created_at: Time(0),
            updated_at: Time(0),
            nonce: Nonce::new(1),
        }
        .into(),
        version: Version {
            id: "0.0.1-000000000000".parse().expect("a version"),
            label: "0.0.1".to_owned(),
            source: Source::Archive { sha256: Digest::of(b""), bytes: 0 },
            os: None,
            arch: None,
            runtime: None,
            format: Format::HttpStream,
            command: Vec::new(),
            content_type: None,
            limits: Limits::default(),
            created_at: Time(0),
        }
        .into(),
        call: CallId::single(Time(1_700_000_000_000), 7),
        attempt: 1,
        env: Vec::new(),
        headers: Default::default(),
        content_type: None,
        payload: Bytes::from_static(b"hello").into(),
        execution_log: Default::default(),
    }
}

/// How a broken one broke hangs on where it was cut.
fn kind(answer: Answer) -> String {
    match answer {
        Answer::Verdict { verdict: Verdict::Success { content_type, body }, keep } => {
            format!("{keep} {content_type:?} {:?}", body.to_bytes().expect("a body"))
        }
        Answer::Verdict { verdict, keep } => format!("{keep} {verdict:?}"),
        Answer::Broken(_) | Answer::Gone(_) => "broken".to_owned(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, said)) = data.split_first() else { return };
    let whole = kind(answer_to(vec![said.to_vec()]));
    let pieces = said.chunks(usize::from(*piece).max(1)).map(<[u8]>::to_vec).collect();
    assert_eq!(kind(answer_to(pieces)), whole);
});
