//! Against a listener that says, byte for byte, what it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::answer::reason;
use super::*;
use crate::contract::testing;
use crate::model::Format;
use crate::seam::executor::RetryAfter;

/// What the listener does once it has read a request.
#[derive(Clone)]
enum Reply {
    Say(String),
    SayAndClose(String),
    /// One after another, each a read of its own, and then the end.
    Pieces(Vec<Vec<u8>>),
    Echo,
    Never,
}

struct Function {
    dir: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
    requests: Arc<std::sync::Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Function {
    /// One reply per request, over all connections; the last is repeated.
    fn listen(replies: &[Reply]) -> Function {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (counter, seen, replies) = (connections.clone(), requests.clone(), replies.to_vec());
        tasks.spawn(async move {
            let mut served = 0;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, SeqCst);
                while let Some(request) = read_request(&mut stream).await {
                    let reply = replies[served.min(replies.len() - 1)].clone();
                    served += 1;
                    let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
                    seen.lock().unwrap().push(request);
                    match reply {
                        Reply::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        Reply::SayAndClose(text) => {
                            stream.write_all(text.as_bytes()).await.unwrap();
                            break;
                        }
                        Reply::Pieces(pieces) => {
                            for piece in pieces {
                                // Whoever has heard enough hangs up.
                                let _ = stream.write_all(&piece).await;
                                tokio::task::yield_now().await;
                            }
                            break;
                        }
                        Reply::Echo => {
                            let size = dechunk(&body).len();
                            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                            stream.write_all(head.as_bytes()).await.unwrap();
                            stream.write_all(dechunk(&body).as_bytes()).await.unwrap();
                        }
                        Reply::Never => std::future::pending().await,
                    }
                }
            }
        });
        Function { dir, connections, requests, _tasks: tasks }
    }

    async fn connect(&self) -> Connection {
        Connection::establish(self.dir.path(), std::future::pending()).await.unwrap()
    }
}

/// Up to and with the last chunk.
async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"0\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn dechunk(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

