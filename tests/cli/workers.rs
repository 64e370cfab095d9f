//! Worker processes on one file that are killed, told to end, and share work; functions are child processes.

use std::time::Duration;

use afn::seam::Clock as _;
use afn::seam::clock::SystemClock;
use rustix::process::Signal;
use serde_json::Value;

use super::world::{Running, World};
use crate::support::PATIENCE;

/// What is handed on is there at once. The lease of a lost worker lapses after a minute if nothing else is said.
const BEFORE_THE_DEFAULT_LEASE_LAPSES: Duration = Duration::from_secs(45);
/// Says who it is, and sleeps until it is told in its config that it may answer: whoever runs it next does not.
const SLOW_AT_FIRST: &str = "#!/bin/sh
echo $$ > \"$PIDS/$FN_CALL_ID\"
echo sleepy >&2
[ $READY ] || sleep 100
echo attempt $AFN_ATTEMPT
";

fn now() -> Duration {
    SystemClock.monotonic()
}

impl World {
    fn deploy_slow(&self) {
        let pids = self.work().display().to_string();
        let more = format!("type: async\ntimeout: 200\nconfig:\n  PIDS: {pids}\n");
        self.deploy("slow", "app", &more, SLOW_AT_FIRST);
    }

    /// Whoever runs it from now on gets an answer.
    fn answer_from_now_on(&self) {
        self.afn("config function app /slow READY 1").ok();
    }

    fn submit(&self, function: &str) -> String {
        self.afn(&format!("submit app /{function}")).ok().trim().to_owned()
    }

    fn call(&self, id: &str) -> Value {
        self.afn(&format!("get call app {id} -o json")).json()
    }

    fn until(&self, id: &str, state: &str) -> Value {
        let begun = now();
        loop {
            let call = self.call(id);
            if call["status"] == state {
                return call;
            }
            assert!((now() - begun) < PATIENCE, "not {state}: {call}");
        }
    }

    fn receiving(&self, options: &str) -> Running {
        let mut worker = self.spawn(&format!("worker {options}"));
        worker.until("at once");
        worker
    }

    /// Whether the function's process of this call lives.
    fn lives(&self, id: &str) -> bool {
        let pid = self.read(id);
        std::path::Path::new("/proc").join(pid.trim()).exists()
    }
}

#[test]
fn a_call_of_a_killed_worker_finishes_elsewhere_and_leaves_no_process() {
    let world = World::new();
    world.deploy_slow();
    let id = world.submit("slow");
    let mut first = world.receiving("-j 1 --visibility 6s");
    first.until("started: app/slow");
    let mut second = world.receiving("-j 1 --visibility 6s");
    world.until(&id, "running");
    assert!(world.lives(&id));
    world.answer_from_now_on();
    first.signal(Signal::KILL);
    let killed = now();
    first.end();
    second.until("came back from a lost worker: delivery 2");
    assert!((now() - killed) < BEFORE_THE_DEFAULT_LEASE_LAPSES, "{:?}", (now() - killed));
    let call = world.until(&id, "success");
    assert_eq!(
        (&call["attempts"], world.afn(&format!("get result app {id}")).ok().as_str()),
        (&1.into(), "attempt 1\n")
    );
    second.signal(Signal::TERM);
    let stderr = second.end().stderr;
    assert!(
        stderr.contains("1 message finished, 0 returned to the queue")
            && !stderr.contains("runs in quarantine"),
        "{stderr}"
    );
    assert!(!world.lives(&id));
}

#[test]
fn nothing_a_killed_worker_ran_outlives_it() {
    let world = World::new();
    world.deploy_slow();
    let id = world.submit("slow");
    let mut worker = world.receiving("-j 1");
    worker.until("started: app/slow");
    let begun = now();
    while !world.work().join(&id).exists() || world.read(&id).is_empty() {
        assert!((now() - begun) < PATIENCE, "the function does not begin");
    }
    assert!(world.lives(&id));
    worker.signal(Signal::KILL);
    worker.end();
    let killed = now();
    while world.lives(&id) {
        assert!((now() - killed) < PATIENCE, "its function lives on");
    }
}

#[test]
fn a_draining_worker_hands_over_to_one_that_waits_and_not_by_its_lease() {
    let world = World::new();
    world.deploy_slow();
    let id = world.submit("slow");
    let mut first = world.receiving("-j 1 --grace 300ms");
    first.until("started: app/slow");
    let mut second = world.receiving("-j 1");
    world.answer_from_now_on();
    first.signal(Signal::TERM);
    let ended = first.end();
    let since = now();
    assert!(ended.stderr.contains("0 messages finished, 1 returned to the queue"), "{ended:#?}");
    second.until("started: app/slow");
    assert!((now() - since) < BEFORE_THE_DEFAULT_LEASE_LAPSES, "{:?}", (now() - since));
    assert_eq!(world.until(&id, "success")["attempts"], 1, "what was cut off is not counted");
}

