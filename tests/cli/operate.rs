//! Workers, server, dead letters, garbage, doctor.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;
use snapbox::assert_data_eq;
use snapbox::str;

use super::world::World;

#[test]
fn a_draining_worker_ends_when_the_queues_are_dry() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    for _ in 0..3 {
        world.afn("call app /f").ok();
    }
    let stderr = world.drain();
    assert!(stderr.contains("3 messages finished, 0 returned to the queue"), "{stderr}");
    let calls = world.afn("list calls app --status success -o json").json();
    assert_eq!(calls["calls"].as_array().unwrap().len(), 3);
}

#[test]
fn sigterm_hands_back_what_is_not_done_in_time() {
    let world = World::new();
    world.deploy("slow", "app", "type: async\ntimeout: 60\n", "#!/bin/sh\nsleep 30\n");
    world.afn("call app /slow").ok();
    let mut worker = world.spawn("worker -j 1 --grace 100ms");
    worker.until("started: app/slow");
    worker.signal(Signal::TERM);
    let ended = worker.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:#?}");
    assert!(ended.stderr.contains("0 messages finished, 1 returned to the queue"), "{ended:#?}");
    // Another worker gets it at once.
    let mut other = world.spawn("worker -j 1");
    other.until("started: app/slow");
}

#[test]
fn a_second_signal_stops_now() {
    let world = World::new();
    world.deploy("slow", "app", "type: async\ntimeout: 60\n", "#!/bin/sh\nsleep 30\n");
    world.afn("call app /slow").ok();
    let mut worker = world.spawn("worker -j 1");
    worker.until("started: app/slow");
    worker.signal(Signal::INT);
    worker.until("a second signal stops now");
    worker.signal(Signal::INT);
    let ended = worker.end();
    assert_eq!(ended.code, 6, "{ended:#?}");
}

#[test]
fn the_server_answers_what_the_tutorial_asks() {
    let world = World::new();
    world.deploy("asyncfn", "asyncapp", "type: async\n", "#!/bin/sh\n");
    let mut server = world.spawn("start --port 0 --no-token");
    let line = server.until("listens on http://");
    server.until("warning: --no-token: every user of this machine can call functions and read results");
    let address = line.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let ask = |head: &str| -> String {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let accepted = ask("POST /r/asyncapp/asyncfn");
    assert!(accepted.starts_with("HTTP/1.1 202"), "{accepted}");
    server.until("success in");
    let calls = ask("GET /v1/apps/asyncapp/calls");
    assert!(calls.contains("\"status\":\"success\""), "{calls}");
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, 0);
}

#[test]
fn a_server_makes_no_token_that_nobody_learns() {
    let world = World::new();
    let stderr = world.afn("--quiet start --port 0").failed(2);
    assert!(stderr.contains("`--quiet` would hide the token"), "{stderr}");
    let mut server = world.spawn("--quiet start --port 0 --no-token");
    server.until("warning: --no-token: every user of this machine");
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, 0);
}

#[test]
fn a_taken_port_is_told_with_the_way_out() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let stderr = world.afn(&format!("start --port {port}")).failed(2);
    assert!(stderr.contains(&format!("127.0.0.1:{port}")) && stderr.contains("--port"), "{stderr}");
}