fn ok(body: &str) -> Reply {
    Reply::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn status(status: &str, body: &str) -> Reply {
    Reply::Say(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Until the listener's end of the connection is closed.
async fn until_closed(connection: &Connection) {
    while connection.link.is_some() && !connection.is_closed() {
        tokio::task::yield_now().await;
    }
}

/// Verdict and `keep`, as text.
async fn one_call(reply: Reply) -> (String, bool) {
    let function = Function::listen(&[reply]);
    let invocation = testing::invocation(Format::HttpStream, b"hello");
    show(function.connect().await.call(&invocation, Time(0)).await.unwrap())
}

fn show(answer: Answer) -> (String, bool) {
    match answer {
        Answer::Verdict { verdict: Verdict::Success { content_type, body }, keep } => {
            let text = String::from_utf8(body.to_bytes().unwrap().to_vec()).unwrap();
            (format!("{}:{text}", content_type.unwrap_or_default()), keep)
        }
        Answer::Verdict { verdict: Verdict::Error { reason } | Verdict::Busy { reason, .. }, keep } => {
            (format!("error: {reason}"), keep)
        }
        Answer::Verdict { verdict: Verdict::Timeout, keep } => ("timeout".to_owned(), keep),
        Answer::Broken(why) => (format!("broken: {why}"), false),
        Answer::Gone(why) => (format!("gone: {why}"), false),
    }
}

#[tokio::test]
async fn a_call_carries_body_headers_id_deadline_and_attempt() {
    let function = Function::listen(&[ok("done")]);
    let mut invocation = testing::invocation(Format::HttpStream, b"hello");
    for (name, value) in
        [("X-Kept", "1"), ("Connection", "close"), ("Fn-Call-Id", "forged"), ("bad name", "x")]
    {
        invocation.headers.insert(name.to_owned(), value.to_owned());
    }
    let answer = function.connect().await.call(&invocation, Time(1_700_000_000_000)).await.unwrap();
    assert_eq!(show(answer), (":done".to_owned(), true));

    let request = function.requests.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("POST /call HTTP/1.1"));
    let mut lines: Vec<&str> = lines.collect();
    lines.sort();
    let id = format!("fn-call-id: {}", invocation.call);
    assert_eq!(
        lines,
        [
            "afn-attempt: 2",
            "content-type: text/plain",
            &id,
            "fn-deadline: 2023-11-14T22:13:30.000Z",
            "host: localhost",
            "transfer-encoding: chunked",
            "x-kept: 1",
        ]
    );
    assert_eq!(dechunk(body), "hello");
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let function = Function::listen(&[Reply::Echo]);
    let mut connection = function.connect().await;
    for payload in ["one", "", "zwei ✓", "4"] {
        let mut invocation = testing::invocation(Format::HttpStream, b"");
        invocation.payload = payload.into();
        let answer = connection.call(&invocation, Time(0)).await.unwrap();
        assert_eq!(show(answer), (format!(":{payload}"), true));
    }
    assert_eq!(function.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn five_mebibytes_go_both_ways() {
    let function = Function::listen(&[Reply::Echo]);
    let mut invocation = testing::invocation(Format::HttpStream, b"");
    invocation.payload = "0123456789abcdef".repeat(5 << 16).into();
    let Answer::Verdict { verdict: Verdict::Success { body, .. }, keep: true } =
        function.connect().await.call(&invocation, Time(0)).await.unwrap()
    else {
        panic!("no success")
    };
    assert_eq!(body.to_bytes().unwrap(), invocation.payload.to_bytes().unwrap());
}

#[tokio::test]
async fn a_connection_closed_between_calls_is_opened_again() {
    let Reply::Say(text) = ok("once") else { unreachable!() };
    let function = Function::listen(&[Reply::SayAndClose(text), ok("twice")]);
    let mut connection = function.connect().await;
    let invocation = testing::invocation(Format::HttpStream, b"");
    assert_eq!(show(connection.call(&invocation, Time(0)).await.unwrap()), (":once".to_owned(), true));
    until_closed(&connection).await;
    assert_eq!(show(connection.call(&invocation, Time(0)).await.unwrap()), (":twice".to_owned(), true));
    assert_eq!(function.connections.load(SeqCst), 2);
}

#[tokio::test]
async fn statuses_mean_what_the_contract_says() {
    let failed = one_call(status("502 Bad Gateway", "  boom at line 3\n")).await;
    assert_eq!(failed, ("error: boom at line 3".to_owned(), true));
    let json = one_call(status("502 Bad Gateway", r#"{"message":"no such user","detail":7}"#)).await;
    assert_eq!(json, ("error: no such user".to_owned(), true));
    let silent = one_call(status("502 Bad Gateway", "")).await;
    assert_eq!(silent, ("error: the function failed and did not say why".to_owned(), true));
    assert_eq!(one_call(status("504 Gateway Timeout", "late")).await, ("timeout".to_owned(), true));
    for wrong in ["201 Created", "404 Not Found", "500 Internal Server Error"] {
        let reason = format!("error: invalid function response: status {}", &wrong[..3]);
        assert_eq!(one_call(status(wrong, "x")).await, (reason, false));
    }
}

#[tokio::test]
async fn chunked_answers_and_content_types_are_taken_in() {
    let reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    assert_eq!(one_call(Reply::Say(reply.to_owned())).await, ("application/json:{\"a\":1}".to_owned(), true));
    // HTTP/1.0, delimited by the end of the connection.
    let reply = "HTTP/1.0 200 OK\r\n\r\nold";
    assert_eq!(one_call(Reply::SayAndClose(reply.to_owned())).await, (":old".to_owned(), true));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    for reply in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "nonsense\r\n\r\n"]
    {
        let (answer, keep) = one_call(Reply::SayAndClose(reply.to_owned())).await;
        assert!(answer.starts_with("broken: ") && !keep, "{reply:?}: {answer}");
    }
}

#[tokio::test]
async fn a_function_that_went_away_is_told_from_one_that_broke() {
    let function = Function::listen(&[ok("x")]);
    let mut connection = function.connect().await;
    let Function { dir, _tasks, .. } = function;
    drop(_tasks);
    while UnixStream::connect(dir.path().join(SOCKET_NAME)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let answer = show(connection.call(&testing::invocation(Format::HttpStream, b""), Time(0)).await.unwrap());
    assert_eq!(answer.0, "gone: it no longer listens");
}

#[tokio::test]
async fn a_function_that_only_hangs_up_is_not_asked_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let mut connection = Connection::establish(dir.path(), std::future::pending()).await.unwrap();
    until_closed(&connection).await;
    let answer =
        show(connection.call(&testing::invocation(Format::HttpStream, b""), Time(0)).await.unwrap()).0;
    assert!(answer.starts_with("gone: ") || answer.starts_with("broken: "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn time_runs_out() {
    let function = Function::listen(&[Reply::Never]);
    let invocation = testing::invocation(Format::HttpStream, b"");
    let begun = Instant::now();
    let answer = function.connect().await.call(&invocation, Time(0)).await.unwrap();
    assert_eq!(show(answer), ("timeout".to_owned(), false));
    assert_eq!(begun.elapsed().as_secs(), invocation.version.limits.timeout_ms / 1_000);
}

#[tokio::test(start_paused = true)]
async fn readiness_has_a_limit_and_ends_with_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let late = Connection::establish(dir.path(), std::future::pending()).await.unwrap_err();
    assert_eq!(late, NotReady::TimedOut);
    let exited = Connection::establish(dir.path(), sleep(Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(exited, NotReady::Exited);
    std::fs::create_dir(dir.path().join(SOCKET_NAME)).unwrap();
    let broken = Connection::establish(dir.path(), std::future::pending()).await.unwrap_err();
    assert_eq!(broken, NotReady::Broken("lsnr.sock is not a socket".to_owned()));
}

/// One body in one of HTTP's three framings.
fn framed(status: u16, body: &[u8], framing: u8, chunk: usize) -> Vec<u8> {
    let head = |more: &str| format!("HTTP/1.1 {status} Said\r\n{more}\r\n").into_bytes();
    match framing {
        0 => [head(&format!("Content-Length: {}\r\n", body.len())), body.to_vec()].concat(),
        1 => {
            let chunks = body.chunks(chunk).map(|chunk| {
                [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.to_vec(), b"\r\n".to_vec()].concat()
            });
            [
                head("Transfer-Encoding: chunked\r\n"),
                chunks.collect::<Vec<_>>().concat(),
                b"0\r\n\r\n".to_vec(),
            ]
            .concat()
        }
        _ => [head(""), body.to_vec()].concat(),
    }
}

fn answer_to(pieces: Vec<Vec<u8>>) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let function = Function::listen(&[Reply::Pieces(pieces)]);
        let invocation = testing::invocation(Format::HttpStream, b"hello");
        function.connect().await.call(&invocation, Time(0)).await.expect("no fault of the worker's")
    })
}

fn cut(bytes: &[u8], cuts: &[proptest::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    #[test]
    fn an_answer_is_the_same_however_it_is_framed_and_cut(
        status in proptest::sample::select(vec![200u16, 201, 404, 500, 502, 503, 504]),
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        framing in 0u8..3,
        chunk in 1usize..50,
        cuts in proptest::collection::vec(proptest::prelude::any::<proptest::sample::Index>(), 0..8),
    ) {
        let Answer::Verdict { verdict, keep } = answer_to(cut(&framed(status, &body, framing, chunk), &cuts)) else {
            panic!("a whole answer is a verdict")
        };
        assert_eq!(keep, [200, 502, 504].contains(&status));
        match (status, verdict) {
            (200, Verdict::Success { content_type: None, body: said }) => assert_eq!(said.to_bytes().unwrap(), body),
            (502, Verdict::Error { reason: said }) => assert_eq!(said, reason(&body)),
            (504, Verdict::Timeout) => {}
            (status, Verdict::Error { reason }) => {
                assert_eq!(reason, format!("invalid function response: status {status}"));
            }
            (status, verdict) => panic!("{status} is {verdict:?}"),
        }
    }

    #[test]
    fn whatever_it_says_is_an_answer(
        said in proptest::prop_oneof![
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            proptest::strategy::Strategy::prop_map(
                "HTTP/1\\.[01] (100|101|200|204|304|502|999)( OK)?\r?\n((Content-Length: (0|3|-1|99999999999999999999)|Transfer-Encoding: (chunked|gzip)|Connection: (close|upgrade)|: |x)\r?\n){0,3}\r?\n([0-9a-g]{1,3}\r\n.{0,9}){0,3}",
                String::into_bytes,
            ),
        ],
        cuts in proptest::collection::vec(proptest::prelude::any::<proptest::sample::Index>(), 0..8),
    ) {
        let whole = show_lossy(answer_to(cut(&said, &[])));
        assert_eq!(show_lossy(answer_to(cut(&said, &cuts))), whole);
    }
}

/// What kind of answer it is. How a broken one broke hangs on where it was cut.
fn show_lossy(answer: Answer) -> (String, bool) {
    match answer {
        Answer::Verdict { verdict: Verdict::Success { body, .. }, keep } => {
            (String::from_utf8_lossy(&body.to_bytes().unwrap()).into_owned(), keep)
        }
        Answer::Broken(_) | Answer::Gone(_) => ("broken".to_owned(), false),
        verdict => show(verdict),
    }
}

#[tokio::test]
async fn an_answer_that_says_when_to_try_again_is_no_failure() {
    let date = Time(784_111_777_000);
    for (head, body, reason, retry_after) in [
        ("503 Busy\r\nRetry-After: 30", "", "status 503", RetryAfter::Wait(Duration::from_secs(30))),
        (
            "429 Slow\r\nretry-after: 0",
            "slow down",
            "status 429: slow down",
            RetryAfter::Wait(Duration::ZERO),
        ),
        ("503 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT", "", "status 503", RetryAfter::Until(date)),
    ] {
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let function = Function::listen(&[Reply::Say(text)]);
        let invocation = testing::invocation(Format::HttpStream, b"");
        let answer = function.connect().await.call(&invocation, Time(0)).await.unwrap();
        let Answer::Verdict { verdict: Verdict::Busy { reason: why, retry_after: again }, keep: true } =
            answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!((why.as_str(), again), (reason, Some(retry_after)), "{head}");
    }
    for head in ["503 Busy", "503 Busy\r\nRetry-After: soon", "500 No\r\nRetry-After: 30"] {
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
        let function = Function::listen(&[Reply::Say(text)]);
        let invocation = testing::invocation(Format::HttpStream, b"");
        let answer = function.connect().await.call(&invocation, Time(0)).await.unwrap();
        assert!(matches!(answer, Answer::Verdict { verdict: Verdict::Error { .. }, .. }), "{answer:?}");
    }
}
