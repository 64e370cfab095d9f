//! Objects and messages whose numbers no honest program writes are refused as they are read, field by field.

use std::collections::BTreeMap;

use afn::layout::batch::{Batch, BatchSource, Chunking, Dispatched, Mark, Sealed, Summary};
use afn::layout::chunk::ChunkFacts;
use afn::layout::control::{Share, Shares};
use afn::layout::object::{MarkKind, Started, Unsuited};
use afn::layout::{CallMessage, RangeMessage, Runs, SuperviseMessage};
use afn::limits;
use afn::model::id::NUMBER_MAX;
use afn::model::{
    AttemptFacts, AttemptHistory, BatchId, BatchLimits, CallFacts, CallId, Digest, Limits, MessageId, Nonce,
    Outcome, Source, State, Stored, Time, Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const AT: Time = Time(1_700_000_000_000);

/// Each of these values is refused in the place of the honest one.
fn refuses<T: Serialize + DeserializeOwned>(honest: &T, forged: &[(&str, Value)]) {
    let honest = serde_json::to_value(honest).expect("JSON");
    let name = std::any::type_name::<T>();
    assert!(serde_json::from_value::<T>(honest.clone()).is_ok(), "{name} as it is");
    for (pointer, value) in forged {
        let mut object = honest.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.insert(field.to_owned(), value.clone());
        assert!(serde_json::from_value::<T>(object).is_err(), "{name} with {pointer} = {value}");
    }
}

fn past(most: u64) -> Value {
    json!(most + 1)
}

fn history(attempts: u32) -> AttemptHistory {
    AttemptHistory { attempts, ..AttemptHistory::default() }
}

#[test]
fn versions_and_their_limits() {
    let source = Source::Image { reference: "i".to_owned(), digest: None };
    let version = Version::new("0.0.1", source, Limits::default(), AT).expect("a version");
    let minute_in_ages = json!(1_000_000_000_000_000_u64);
    refuses(
        &version,
        &[
            ("/limits/memory_mib", json!(0)),
            ("/limits/memory_mib", past(limits::MEMORY_MIB_MAX)),
            ("/limits/timeout_ms", json!(0)),
            ("/limits/timeout_ms", minute_in_ages),
            ("/limits/idle_timeout_ms", past(limits::IDLE_TIMEOUT_MS_MAX)),
            ("/limits/cpu_millis", past(limits::CPU_MILLIS_MAX)),
            ("/limits/attempts_max", json!(0)),
            ("/limits/attempts_max", past(limits::ATTEMPTS_MAX.into())),
            ("/limits/retry_backoff_ms", past(limits::RETRY_BACKOFF_MS_MAX)),
            ("/limits/tmpfs_mib", past(limits::MEMORY_MIB_MAX)),
        ],
    );
}

#[test]
fn what_is_stored_of_a_batch() {
    let batch = Batch {
        function: "f".parse().expect("a name"),
        version: "0.0.1-000000000000".parse().expect("a version"),
        route: "/f".parse().expect("a route"),
        source: BatchSource::default(),
        chunking: Chunking::default(),
        then: None,
        on_complete: None,
        max_failures: None,
        attempts_max: None,
        retry_backoff_ms: None,
        limits: BatchLimits::default(),
        retention: None,
        array: None,
        retry_of: None,
        fetch: None,
        created_at: AT,
        nonce: Nonce::new(1),
    };
    refuses(
        &batch,
        &[
            ("/attempts_max", json!(0)),
            ("/attempts_max", past(limits::ATTEMPTS_MAX.into())),
            ("/retry_backoff_ms", past(limits::RETRY_BACKOFF_MS_MAX)),
            ("/max_failures", json!({"count": 0})),
            ("/max_failures", json!({"percent": 101})),
            ("/limits", json!({"concurrency_max": 0})),
            ("/chunking/calls_min", json!(0)),
            ("/chunking/calls_max", json!(0)),
            ("/chunking/calls_max", past(limits::RANGE_CALLS_MAX)),
            ("/chunking/chunks_per_doubling", json!(0)),
            ("/chunking/bytes_max", json!(0)),
            ("/chunking/bytes_max", past(limits::CHUNK_OBJECT_BYTES_MAX)),
            ("/chunking/first_calls", past(NUMBER_MAX)),
        ],
    );
    let sealed = Sealed { last: 9, missing: vec![(2, 3), (5, 5)], at: AT, by: "s".to_owned() };
    refuses(
        &sealed,
        &[
            ("/last", past(NUMBER_MAX)),
            ("/last", json!(4)),
            ("/missing", json!([[5, 5], [2, 3]])),
            ("/missing", json!([[0, 3]])),
            ("/missing", json!([[3, 2]])),
            ("/missing", json!([[2, u64::MAX]])),
        ],
    );
    let dispatched = Dispatched { sent: Runs::one(1, 9, ()), through: 9, nonce: Nonce::new(1) };
    refuses(
        &dispatched,
        &[
            ("/through", json!(8)),
            ("/through", past(NUMBER_MAX)),
            ("/sent", json!([[0, 9]])),
            ("/sent", json!([[1, u64::MAX]])),
            ("/sent", json!([[5, 9], [1, 2]])),
        ],
    );
    let summary = Summary {
        calls: 1,
        counts: BTreeMap::from([(State::Success, 1)]),
        run_ms: 1,
        requests: BTreeMap::from([("put".to_owned(), 1)]),
        parts: 1,
        cancelled: None,
    };
    refuses(
        &summary,
        &[
            ("/calls", past(NUMBER_MAX)),
            ("/counts", json!({"success": NUMBER_MAX + 1})),
            ("/run_ms", past(limits::BATCH_SUM_MAX)),
            ("/requests", json!({"put": limits::BATCH_SUM_MAX + 1})),
            ("/parts", past(limits::BATCH_SUM_MAX)),
        ],
    );
    let share = Share { holder: Nonce::new(1), worker: "w".to_owned(), renewal: 1, calls: 1, per_hour: 1 };
    refuses(&Shares { nonce: Nonce::new(1), shares: vec![share] }, &[("/shares", json!([{}]))]);
    refuses(
        &ChunkFacts { first: 1, last: 9, source: Digest::of(b"") },
        &[
            ("/first", json!(0)),
            ("/first", json!(10)),
            ("/last", past(NUMBER_MAX)),
            ("/last", json!(1 << 30)),
        ],
    );
}

#[test]
fn what_is_stored_of_attempts_and_calls() {
    let facts = CallFacts {
        function: "f".parse().expect("a name"),
        version: "0.0.1-000000000000".parse().expect("a version"),
        route: "/f".parse().expect("a route"),
        headers: BTreeMap::default(),
        nonce: Nonce::new(1),
        created_at: AT,
        not_before: None,
    };
    let outcome = Outcome::without_run(&facts, State::Error, None, AT);
    refuses(
        &outcome,
        &[
            ("/run_ms", past(limits::SIZE_MAX)),
            ("/attempts", past(limits::ATTEMPTS_ENDED_MAX.into())),
            ("/status", json!("running")),
        ],
    );
    refuses(
        &Stored { bytes: 1, sha256: Digest::of(b""), content_type: None },
        &[("/bytes", past(limits::SIZE_MAX))],
    );
    let attempt = AttemptFacts {
        status: State::Error,
        reason: "why".to_owned(),
        failures: 1,
        started_at: None,
        ended_at: AT,
        run_ms: 1,
        retry_at: None,
        sha256: Digest::of(b""),
        worker: "w".to_owned(),
    };
    refuses(
        &attempt,
        &[("/run_ms", past(limits::SIZE_MAX)), ("/failures", past(limits::ATTEMPTS_ENDED_MAX.into()))],
    );
    let started = Started {
        at: AT,
        kind: MarkKind::Sole,
        attempt: 1,
        failures: 0,
        start_failures: 0,
        lease_ms: None,
        worker: "w".to_owned(),
    };
    refuses(
        &started,
        &[
            ("/attempt", past(limits::ATTEMPTS_ENDED_MAX.into())),
            ("/failures", past(limits::ATTEMPTS_ENDED_MAX.into())),
            ("/lease_ms", past(limits::ms(limits::LEASE_MAX))),
        ],
    );
    let unsuited = Unsuited { why: "why".to_owned(), worker: "w".to_owned(), at: AT, failed_starts: Some(1) };
    refuses(
        &unsuited,
        &[("/failed_starts", json!(0)), ("/failed_starts", past(limits::FAILED_STARTS_MAX.into()))],
    );
    let mark = Mark { calls: vec![(1, 2)], kind: MarkKind::Among, worker: "w".to_owned(), at: AT };
    refuses(
        &mark,
        &[
            ("/calls", json!([[1, u64::MAX]])),
            ("/calls", json!([[0, 1]])),
            ("/calls", json!([[3, 4], [1, 2]])),
        ],
    );
}

#[test]
fn messages() {
    let (id, app) = (MessageId::new(AT, 1), "app".parse().expect("a name"));
    let call = CallMessage::new(id, app, CallId::single(AT, 1));
    let ended = past(limits::ATTEMPTS_ENDED_MAX.into());
    let too_many = json!(vec![format!("{id}.1"); limits::LOSSES_MAX + 1]);
    refuses(&call, &[("/attempts", ended.clone()), ("/losses", too_many)]);

    let (app, batch) = (call.app.clone(), BatchId::new(AT, 1 << 40));
    let range = RangeMessage::new(id, app.clone(), batch, 64, Runs::one(1, 64, history(0)));
    refuses(
        &range,
        &[
            ("/calls", json!([])),
            ("/calls", json!([[0, 64]])),
            ("/calls", json!([[1, 65]])),
            ("/calls", json!([[64, 1]])),
            ("/calls", json!([[1, 64, u32::MAX]])),
            ("/chunk", past(NUMBER_MAX)),
            ("/chunk", json!(1 << 30)),
            ("/losses", json!([[1, 65, []]])),
            ("/losses", json!([[1, NUMBER_MAX, []]])),
            ("/mean_ms", past(limits::ms(limits::LEASE_MAX))),
        ],
    );
    let supervise = SuperviseMessage::new(id, app, batch);
    let many: Vec<_> = (1..=limits::RETRIED_RUNS_MAX as u64 + 1).map(|n| json!([2 * n, 2 * n, 1])).collect();
    refuses(
        &supervise,
        &[
            ("/retried", json!(many)),
            ("/retried", json!([[1, u64::MAX, 1]])),
            ("/retried", json!([[1, 2, u32::MAX]])),
        ],
    );
}
