//! Calls from `init` to `get result`, with functions that need nothing but `sh`.

use rustix::process::Signal;
use snapbox::assert_data_eq;
use snapbox::str;

use super::world::World;

#[track_caller]
fn id_of(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    answer["call_id"].as_str().unwrap().to_owned()
}

#[test]
fn the_tutorial_without_go_and_without_docker() {
    let world = World::new();
    assert_data_eq!(
        world.afn("init --runtime shell asyncfn").ok(),
        str![[r#"
Creating function at: asyncfn
Runtime: shell
Function boilerplate generated: func.sh
func.yaml created.

"#]]
    );
    let func_yaml = world.read("asyncfn/func.yaml");
    world.write("asyncfn/func.yaml", format!("{func_yaml}type: async\n"));

    let mut server = world.spawn("start --port 0");
    server.until("listens on http://127.0.0.1:");
    let deployed = world.run_in("asyncfn", &["deploy", "--local", "--app", "asyncapp"], b"");
    assert_data_eq!(
        deployed.ok(),
        str![[r#"
asyncapp /asyncfn deployed, version 0.0.2-[..]

"#]]
    );
    let answer = world.afn("call asyncapp /asyncfn").ok();
    assert_data_eq!(
        &answer,
        str![[r#"
{"call_id":"[..]"}

"#]]
    );
    let id = id_of(&answer);
    server.until("success in");

    assert_data_eq!(
        world.afn(&format!("get call asyncapp {id}")).ok(),
        str![[r#"
ID: [..]
App: asyncapp
Route: /asyncfn
Created At: [..]
Started At: [..]
Completed At: [..]
Status: success


"#]]
    );
    assert_data_eq!(
        world.afn(&format!("get result asyncapp {id}")).ok(),
        str![[r#"
Hello World

"#]]
    );
    assert_data_eq!(
        world.afn("get logs asyncapp last").ok(),
        str![[r#"
greeting World

"#]]
    );
    let listed = world.afn("list calls asyncapp");
    assert_data_eq!(
        &listed.stdout,
        str![[r#"
ID: [..]
App: asyncapp
Route: /asyncfn
Created At: [..]
Started At: [..]
Completed At: [..]
Status: success


"#]]
    );
    assert_data_eq!(
        &listed.stderr,
        str![[r#"
1 call shown, 1 read

"#]]
    );

    server.signal(Signal::TERM);
    let ended = server.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:#?}");
    assert!(ended.stderr.contains("1 message finished"), "{ended:#?}");
}

#[test]
fn a_sync_function_answers_with_its_response() {
    let world = World::new();
    world.deploy("upper", "app", "", "#!/bin/sh\ntr a-z A-Z\n");
    let mut worker = world.spawn("worker -j 1");
    worker.until("runs 1 call");
    assert_eq!(world.run_in("", &["call", "app", "/upper"], b"from stdin").ok(), "FROM STDIN");
    assert_eq!(world.args(&["call", "app", "upper", "--data", "from a flag"]).ok(), "FROM A FLAG");
    world.write("payload", "from a file");
    assert_eq!(world.afn("invoke app upper --file payload").ok(), "FROM A FILE");
    let shown = world.args(&["call", "app", "upper", "--data", "x", "--display-call-id"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "X"));
    assert_data_eq!(
        shown.stderr,
        str![[r#"
Call ID: 0[..]

"#]]
    );
    let json = world.args(&["call", "app", "upper", "--data", "x", "-o", "json"]).json();
    assert_eq!((&json["text"], &json["bytes"]), (&"X".into(), &1.into()));
}

#[test]
fn a_failed_call_is_told_by_whoever_waits_and_by_nobody_else() {
    let world = World::new();
    world.deploy("bad", "app", "type: async\n", "#!/bin/sh\necho what happened >&2\nexit 3\n");
    let id = id_of(&world.afn("call app /bad").ok());
    world.drain();
    // Reading it is done well.
    let block = world.afn(&format!("get call app {id}")).ok();
    assert_data_eq!(
        block,
        str![[r#"
ID: [..]
App: app
Route: /bad
Created At: [..]
Started At: [..]
Completed At: [..]
Status: error

Error reason: exit code 3: what happened


"#]]
    );
    assert_data_eq!(
        world.afn(&format!("status {id}")).ok(),
        str![[r#"
ID:           [..]
App:          app
Function:     bad (/bad, version 0.0.2-[..])
Status:       error
Why:          exit code 3: what happened
Attempts:     1
Worker:       [..]
Created At:   [..]
Started At:   [..]
Completed At: [..]
Ran For:      [..]
Payload:      0 B
Log:          14 B, text/plain; charset=utf-8

"#]]
    );
    assert_eq!(world.afn("get logs app last").ok(), "what happened\n");
    assert_data_eq!(
        world.afn(&format!("get result app {id}")).failed(3),
        str![[r#"
error: call `[..]` has no result, it ended in error: exit code 3: what happened
hint: `afn get logs app [..]` shows what it printed

"#]]
    );
    // Waiting for it is not.
    let waited = world.afn(&format!("wait {id}"));
    assert_eq!(waited.code, 1, "{waited:#?}");
    assert!(waited.stdout.contains("Error reason: exit code 3"), "{waited:#?}");

    let mut worker = world.spawn("worker");
    worker.until("at once");
    assert_data_eq!(
        world.afn("call app /bad --wait").failed(1),
        str![[r#"
error: call [..] ended in error: exit code 3: what happened
hint: it wrote 14 B: `afn get logs app [..]`

"#]]
    );
}

#[test]
fn what_nobody_works_on_is_not_met_with_silence() {
    let world = World::new();
    world.deploy("later", "app", "type: async\n", "#!/bin/sh\n");
    let id = id_of(&world.afn("call app /later").ok());
    let got = world.afn(&format!("get call app {id}"));
    assert_eq!(got.code, 0);
    assert_data_eq!(
        got.stdout,
        str![[r#"
ID: [..]
App: app
Route: /later
Created At: [..]
Started At: -
Completed At: -
Status: queued


"#]]
    );
    assert_data_eq!(
        got.stderr,
        str![[r#"
Why: no worker seen: run `afn start` or `afn worker`

"#]]
    );
    let waited = world.afn(&format!("wait app {id} --timeout 4s"));
    assert_eq!((waited.code, waited.stdout.as_str()), (4, ""), "{waited:#?}");
    assert_data_eq!(
        waited.stderr,
        str![[r#"
hint: [..] is queued: no worker seen: run `afn start` or `afn worker`
error: call `[..]` has no outcome after 4s, it is queued
hint: it goes on all the same: `afn wait app [..]` waits again

"#]]
    );
    let status = world.afn(&format!("status app {id} -o json")).json();
    assert_eq!(status["status"], "queued");
    assert!(status["why"].as_str().unwrap().contains("no worker seen"), "{status}");
}

#[test]
fn a_delayed_call_says_until_when() {
    let world = World::new();
    world.deploy("later", "app", "type: async\n", "#!/bin/sh\n");
    let id = id_of(&world.afn("call app /later --delay 10m").ok());
    let status = world.afn(&format!("status {id}")).ok();
    assert_data_eq!(
        status,
        str![[r#"
ID:           [..]
App:          app
Function:     later (/later, version 0.0.2-[..])
Status:       delayed
Why:          delayed until [..]
Created At:   [..]
Not Before:   [..]
Payload:      0 B

"#]]
    );
    assert_data_eq!(
        world.afn("call app /later --delay 16m").failed(2),
        str![[r#"
error: the delay is 16m, the most is 15m

"#]]
    );
}

#[test]
fn a_key_makes_two_submissions_one_call() {
    let world = World::new();
    world.deploy("once", "app", "type: async\n", "#!/bin/sh\ncat\n");
    let submit =
        |data: &str| world.args(&["submit", "app", "/once", "--data", data, "--idempotency-key", "k"]);
    let first = submit("a").ok();
    assert_eq!(submit("a").ok(), first);
    let stderr = submit("b").failed(2);
    assert!(stderr.contains("idempotency key"), "{stderr}");
    world.drain();
    let calls = world.afn("list calls app -o json").json();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 1, "{calls}");
}

#[test]
fn a_queued_call_is_cancelled_and_stays_so() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    let id = id_of(&world.afn("call app /f").ok());
    assert_eq!(world.afn(&format!("cancel {id}")).ok(), format!("{id} cancelled\n"));
    assert_eq!(world.afn(&format!("cancel app {id}")).code, 0, "cancelling twice is one wish");
    world.drain();
    let call = world.afn(&format!("get call app {id} -o json")).json();
    assert_eq!(call["status"], "cancelled");
    assert!(call["reason"].as_str().unwrap().starts_with("cancelled by"), "{call}");
    let waited = world.afn(&format!("wait {id}"));
    assert_eq!(waited.code, 6, "{waited:#?}");

    let done = id_of(&world.afn("call app /f").ok());
    world.drain();
    let stderr = world.afn(&format!("cancel {done}")).failed(2);
    assert!(stderr.contains("success"), "{stderr}");
}

#[test]
fn ctrl_c_ends_a_wait_and_not_the_call() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    let id = id_of(&world.afn("call app /f").ok());
    let mut waiting = world.spawn(&format!("wait app {id}"));
    waiting.until("no worker seen");
    waiting.signal(Signal::INT);
    let ended = waiting.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (130, ""), "{ended:#?}");
    assert!(ended.stderr.contains(&format!("`afn cancel app {id}` ends it")), "{ended:#?}");
    assert_eq!(world.afn(&format!("status {id} -o json")).json()["status"], "queued");
}

#[test]
fn bytes_go_through_untouched() {
    let world = World::new();
    world.deploy("echo", "app", "", "#!/bin/sh\ncat\n");
    let mut worker = world.spawn("worker -j 1");
    worker.until("at once");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    world.write("binary", &bytes);
    let output =
        world.command(&world.work()).args(["call", "app", "/echo", "--file", "binary"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    let json = world.afn("get result app last -o json").json();
    assert_eq!(json["bytes"], 100_000);
    assert!(json["base64"].as_str().unwrap().starts_with("AAECAwQF"));

    world.write("large", vec![b'x'; 6 * 1024 * 1024 + 1]);
    assert_data_eq!(
        world.afn("call app /echo --file large").failed(2),
        str![[r#"
error: the payload from large has more than 6.0 MiB
hint: put it into an object of your own and send its key

"#]]
    );
    assert_data_eq!(
        world.afn("call app /echo --file nowhere").failed(3),
        str![[r#"
error: read nowhere: No such file or directory (os error 2)

"#]]
    );
}

#[test]
fn lists_are_filtered_and_go_on() {
    let world = World::new();
    world.deploy("good", "app", "type: async\n", "#!/bin/sh\n");
    world.deploy("bad", "app", "type: async\n", "#!/bin/sh\nexit 1\n");
    for route in ["/good", "/bad", "/good"] {
        world.afn(&format!("call app {route}")).ok();
    }
    world.drain();
    let ids = |line: &str| -> Vec<String> {
        let listed = world.afn(&format!("{line} -o json")).json();
        listed["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|call| call["call_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = ids("list calls app");
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|newer, older| newer > older), "newest first: {all:?}");
    assert_eq!(ids("list calls app --status error"), all[1..2]);
    assert_eq!(ids("list calls app --path /good"), [all[0].clone(), all[2].clone()]);
    assert_eq!(ids("ls cl app -n 1"), all[..1]);

    let first = world.afn("list calls app -n 1");
    assert!(first.stderr.contains(&format!("--cursor {}", all[0])), "{first:#?}");
    assert_eq!(ids(&format!("list calls app --cursor {}", all[0])), all[1..]);
    assert_eq!(ids("list calls app --from-time 2099-01-01T00:00:00Z"), [""; 0]);
    assert_eq!(ids("list calls app --status error --status success"), all);
    assert_eq!(ids("list calls app --from-time 1h --to-time 2099-01-01"), all);
    assert_eq!(ids("list calls app --to-time 1h"), [""; 0]);
    assert_eq!(world.afn("list calls app --status nonsense").code, 2);
    assert!(world.afn("list calls nope").failed(3).starts_with("error: app `nope` not found\n"));
    assert!(world.afn("list calls app --path /nope").failed(3).contains("/nope"));
    assert_eq!(world.afn("list calls app --from-time yesterday").code, 2);
}

#[test]
fn a_function_is_run_without_anything_being_deployed() {
    let world = World::new();
    world.write("hello/func.yaml", "name: hello\nversion: 0.0.1\nruntime: shell\n");
    world.write("hello/func.sh", "#!/bin/sh\necho working >&2\nprintf 'hello %s' \"$(cat)\"\n");
    let ran = world.args(&["run", "hello", "--data", "you"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello you"), "{ran:#?}");
    assert!(ran.stderr.contains("working"), "{ran:#?}");
    assert_eq!(world.read("hello/func.yaml"), "name: hello\nversion: 0.0.1\nruntime: shell\n");
    assert_eq!(world.afn("list apps").ok(), "");

    world.write("hello/func.sh", "#!/bin/sh\nexit 7\n");
    let stderr = world.afn("run hello").failed(1);
    assert!(stderr.contains("exit code 7"), "{stderr}");
}

#[test]
fn a_failing_init_leaves_what_is_there() {
    let world = World::new();
    world.afn("init --runtime shell asyncfn").ok();
    let before = world.read("asyncfn/func.yaml");
    let stderr = world.afn("init --runtime shell asyncfn").failed(2);
    assert!(stderr.contains("--force"), "{stderr}");
    assert_eq!(world.read("asyncfn/func.yaml"), before);
    let stderr = world.afn("init --runtime cobol other").failed(2);
    assert!(stderr.contains("cobol"), "{stderr}");
}

#[test]
fn json_answers_keep_their_keys() {
    let world = World::new();
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    world.write("f/func.yaml", "name: f\nversion: 0.0.1\nruntime: shell\ntype: async\n");
    world.write("f/func.sh", "echo hello\n");
    let deployed = world.run_in("f", &["deploy", "--local", "--app", "app", "-o", "json"], b"").json();
    let function = [
        "app",
        "name",
        "route",
        "type",
        "version",
        "config",
        "annotations",
        "created_at",
        "updated_at",
        "label",
        "source",
        "os",
        "arch",
        "runtime",
        "format",
        "command",
        "content_type",
        "limits",
        "deployed_at",
    ];
    assert_eq!(keys(&deployed["deployed"][0]), function);
    assert_eq!(keys(&world.afn("inspect function app f").json()), function);
    let submitted = world.afn("submit app /f -o json").json();
    assert_eq!(keys(&submitted), ["call_id", "repeated"]);
    assert_eq!(keys(&world.afn("call app /f -o json").json()), ["call_id"]);
    world.drain();
    let call = [
        "call_id",
        "app",
        "function",
        "route",
        "version",
        "status",
        "reason",
        "attempts",
        "created_at",
        "started_at",
        "completed_at",
        "run_ms",
        "not_before",
        "payload_bytes",
        "content_type",
        "result",
        "log",
        "attempt",
        "worker",
    ];
    let read = [&call[..], &["failed_attempts"]].concat();
    assert_eq!(keys(&world.afn("get call app last -o json").json()), read);
    assert_eq!(keys(&world.afn("status app last -o json").json()), [&read[..], &["why"]].concat());
    assert_eq!(keys(&world.afn("wait app last -o json").json()), call);
    let listed = world.afn("list calls app -o json").json();
    assert_eq!(keys(&listed), ["calls", "scanned", "cursor", "unreadable"]);
    assert_eq!(keys(&listed["calls"][0]), call);
    assert_eq!(
        keys(&world.afn("get result app last -o json").json()),
        ["call_id", "app", "content_type", "bytes", "text"]
    );
    assert_eq!(keys(&world.afn("get logs app last -o json").json()), ["call_id", "log"]);
    assert_eq!(keys(&world.afn("list functions app -o json").json()["functions"][0]), function[..9],);
    assert_eq!(keys(&world.afn("gc -o json").json()), ["dry_run", "deleted", "resent"]);
}