#[test]
fn what_a_draining_worker_runs_may_finish() {
    let world = World::new();
    let go = world.path("go");
    let script = format!("#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.05; done\necho done\n", go.display());
    world.deploy("short", "app", "type: async\n", &script);
    let (id, waiting) = (world.submit("short"), world.submit("short"));
    let mut worker = world.receiving("-j 1");
    worker.until("started: app/short");
    worker.signal(Signal::TERM);
    worker.until("drains");
    world.write("go", "");
    let ended = worker.end();
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains("stopped: 1 message finished"), "{ended:#?}");
    let states: Vec<Value> = [&id, &waiting].map(|id| world.call(id)["status"].clone()).to_vec();
    assert!(states.contains(&"success".into()) && states.contains(&"queued".into()), "{states:?}");
}

#[test]
fn a_running_call_is_cancelled_and_its_process_is_gone() {
    let world = World::new();
    world.deploy_slow();
    let id = world.submit("slow");
    let mut worker = world.receiving("-j 1");
    world.until(&id, "running");
    assert!(world.lives(&id));
    let since = world.call(&id)["started_at"].clone();
    let told = world.afn(&format!("cancel {id}")).ok();
    assert!(told.starts_with(&format!("{id} cancelled while running: ")), "{told}");
    worker.until(&format!("{id} cancelled while running, stopped after "));
    // The only slot is free again long before the sleep is over.
    world.deploy("next", "app", "type: async\n", "#!/bin/sh\n");
    let next = world.submit("next");
    worker.until("started: app/next");
    world.until(&next, "success");
    assert!(!world.lives(&id));
    // What its worker knew of it is not lost.
    let call = world.call(&id);
    assert_eq!(
        (&call["status"], &call["attempts"], &call["started_at"]),
        (&"cancelled".into(), &1.into(), &since)
    );
    assert!(call["worker"].is_string() && call["run_ms"].as_u64() >= Some(2_000), "{call}");
    assert_eq!(world.afn(&format!("get logs app {id}")).ok(), "sleepy\n");
    assert_eq!(world.afn(&format!("cancel {id}")).ok(), format!("{id} was cancelled already\n"));
}

#[test]
fn a_function_that_does_not_start_leaves_what_it_said() {
    let world = World::new();
    let more = "type: async\nformat: http-stream\nretry_backoff: 10ms\n";
    world.deploy(
        "broken",
        "app",
        more,
        "#!/bin/sh\necho Traceback >&2\necho no module named $AFN_X >&2\nexit 7\n",
    );
    world.afn("config function app /broken AFN_X numpy").ok();
    let id = world.submit("broken");
    world.drain();
    let call = world.call(&id);
    assert_eq!((&call["status"], &call["attempts"]), (&"error".into(), &3.into()), "{call}");
    let reason = "ended before it listened: exit code 7: no module named numpy";
    assert_eq!(call["reason"], reason);
    for attempt in ["", "--attempt 1", "--attempt 2", "--attempt 3"] {
        let log = world.afn(&format!("get logs app {id} {attempt}")).ok();
        assert_eq!(log, "Traceback\nno module named numpy\n", "{attempt}");
    }
    let mut worker = world.receiving("-j 1");
    let waited = world.afn("call app /broken --wait").failed(1);
    assert!(waited.contains(reason) && waited.contains("it wrote 32 B: `afn get logs app "), "{waited}");
    worker.signal(Signal::TERM);
    worker.until("stopped");
}

#[test]
fn attempts_that_failed_can_be_read_and_the_next_is_announced() {
    let world = World::new();
    let script =
        "#!/bin/sh\necho this is attempt $AFN_ATTEMPT >&2\n[ $AFN_ATTEMPT = 3 ] || exit $AFN_ATTEMPT\n";
    world.deploy("again", "app", "type: async\nmax_attempts: 3\nretry_backoff: 8s\n", script);
    let id = world.submit("again");
    let mut worker = world.receiving("-j 1");
    worker.until("attempt 1 failed");
    let why = |id: &str| {
        world.afn(&format!("status {id} -o json")).json()["why"].as_str().unwrap_or_default().to_owned()
    };
    // Kept before the wait begins, told from the moment that it is.
    let begun = now();
    while !why(&id).contains("tried again at") {
        assert!((now() - begun) < PATIENCE, "{}", why(&id));
    }
    assert!(
        why(&id).starts_with("failed once, exit code 1: this is attempt 1; tried again at "),
        "{}",
        why(&id)
    );
    worker.until("attempt 2 failed");
    let call = world.until(&id, "success");
    let failed = call["failed_attempts"].as_array().unwrap();
    let told: Vec<_> = failed.iter().map(|one| (one["number"].as_u64(), one["reason"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some(1), Some("exit code 1: this is attempt 1")),
            (Some(2), Some("exit code 2: this is attempt 2"))
        ]
    );
    for number in 1..=3 {
        let log = world.afn(&format!("get logs app {id} --attempt {number}")).ok();
        assert_eq!(log, format!("this is attempt {number}\n"));
    }
    let name = failed[0]["attempt"].as_str().unwrap();
    assert_eq!(world.afn(&format!("get logs app {id} --attempt {name}")).ok(), "this is attempt 1\n");
    let missing = world.afn(&format!("get logs app {id} --attempt 4")).failed(3);
    assert!(missing.contains("there are logs of attempt 1, 2, 3"), "{missing}");
    let status = world.afn(&format!("status {id}")).ok();
    assert!(status.contains("Attempt 2:    error: exit code 2: this is attempt 2, log 18 B\n"), "{status}");
}