#[test]
fn garbage_is_counted_and_nothing_young_is_deleted() {
    let world = World::new();
    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    world.afn("call app /f").ok();
    world.drain();
    assert_data_eq!(
        world.afn("gc --dry-run").ok(),
        str![[r#"
0 calls, 0 batches and 0 idempotency keys would be deleted: 0 objects, 0 B

"#]]
    );
    let report = world.afn("gc -o json").json();
    assert_eq!((&report["deleted"]["calls"], &report["resent"]), (&0.into(), &0.into()));
    assert_eq!(world.afn("get call app last").code, 0);
}

#[test]
fn an_empty_dead_letter_queue_is_reported_as_empty() {
    let world = World::new();
    let ran = world.afn("dlq list");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "No dead letters\n"));
    assert_eq!(world.afn("dlq list -o json").json(), serde_json::json!({ "letters": [] }));
    assert_data_eq!(
        world.afn("dlq show nothing").failed(3),
        str![[r#"
error: no dead letter `nothing`
hint: `afn dlq list` shows those there are

"#]]
    );
    assert_data_eq!(
        world.afn("dlq redrive nothing").failed(3),
        str![[r#"
error: no dead letter `nothing`
hint: `afn dlq list` shows those there are

"#]]
    );
    assert_eq!(world.afn("dlq redrive").code, 2);
    assert_eq!(world.afn("dlq redrive --all").ok(), "0 dead letters put back\n");
    assert_eq!(world.afn("dlq purge --all").ok(), "0 dead letters deleted\n");
}

#[test]
fn unreadable_messages_are_shown_and_stay_until_they_are_deleted() {
    let world = World::new();
    world.afn("list apps").ok();
    world.send("this is no message");
    let stderr = world.drain();
    assert!(stderr.contains("went to the dead letters"), "{stderr}");
    let letters = world.afn("dlq list -o json").json();
    let letter = &letters["letters"][0];
    assert_eq!((&letter["queue"], &letter["body"]), (&"calls".into(), &"this is no message".into()));
    let id = letter["id"].as_str().unwrap();
    let listed = world.afn("dlq list").ok();
    assert!(listed.starts_with("ID") && listed.contains(id) && listed.contains("not a message"), "{listed}");
    assert_eq!(world.afn(&format!("dlq show {id}")).json()["id"], id);
    let redriven = world.afn("dlq redrive --all");
    assert_eq!((redriven.code, redriven.stdout.as_str()), (2, "0 dead letters put back\n"), "{redriven:#?}");
    assert!(redriven.stderr.contains("`afn dlq purge` deletes them"), "{redriven:#?}");
    assert_eq!(world.afn(&format!("dlq purge {id}")).ok(), "1 dead letter deleted\n");
    assert_eq!(world.afn("dlq list").ok(), "");
}

#[test]
fn the_doctor_says_what_works_and_what_to_do() {
    let world = World::new();
    let ran = world.afn("doctor");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let report = world.afn("doctor -o json").json();
    let state = |name: &str| -> String {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name}: {report}"))["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("store"), "ok");
    assert_eq!(state("clock"), "ok");
    assert_eq!(state("queue calls"), "ok");
    assert_eq!(state("docker"), "warning");
    assert_eq!(state("toolchains"), "ok");

    world.deploy("f", "app", "type: async\n", "#!/bin/sh\n");
    world.afn("call app /f").ok();
    let said = world.afn("doctor").ok();
    let mut lines = said.lines().skip_while(|line| !line.contains("queue calls"));
    let queue = lines.next().unwrap_or_default();
    assert!(queue.contains("single calls: 1 waiting") && queue.starts_with("warning"), "{said}");
    assert!(lines.next().is_some_and(|advice| advice.contains("`afn worker`")), "{said}");
}

/// Needs no LocalStack: there is none.
#[cfg(feature = "aws")]
#[test]
fn what_cannot_be_reached_is_said_at_once_and_once() {
    let world = World::new();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let afn = |line: &str| {
        let mut command = world.command(&world.work());
        command.env("AFN_CONTEXT", "localstack").env("AFN_ENDPOINT", &endpoint);
        command.args(line.split_whitespace()).output().unwrap()
    };
    let ran = afn("list apps");
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{stderr}");
    assert!(stderr.starts_with(&format!("error: {endpoint} cannot be reached: ")), "{stderr}");
    assert!(stderr.contains("\nhint: `sh localstack/up`"), "{stderr}");

    let ran = afn("doctor");
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{stdout}");
    for told in ["cannot be reached", "sh localstack/up"] {
        assert_eq!(stdout.matches(told).count(), 1, "{stdout}");
    }
}
