//! What the engine costs beside the function: a batch of no-op calls of a hot `http-stream` process in the embedded context,
//! against a bare loop that hands the same payload to the same function over a blocking socket, with a request made
//! beforehand and the least parser that finds the end of an answer.
//!
//! ```sh
//! cargo bench --bench calls -- 1000000 1           # calls, connections
//! cargo bench --bench calls -- 1000000 4 python    # of the Python function, instead of the Rust one
//! ```
//!
//! Engine and loop take turns within one run. The engine's time is from its worker's start to the batch's end, outcomes
//! recorded; CPU is that of everything, the function included.

mod world;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use afn::deploy::pack::pack;
use afn::event::{Event, Listener};
use afn::executor::pool::Pool;
use afn::executor::process::{ProcessLauncher, ProcessOptions, Scope};
use afn::layout::Key;
use afn::model::{AppName, Digest, Format, Source};
use afn::seam::clock::SystemClock;
use afn::seam::store::PutObject;
use afn::seam::{Clock as _, Executor as _};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;
use afn::worker::{Config, Phase, Worker};
use tokio::sync::{Notify, watch};

use self::world::World;

const PAYLOAD: &str = "you";
const ROUNDS: usize = 3;

fn main() {
    afn::embedded::memory::give_back();
    let mut numbers = world::numbers();
    let calls = numbers.next().unwrap_or(1_000_000);
    let connections = numbers.next().unwrap_or(1).max(1);
    let python = std::env::args().any(|argument| argument == "python");
    let folder = tempfile::tempdir().expect("a folder");
    let function = function(&folder.path().join("function"), python);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let bare = measure(|| bare(&function, folder.path(), calls, connections));
        let place = folder.path().join(format!("round-{round}"));
        let engine = runtime.block_on(engine(&function, &place, calls, connections));
        let ratio = bare.seconds / engine.seconds;
        println!(
            "{calls} calls, {connections} at a time: bare {:.0}/s at {:.1} µs of CPU, engine {:.0}/s at {:.1} µs: {ratio:.2}",
            bare.rate(calls),
            bare.cpu(calls),
            engine.rate(calls),
            engine.cpu(calls),
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("engine ÷ bare: {:.2} (of {ROUNDS} rounds the median)", ratios[ROUNDS / 2]);
}

struct Function {
    folder: PathBuf,
    command: Vec<&'static str>,
}

const NO_OP: &str = "
mod serve;

fn main() -> std::io::Result<()> {
    serve::forever(|_| Ok(serve::Answer::text(\"ok\")))
}
";

const NO_OP_IN_PYTHON: &str = "
import serve

serve.forever(lambda call: 'ok')
";

/// What `afn init` makes, built for release, with nothing in it.
fn function(folder: &Path, python: bool) -> Function {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    std::fs::create_dir(folder).expect("a folder");
    if python {
        std::fs::copy(templates.join("python/serve.py"), folder.join("serve.py")).expect("copied");
        std::fs::write(folder.join("func.py"), NO_OP_IN_PYTHON).expect("written");
        return Function { folder: folder.to_owned(), command: vec!["python3", "func.py"] };
    }
    std::fs::copy(templates.join("rust/serve.rs"), folder.join("serve.rs")).expect("copied");
    std::fs::write(folder.join("main.rs"), NO_OP).expect("written");
    let built = Command::new("rustc")
        .args(["--edition", "2021", "-C", "opt-level=3", "-o"])
        .arg(folder.join("func"))
        .arg(folder.join("main.rs"))
        .status();
    assert!(built.expect("rustc").success(), "the function does not build");
    Function { folder: folder.to_owned(), command: vec!["./func"] }
}

struct Measured {
    seconds: f64,
    cpu_seconds: f64,
}

impl Measured {
    fn rate(&self, calls: u64) -> f64 {
        calls as f64 / self.seconds
    }

    /// Microseconds for each call.
    fn cpu(&self, calls: u64) -> f64 {
        self.cpu_seconds * 1e6 / calls as f64
    }
}

fn measure(work: impl FnOnce() -> Duration) -> Measured {
    let before = cpu_seconds();
    let seconds = work().as_secs_f64();
    Measured { seconds, cpu_seconds: cpu_seconds() - before }
}

/// Of this process and of the children that it has waited for.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a proc file system");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let fields = after_name.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    ticks as f64 / 100.0
}

/// So many connections, each to a process of its own, each with its share of the calls.
fn bare(function: &Function, folder: &Path, calls: u64, connections: u64) -> Duration {
    let mut children: Vec<(Child, UnixStream)> =
        (0..connections).map(|number| start(function, &folder.join(format!("bare-{number}.sock")))).collect();
    let begun = SystemClock.monotonic();
    std::thread::scope(|scope| {
        for (number, (_, stream)) in children.iter_mut().enumerate() {
            let share = calls / connections + u64::from((number as u64) < calls % connections);
            scope.spawn(move || exchange(stream, share));
        }
    });
    let took = SystemClock.monotonic() - begun;
    for (mut child, stream) in children {
        drop(stream);
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }
    took
}

fn start(function: &Function, socket: &Path) -> (Child, UnixStream) {
    let _ = std::fs::remove_file(socket);
    let child = Command::new(function.command[0])
        .args(&function.command[1..])
        .current_dir(&function.folder)
        .env("FN_LISTENER", format!("unix:{}", socket.display()))
        .env("FN_FORMAT", "http-stream")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return (child, stream),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn exchange(stream: &mut UnixStream, calls: u64) {
    let request = format!(
        "POST /call HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nfn-call-id: 01BVJ5T7CA07WGE00000000000\r\n\
         fn-deadline: 2030-01-01T00:00:00.000Z\r\nafn-attempt: 1\r\n\r\n{:x}\r\n{PAYLOAD}\r\n0\r\n\r\n",
        PAYLOAD.len()
    );
    let mut answer = [0; 4_096];
    for _ in 0..calls {
        stream.write_all(request.as_bytes()).expect("written");
        let mut have = 0;
        while !is_whole(&answer[..have]) {
            let read = stream.read(&mut answer[have..]).expect("read");
            assert_ne!(read, 0, "the function closed the connection");
            have += read;
        }
        assert!(answer[..have].ends_with(b"ok"));
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&answer[..head]).expect("a head of text").to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).expect("a length");
    let length = length.split("\r\n").next().and_then(|digits| digits.parse::<usize>().ok());
    answer.len() >= head + 4 + length.expect("a number")
}

#[derive(Default)]
struct Ended(Notify);

impl Listener for Ended {
    fn on(&self, event: Event) {
        if let Event::BatchFinished { failed, .. } = event {
            assert_eq!(failed, 0);
            self.0.notify_one();
        }
    }
}

async fn engine(function: &Function, place: &Path, calls: u64, connections: u64) -> Measured {
    std::fs::create_dir(place).expect("a folder");
    let ended = Arc::new(Ended::default());
    let World { deps, counts } = world::open_with(place, ended.clone());
    let app: AppName = "bench".parse().expect("a name");
    let archive = pack(&function.folder).expect("packed");
    let sha256 = Digest::of(&archive);
    let key = Key::Archive(app.clone(), sha256.clone());
    let source = Source::Archive { sha256, bytes: archive.len() as u64 };
    deps.store.put(&key, PutObject::create(archive)).await.expect("stored");
    world::publish(&deps, &app, source, Format::HttpStream, &function.command).await;
    let lines = place.join("lines.txt");
    std::fs::write(&lines, format!("{PAYLOAD}\n").repeat(calls as usize)).expect("written");
    let source = source::open(lines.to_str().expect("a path"), source::OpenOptions::default(), None)
        .await
        .expect("a source");
    let options = BatchOptions::default();
    let request = BatchRequest { app, route: "/f".parse().expect("a route"), source, options };
    let submitted = submit(&deps, request, &|_| {}).await.expect("submitted");
    assert_eq!(submitted.calls, calls);

    let launcher = ProcessLauncher::new(ProcessOptions {
        archives: deps.store.clone(),
        clock: deps.clock.clone(),
        work_dir: place.join("work"),
        run_dir: place.join("run"),
        scope: Scope::all(),
        users: None,
    });
    let pool = Arc::new(Pool::new(Arc::new(launcher), deps.clock.clone(), connections as usize));
    let mut config = Config::new("bench", connections as usize);
    config.counts = Some(counts.clone());
    let before = counts.snapshot().requests();
    let cpu = cpu_seconds();
    let begun = deps.clock.monotonic();
    let (stop, wanted) = watch::channel(Phase::Run);
    let worker = Worker::new(deps.clone(), pool.clone(), config);
    let mut working = tokio::task::JoinSet::new();
    working.spawn(worker.run(wanted));
    let mut held = Vec::new();
    let held_every_second = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            held.push(world::held_mib());
        }
    };
    tokio::select! {
        biased;
        () = ended.0.notified() => {}
        () = held_every_second => {}
    }
    let seconds = (deps.clock.monotonic() - begun).as_secs_f64();
    stop.send_replace(Phase::HandBack);
    working.join_next().await.expect("a worker").expect("no panic").expect("worked");
    pool.close().await;
    let requests = counts.snapshot().requests() - before;
    let mark = |share: usize| held.get(held.len() * share / 10).copied().unwrap_or_default();
    println!(
        "  memory at a tenth, a half and the end of the time: {}, {}, {} MiB; {requests} requests: {:.5} a call",
        mark(1),
        mark(5),
        world::held_mib(),
        requests as f64 / calls as f64
    );
    Measured { seconds, cpu_seconds: cpu_seconds() - cpu }
}
