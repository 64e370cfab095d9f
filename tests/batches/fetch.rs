//! Payloads that are objects of a user's bucket: workers read them where they are, by S3's own rules.

use std::collections::BTreeMap;

use afn::model::State;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use serde_json::{Value, json};

use super::facts::one_outcome_each;
use super::harness;
use super::sources::bucket_of;
use super::world::{APP, World, rows};
use crate::support::Running;
use crate::support::command::{self, Ran};

everywhere!(
    every_key_that_s3_allows,
    large_and_empty_objects,
    what_becomes_of_an_object_until_it_is_read,
    a_bucket_that_the_worker_was_not_told_of,
    a_batch_of_many_objects,
);

/// An embedded context knows of S3 what the environment says, and so does every other.
fn connected(world: &World) -> tokio::process::Command {
    let mut command = world.command();
    command
        .env("AFN_ENDPOINT", harness::endpoint())
        .env("AFN_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

async fn afn(world: &World, args: &[&str]) -> Ran {
    let mut command = connected(world);
    command.args(args);
    command::run(command, b"").await
}

async fn submit(world: &World, source: &str) -> afn::model::BatchId {
    let ran = afn(world, &["batch", "submit", APP, "/cat", source]).await.json();
    ran["batch_id"].as_str().expect("an id").parse().expect("a batch's id")
}

async fn worker(world: &World, options: &str) -> Running {
    world.worker_of(connected(world), options).await
}

async fn every_key_that_s3_allows(world: World) {
    let keys = [
        "a b",
        "a+b%20c&d?e#f",
        "dir//x",
        "\u{e9}\u{1f600}",
        " x ",
        "tab\there",
        "line\nfeed",
        "\"q'<&>",
        "~!*()",
    ];
    let objects: Vec<(String, Vec<u8>)> =
        keys.iter().map(|key| (format!("in/{key}"), format!("at {key}").into_bytes())).collect();
    let named: Vec<(&str, Vec<u8>)> =
        objects.iter().map(|(key, body)| (key.as_str(), body.clone())).collect();
    let (_, bucket) = bucket_of(&named).await;
    let source = format!("s3://{bucket}/in/");
    let args =
        ["batch", "run", "--app", APP, "--output", "-", "--include-input", "-j", "2", "--input", &source];
    let ran = afn(&world, &[&args[..], &["--", "cat"]].concat()).await;
    let rows = rows(&ran.ok());
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let found: BTreeMap<String, String> =
        rows.values().map(|row| (text(&row["source"]), text(&row["result"]))).collect();
    let expected: BTreeMap<String, String> =
        keys.iter().map(|key| (format!("in/{key}"), format!("at {key}"))).collect();
    assert_eq!(found, expected);
    for row in rows.values() {
        // What the call was sent is not copied into the rows either.
        assert_eq!((&row["input"]["bucket"], &row["input"]["key"]), (&json!(bucket), &row["source"]));
    }
}

async fn large_and_empty_objects(world: World) {
    let large: Vec<u8> = (0..20_000_003_u32).map(|n| (n % 251) as u8).collect();
    let (_, bucket) = bucket_of(&[("in/empty", Vec::new()), ("in/large", large.clone())]).await;
    let source = format!("s3://{bucket}/in/");
    let args = ["batch", "run", "--app", APP, "--output", "-", "--input", &source, "--", "sha256sum"];
    let rows = rows(&afn(&world, &args).await.ok());
    let digest = |body: &[u8]| json!(format!("{}  -\n", afn::model::Digest::of(body)));
    assert_eq!((&rows[&1]["result"], &rows[&2]["result"]), (&digest(b""), &digest(&large)));
}

async fn what_becomes_of_an_object_until_it_is_read(world: World) {
    let keys = ["in/archived", "in/gone", "in/replaced", "in/same"];
    let (s3, bucket) = bucket_of(&keys.map(|key| (key, key.as_bytes().to_vec()))).await;
    world.deploy("cat", "cat").await;
    let put = |key: &'static str| s3.put_object().bucket(&bucket).key(key);
    put("in/archived")
        .storage_class(StorageClass::Glacier)
        .body(ByteStream::from_static(b"cold"))
        .send()
        .await
        .expect("an archived object");
    let batch = submit(&world, &format!("s3://{bucket}/in/")).await;
    s3.delete_object().bucket(&bucket).key("in/gone").send().await.expect("deleted");
    put("in/replaced").body(ByteStream::from_static(b"another")).send().await.expect("replaced");
    // The same bytes are the same object, whoever wrote them last.
    put("in/same").body(ByteStream::from_static(b"in/same")).send().await.expect("written again");
    let _worker = worker(&world, &format!("-j 2 --data-bucket {bucket}")).await;
    world.over(batch).await;
    let rows = one_outcome_each(&world, batch, 4).await;
    let reasons: Vec<String> = rows.values().map(|row| row.error.clone().unwrap_or_default()).collect();
    let object = |key: &str, why: &str| format!("object `s3://{bucket}/{key}` {why}");
    assert_eq!(
        reasons,
        [
            object(
                "in/archived",
                "cannot be read: it is archived, and has to be restored before it can be read"
            ),
            object("in/gone", "is gone"),
            object("in/replaced", "was replaced after it was listed"),
            String::new(),
        ]
    );
    assert_eq!(rows[&4].status, State::Success);
}

async fn a_bucket_that_the_worker_was_not_told_of(world: World) {
    let (_, bucket) = bucket_of(&[("in/1", b"one".to_vec()), ("in/2", b"two".to_vec())]).await;
    world.deploy("cat", "cat").await;
    let batch = submit(&world, &format!("s3://{bucket}/in/")).await;
    let hint = format!("start the worker with --data-bucket {bucket}");
    let other = worker(&world, "-j 2 --data-bucket other").await;
    other.next(&hint).await;
    // `batch status` tells it too.
    let status = loop {
        let status = afn(&world, &["batch", "status", &batch.to_string()]).await.stdout;
        if status.contains(&hint) {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(status.contains(&hint), "{status}");
    let mut command = connected(&world);
    command.env("AFN_DATA_BUCKETS", format!("other,{bucket}"));
    let _worker = world.worker_of(command, "-j 2").await;
    let view = world.over(batch).await;
    assert_eq!(super::world::count(&view, State::Success), 2);
}

/// Each call takes one request for its object. What is beside it is the batch's and its chunks', and is a tenth of that from
/// 4,000 objects on. `AFN_FETCH_OBJECTS=20000` plays the many.
async fn a_batch_of_many_objects(world: World) {
    let objects: u64 =
        std::env::var("AFN_FETCH_OBJECTS").map_or(800, |count| count.parse().expect("a count"));
    let (s3, bucket) = bucket_of(&[]).await;
    let numbers: Vec<u64> = (0..objects).collect();
    for some in numbers.chunks(50) {
        let puts = some.iter().map(|n| {
            let body = ByteStream::from(format!("{n}").into_bytes());
            s3.put_object().bucket(&bucket).key(format!("in/{n:05}")).body(body).send()
        });
        futures_util::future::try_join_all(puts).await.expect("objects");
    }
    world.deploy("cat", "cat").await;
    let batch = submit(&world, &format!("s3://{bucket}/in/")).await;
    let _worker = worker(&world, &format!("-j 8 --data-bucket {bucket}")).await;
    let view = world.over(batch).await;
    assert_eq!(super::world::count(&view, State::Success), objects);
    let summary = view.summary.expect("it is over");
    let requests: u64 = summary.requests.values().sum();
    println!("{objects} objects took {requests} requests: {:?}", summary.requests);
    assert!(summary.requests["get"] >= objects, "{:?}", summary.requests);
    assert!(requests <= objects + (objects / 10).max(400), "{requests} requests: {:?}", summary.requests);
}
