//! The HTTP API, byte for byte where Fn's clients depend on it.

use std::time::Duration;

use afn::executor::scripted::Act;
use afn::layout::Key;
use afn::limits;
use afn::model::{CallId, Kind, State};
use afn::seam::executor::Verdict;
use afn::seam::store::PutObject;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::world::World;
use crate::support::PATIENCE;

#[tokio::test]
async fn the_tutorials_calls_go_through() {
    let mut world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;

    let answer = world.http("POST", "/r/asyncapp/asyncfn", &[], b"hello").await;
    let call = answer.header("Fn_call_id").expect("the header that Fn's CLI looks for").to_owned();
    assert_eq!(
        answer.head,
        format!(
            "HTTP/1.1 202 Accepted\nContent-Type: application/json; charset=utf-8\nFn_call_id: {call}\n\
             X-Content-Type-Options: nosniff\n\
             Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; sandbox\n\
             Content-Length: 40\nConnection: close"
        )
    );
    assert_eq!(answer.text(), format!(r#"{{"call_id":"{call}"}}"#));

    // Before it has run, a call is there already.
    let path = format!("/v1/apps/asyncapp/calls/{call}");
    let answer = world.get(&path).await;
    let created_at = call.parse::<CallId>().expect("an id").time();
    assert_eq!(
        answer.text(),
        format!(r#"{{"message":"Successfully loaded call","call":{{"id":"{call}","status":"queued","#)
            + &format!(
                r#""path":"/asyncfn","app_id":"asyncapp","app_name":"asyncapp","created_at":"{created_at}","#
            )
            + r#""started_at":"0001-01-01T00:00:00.000Z","completed_at":"0001-01-01T00:00:00.000Z"}}"#
    );

    world.work(|work| Act {
        log: "on stderr\n".into(),
        ..Act::answer(work.payload.to_bytes().unwrap().to_vec())
    });
    let view = world.outcome_is(call.parse().expect("an id"), State::Success).await;
    let answer = world.get(&path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json(),
        json!({
            "message": "Successfully loaded call",
            "call": {
                "id": call,
                "status": "success",
                "path": "/asyncfn",
                "app_id": "asyncapp",
                "app_name": "asyncapp",
                "created_at": view.created_at,
                "started_at": view.started_at,
                "completed_at": view.completed_at,
            }
        })
    );

    let log = format!("{path}/log");
    let answer = world.http("GET", &log, &[("Accept", "text/plain")], b"").await;
    assert_eq!(
        (answer.text(), answer.header("Content-Type")),
        ("on stderr\n", Some("text/plain; charset=utf-8"))
    );
    let expected = format!(
        r#"{{"message":"Successfully loaded log","log":{{"call_id":"{call}","log":"on stderr\n"}}}}"#
    );
    assert_eq!(world.get(&log).await.text(), expected);
    assert_eq!(world.http("GET", &log, &[("Accept", "*/*")], b"").await.text(), expected);
    assert_eq!(world.http("GET", &log, &[("Accept", "image/png")], b"").await.status(), 406);
    world.stop().await;
}

#[tokio::test]
async fn a_sync_function_answers_its_caller() {
    let mut world = World::start().await;
    world.deploy("echo", Kind::Sync).await;
    world.work(|work| match &work.payload.to_bytes().unwrap()[..] {
        b"fail" => Act::error("exit code 3"),
        b"slow" => Act { ends: Ok(Verdict::Timeout), ..Act::answer("") },
        b"empty" => Act::answer(""),
        payload => {
            let method = &work.headers["Fn-Http-Method"];
            let url = &work.headers["Fn-Http-Request-Url"];
            let body = format!("{method} {url} {:?} {}", work.content_type, String::from_utf8_lossy(payload));
            let ends = Ok(Verdict::Success {
                content_type: Some("text/x-echo".to_owned()),
                body: body.into_bytes().into(),
            });
            Act { ends, ..Act::answer("") }
        }
    });

    let answer = world.http("PUT", "/r/asyncapp/echo?a=b", &[("Content-Type", "text/plain")], b"hello").await;
    let call: CallId = answer.header("Fn_call_id").expect("the call's id").parse().expect("an id");
    assert_eq!((answer.status(), answer.header("Content-Type")), (200, Some("text/x-echo")));
    let url = format!("http://{}/r/asyncapp/echo?a=b", world.address);
    assert_eq!(answer.text(), format!(r#"PUT {url} Some("text/plain") hello"#));
    world.outcome_is(call, State::Success).await;

    for (payload, status, message) in [("fail", 502, "exit code 3"), ("slow", 504, "Timed out")] {
        let answer = world.http("POST", "/r/asyncapp/echo", &[], payload.as_bytes()).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.text(), format!(r#"{{"error":{{"message":"{message}"}}}}"#));
        assert!(answer.header("Fn_call_id").is_some(), "{answer:?}");
    }
    let answer = world.http("POST", "/r/asyncapp/echo", &[], b"empty").await;
    assert_eq!((answer.status(), answer.text(), answer.header("Content-Length")), (200, "", Some("0")));
    world.stop().await;
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let mut world = World::start().await;
    world.deploy("big", Kind::Sync).await;
    let body: Vec<u8> = (0..limits::READ_PAGE_BYTES + 12_345).map(|n| (n % 253) as u8).collect();
    let answered = body.clone();
    world.work(move |_| Act::answer(answered.clone()));
    let answer = world.get("/r/asyncapp/big").await;
    assert_eq!(answer.header("Content-Length"), Some(body.len().to_string().as_str()));
    assert!(answer.body == body, "{} bytes of {}", answer.body.len(), body.len());
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_told_in_fns_words() {
    let world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;
    let call = CallId::single(world.deps.now(), 7);
    for (path, message) in [
        ("/r/nosuch/asyncfn".to_owned(), "App not found"),
        ("/r/asyncapp/nosuch".to_owned(), "Route not found"),
        ("/r/asyncapp".to_owned(), "Route not found"),
        ("/r/asyncapp/".to_owned(), "Route not found"),
        ("/r/asyncapp/a%20b".to_owned(), "Route not found"),
        ("/r/asyncapp/%ff".to_owned(), "Route not found"),
        ("/r/no%20such/asyncfn".to_owned(), "App not found"),
        (format!("/v1/apps/asyncapp/calls/{call}"), "Call not found"),
        ("/v1/apps/asyncapp/calls/nonsense".to_owned(), "Call not found"),
        (format!("/v1/apps/nosuch/calls/{call}"), "App not found"),
        (format!("/v1/apps/asyncapp/calls/{call}/log"), "Call log not found"),
        ("/v1/apps/nosuch/calls".to_owned(), "App not found"),
        ("/v1/nosuch".to_owned(), "Path not found"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.text(), format!(r#"{{"error":{{"message":"{message}"}}}}"#), "{path}");
    }
    let queued = world.submit("asyncfn", "").await.call;
    let answer = world.get(&format!("/v1/apps/asyncapp/calls/{queued}/log")).await;
    assert_eq!((answer.status(), answer.text()), (404, r#"{"error":{"message":"Call log not found"}}"#));
    let answer = world.http("POST", "/version", &[], b"").await;
    assert_eq!((answer.status(), answer.text()), (405, r#"{"error":{"message":"Method not allowed"}}"#));
    world.stop().await;
}

#[tokio::test]
async fn the_server_says_who_it_is() {
    let world = World::start().await;
    assert_eq!(world.get("/version").await.text(), r#"{"version":"0.1.0"}"#);
    assert_eq!(world.get("/").await.text(), r#"{"goto":"/version","hello":"world!"}"#);
    world.stop().await;
}

#[tokio::test]
async fn calls_are_listed_newest_first_with_cursor_and_filters() {
    let mut world = World::start().await;
    world.deploy("good", Kind::Async).await;
    world.deploy("bad", Kind::Async).await;
    assert_eq!(
        world.get("/v1/apps/asyncapp/calls").await.text(),
        r#"{"message":"Successfully listed calls","next_cursor":"","calls":[]}"#
    );
    world.work(|work| match work.function.name.as_str() {
        "bad" => Act::error("exit code 3"),
        _ => Act::answer(""),
    });
    let mut calls = Vec::new();
    for name in ["good", "bad", "good", "bad", "good"] {
        let call = world.submit(name, "").await.call;
        world.outcome(call).await;
        calls.insert(0, call.to_string());
        // Ids of one millisecond have no order in time.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listed = async |query: &str| {
        let answer = world.get(&format!("/v1/apps/asyncapp/calls{query}")).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let json = answer.json();
        let ids =
            json["calls"].as_array().expect("calls").iter().map(|call| call["id"].as_str().expect("an id"));
        (
            ids.map(str::to_owned).collect::<Vec<String>>(),
            json["next_cursor"].as_str().expect("text").to_owned(),
        )
    };
    assert_eq!(listed("").await, (calls.clone(), String::new()));
    assert_eq!(listed("?cursor=&path=&per_page=0").await.0, calls);
    let (page, cursor) = listed("?per_page=2").await;
    assert_eq!((&page[..], &cursor), (&calls[..2], &calls[1]));
    assert_eq!(listed(&format!("?cursor={cursor}")).await, (calls[2..].to_vec(), String::new()));
    let bad = vec![calls[1].clone(), calls[3].clone()];
    assert_eq!(listed("?path=/bad").await.0, bad);
    assert_eq!(listed("?path=%2Fbad&status=error").await.0, bad);
    assert_eq!(listed("?path=/bad&status=success").await.0, Vec::<String>::new());
    let now = world.deps.now().0 / 1_000;
    assert_eq!(listed(&format!("?from_time={}&to_time={}", now - 60, now + 60)).await.0, calls);
    assert_eq!(listed(&format!("?to_time={}", now - 60)).await.0, Vec::<String>::new());
    for query in ["?per_page=x", "?from_time=yesterday", "?cursor=x", "?status=x", "?path=%2Fa%3Fb"] {
        let answer = world.get(&format!("/v1/apps/asyncapp/calls{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
        assert!(answer.json()["error"]["message"].is_string(), "{answer:?}");
    }
    let answer = world.get(&format!("/v1/apps/asyncapp/calls/{}", bad[0])).await;
    assert_eq!(answer.json()["call"]["error"], "exit code 3");
    world.stop().await;
}

#[tokio::test]
async fn other_hosts_and_origins_are_refused_and_run_nothing() {
    let world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;
    let host = world.address.to_string();
    for headers in [
        &[("Host", "evil.example")][..],
        &[("Host", "evil.example:8080")],
        &[("Host", &host), ("Origin", "http://evil.example")],
        &[("Host", &host), ("Origin", "null")],
        &[("Host", &host), ("Sec-Fetch-Site", "cross-site")],
    ] {
        let answer = world.http("POST", "/r/asyncapp/asyncfn", headers, b"hello").await;
        assert_eq!(answer.status(), 403, "{headers:?}");
        let message = answer.json()["error"]["message"].as_str().expect("a reason").to_owned();
        assert!(message.contains("refused") || message.contains("evil.example"), "{message}");
    }
    let answer = world
        .raw("GET http://evil.example/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    let own = format!("http://{host}");
    let answer = world.http("GET", "/version", &[("Host", &host), ("Origin", &own)], b"").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(world.http("GET", "/version", &[("Host", "localhost:8080")], b"").await.status(), 200);
    assert!(world.deps.queues.calls.live.depth().await.expect("a depth").is_dry());
    world.stop().await;
}

#[tokio::test]
async fn a_payload_up_to_the_limit_is_taken_and_one_past_it_is_not() {
    let mut world = World::start().await;
    world.deploy("size", Kind::Sync).await;
    world.work(|work| Act::answer(work.payload.len().to_string().into_bytes()));
    let limit = limits::PAYLOAD_BYTES_MAX as usize;
    let answer = world.http("POST", "/r/asyncapp/size", &[], &vec![7; limit]).await;
    assert_eq!((answer.status(), answer.text()), (200, limit.to_string().as_str()));
    let answer = world.http("POST", "/r/asyncapp/size", &[], &vec![7; limit + 1]).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(
        answer.text(),
        r#"{"error":{"message":"the payload is too large, the most is 6291456 bytes"}}"#
    );
    let long = "x".repeat(1_100);
    let answer = world.http("POST", "/r/asyncapp/size", &[("X-Long", &long)], b"hello").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("the most is 1024"), "{}", answer.text());
    world.stop().await;
}

#[tokio::test]
async fn a_payload_in_chunks_is_taken_whole() {
    let mut world = World::start().await;
    world.deploy("echo", Kind::Sync).await;
    world.work(|work| Act::answer(work.payload.to_bytes().unwrap().to_vec()));
    let request = format!(
        "POST /r/asyncapp/echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        world.address
    );
    let answer = String::from_utf8(world.raw(request).await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello world"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_makes_no_sense_is_told_and_hides_no_others() {
    let world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;
    let good = world.submit("asyncfn", "").await.call;
    let bad = CallId::single(world.deps.now(), 7);
    let key = Key::Status(world.app.clone(), bad);
    world.deps.store.put(&key, PutObject::create("{}")).await.expect("put");
    let answer = world.get("/v1/apps/asyncapp/calls").await.json();
    assert_eq!(answer["calls"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["calls"][0]["id"], good.to_string());
    let message = answer["message"].as_str().expect("text");
    assert!(
        message.starts_with(&format!("Successfully listed calls; call {bad} is left out: object")),
        "{message}"
    );
    assert_eq!(world.get(&format!("/v1/apps/asyncapp/calls/{bad}")).await.status(), 500);
    world.stop().await;
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_call() {
    let world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;
    let key = [("Idempotency-Key", "order-7")];
    let first = world.http("POST", "/r/asyncapp/asyncfn", &key, b"hello").await;
    let again = world.http("POST", "/r/asyncapp/asyncfn", &key, b"hello").await;
    assert_eq!((first.status(), again.status()), (202, 202));
    assert_eq!(first.text(), again.text());
    let other = world.http("POST", "/r/asyncapp/asyncfn", &key, b"other").await;
    assert_eq!(other.status(), 409);
    assert!(other.text().contains("was used for another request"), "{}", other.text());
    world.stop().await;
}

#[tokio::test]
async fn who_waits_when_the_server_stops_is_told_where_the_call_is() {
    let world = World::start().await;
    world.deploy("waits", Kind::Sync).await;
    let depth = async || world.deps.queues.calls.live.depth().await.expect("a depth").visible;
    let (answer, ()) = tokio::join!(world.get("/r/asyncapp/waits"), async {
        while depth().await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.begin_stop();
    });
    let call = answer.header("Fn_call_id").expect("the call's id");
    assert_eq!((answer.status(), answer.header("Retry-After")), (503, Some("15")));
    assert!(answer.text().contains(&format!("the call goes on as {call}")), "{}", answer.text());
    world.stop().await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let world = World::start().await;
    let one = format!("GET /version HTTP/1.1\r\nHost: {}\r\n", world.address);
    let answer = world.raw(format!("{one}\r\n{one}Connection: close\r\n\r\n")).await;
    let text = String::from_utf8(answer).expect("text");
    assert_eq!(text.matches(r#"{"version":"0.1.0"}"#).count(), 2, "{text}");
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_over_tcp_and_not_on_the_socket_of_its_owner() {
    let world = World::with_token(Some("secret")).await;
    world.deploy("asyncfn", Kind::Async).await;
    for headers in [&[][..], &[("Authorization", "Bearer wrong")], &[("Authorization", "secret")]] {
        let answer = world.http("POST", "/r/asyncapp/asyncfn", headers, b"hello").await;
        assert_eq!(
            (answer.status(), answer.header("Www-Authenticate")),
            (401, Some("Bearer")),
            "{headers:?}"
        );
        assert!(answer.text().contains("Authorization: Bearer TOKEN"), "{}", answer.text());
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    }
    assert!(world.deps.queues.calls.live.depth().await.expect("a depth").is_dry());
    let shown = [("Authorization", "Bearer secret")];
    assert_eq!(world.http("POST", "/r/asyncapp/asyncfn", &shown, b"hello").await.status(), 202);
    let socket = tokio::net::UnixStream::connect(&world.socket).await.expect("a socket");
    let request = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(world.raw_over(socket, request).await).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    world.stop().await;
}

/// More clients than payloads were once taken in at a time send a little and wait: whoever comes next is served.
#[tokio::test]
async fn slow_bodies_hold_nobody_up() {
    let world = World::start().await;
    world.deploy("asyncfn", Kind::Async).await;
    let begin = |bytes: u64| {
        format!(
            "POST /r/asyncapp/asyncfn HTTP/1.1\r\nHost: {}\r\nContent-Length: {bytes}\r\n\r\n",
            world.address
        )
    };
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("a connection");
        stream
            .write_all(format!("{}a little", begin(limits::PAYLOAD_BYTES_MAX)).as_bytes())
            .await
            .expect("sent");
        slow.push(stream);
    }
    let answer = world.http("POST", "/r/asyncapp/asyncfn", &[], &vec![7; 1 << 20]).await;
    assert_eq!(answer.status(), 202);
    // Those that have sent much are counted by it: past the most, one that begins is told to come again.
    let nearly_all = vec![7; limits::PAYLOAD_BYTES_MAX as usize - 1];
    for stream in &mut slow[..(limits::API_PAYLOADS_BYTES_MAX / limits::PAYLOAD_BYTES_MAX) as usize + 1] {
        let _ = stream.write_all(&nearly_all[8..]).await;
    }
    // The server has read all of that once it refuses more.
    let begun = Instant::now();
    let answer = loop {
        let answer = world.http("POST", "/r/asyncapp/asyncfn", &[], &vec![7; 2 << 20]).await;
        if answer.status() != 202 || begun.elapsed() > PATIENCE {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((answer.status(), answer.header("Retry-After")), (503, Some("15")), "{}", answer.text());
    assert_eq!(world.http("POST", "/r/asyncapp/asyncfn", &[], b"small").await.status(), 202);
    drop(slow);
    world.stop().await;
}