#[test]
fn a_delayed_call_begins_when_its_time_has_come() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    let id = world.afn("submit app /f --delay 8s").ok().trim().to_owned();
    assert_eq!(world.call(&id)["status"], "delayed");
    let stderr = world.drain();
    assert!(stderr.contains("1 message finished"), "a delayed call keeps the queue from being dry: {stderr}");
    let call = world.call(&id);
    assert_eq!(call["status"], "success");
    let time = |name: &str| call[name].as_str().unwrap().parse::<afn::model::Time>().unwrap();
    assert!(time("started_at").since_ms(time("created_at")) >= 8_000, "{call}");
}

#[test]
fn five_mebibytes_and_nothing_at_all_go_both_ways() {
    let world = World::new();
    world.deploy("echo", "app", "type: async\n", "#!/bin/sh\ncat\n");
    let large: Vec<u8> = (0..5 << 20).map(|n: u32| (n * 31 % 251) as u8).collect();
    let text = "ein Gruß · привет · 🦀".as_bytes().to_vec();
    let payloads = [Vec::new(), text, large];
    let ids: Vec<String> = payloads
        .iter()
        .map(|payload| {
            let ran = world.run_in("", &["submit", "app", "/echo"], payload);
            ran.ok().trim().to_owned()
        })
        .collect();
    world.drain();
    for (id, payload) in ids.iter().zip(&payloads) {
        let mut command = world.command(&world.work());
        let output = command.args(["get", "result", "app", id]).output().unwrap();
        assert!(
            output.status.success() && output.stdout == *payload,
            "{} bytes came back otherwise",
            payload.len()
        );
    }
}

#[test]
fn every_failure_says_why() {
    let world = World::new();
    let async_and = |more: &str| format!("type: async\n{more}");
    world.deploy("hasty", "app", &async_and("timeout: 5\n"), "#!/bin/sh\necho begun >&2\nsleep 100\n");
    world.deploy("crash", "app", &async_and(""), "#!/bin/sh\nkill -SEGV $$\n");
    world.deploy(
        "again",
        "app",
        &async_and("max_attempts: 3\nretry_backoff: 10ms\n"),
        "#!/bin/sh\n[ $AFN_ATTEMPT = 3 ]\n",
    );
    world.afn("create function app /image some/image --type async").ok();
    let ids = ["hasty", "crash", "again", "image"].map(|name| world.submit(name));
    let mut worker = world.receiving("-j 2");
    let [hasty, crash, again] = [0, 1, 2].map(|at| {
        assert!([1, 0].contains(&world.afn(&format!("wait {}", ids[at])).code));
        world.call(&ids[at])
    });
    assert_eq!((&hasty["status"], &hasty["reason"]), (&"timeout".into(), &"timed out after 5s".into()));
    assert_eq!(world.afn(&format!("get logs app {}", ids[0])).ok(), "begun\n");
    assert!(crash["reason"].as_str().unwrap().contains("signal 11"), "{crash}");
    assert_eq!((&again["status"], &again["attempts"]), (&"success".into(), &3.into()), "{again}");
    // Without Docker no image runs here; another worker may have it.
    worker.until("cannot run on this worker");
    let status = world.afn(&format!("status {} -o json", ids[3])).json();
    assert_eq!(status["status"], "queued");
    assert!(status["why"].as_str().unwrap().starts_with("no worker seen that can run it: "), "{status}");
}

#[test]
fn a_log_for_programs_is_an_object_a_line() {
    let world = World::new();
    world.deploy("quick", "app", "type: async\n", "#!/bin/sh\nexit 3\n");
    let id = world.submit("quick");
    let said = world.afn("worker --drain --log-format json").failed(0);
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    for line in &lines {
        assert!(
            line["time"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    let about: Vec<&Value> = lines.iter().filter(|line| line["call"] == id.as_str()).collect();
    let events: Vec<&str> = about.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["call_started", "call_finished"], "{said}");
    let worker =
        &lines.iter().find(|line| line["event"] == "worker_started").expect("a first word")["worker"];
    assert!(about.iter().all(|line| line["app"] == "app" && line["worker"] == *worker), "{said}");
    assert_eq!((&about[1]["status"], &about[1]["reason"]), (&"error".into(), &"exit code 3".into()));
}
