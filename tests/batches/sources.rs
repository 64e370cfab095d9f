//! Every source format, and every record that cannot be a call.

use std::io::Write as _;
use std::time::Duration;

use afn::model::State;
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use super::command::{self, Ran};
use super::facts::one_outcome_each;
use super::world::{APP, World, batch_of, rows};
use super::{harness, submitters};
use crate::support::Running;

everywhere!(
    every_format,
    objects_of_a_bucket,
    an_object_of_records,
    bad_records,
    a_source_that_breaks_off,
    one_record,
    no_record,
);

/// How long a receive waits on LocalStack.
const LONG_POLL: Duration = Duration::from_millis(2_100);

/// Runs `cat` on a source.
async fn cat(world: &World, options: &str, stdin: &str) -> Ran {
    let mut command = world.command();
    aws(&mut command);
    command.args(["batch", "run", "--app", APP, "--output", "-", "-j", "2", "--include-input"]);
    command.args(options.split_whitespace()).args(["--", "cat"]);
    let ran = command::run(command, stdin.as_bytes()).await;
    if !world.is_embedded() {
        // LocalStack hands what is sent next to a receive of the worker that has just ended, and hides it for a minute.
        tokio::time::sleep(LONG_POLL).await;
    }
    ran
}

/// What the SDK reads of its environment: all that an embedded context knows of S3.
fn aws(command: &mut tokio::process::Command) {
    command
        .env("AWS_ENDPOINT_URL", harness::endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
}

/// What each record came to, in the order of the source; every one of them succeeded and is what it was sent.
fn answers(ran: Ran) -> Vec<String> {
    assert_eq!(ran.code, 0, "{ran:#?}");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = rows(&ran.ok());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=rows.len() as u64).collect::<Vec<_>>());
    for row in rows.values() {
        assert_eq!((&row["status"], &row["result"]), (&"success".into(), &row["input"]), "{row}");
    }
    rows.values().map(|row| text(&row["result"])).collect()
}

fn gz(text: &str) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(text.as_bytes()).expect("to memory");
    writer.finish().expect("to memory")
}

fn zst(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).expect("to memory")
}

async fn every_format(world: World) {
    let json = "{\"n\":1}\n\n[2]\n\"three\"\n";
    let csv = "a,b\n1,\"x, y\"\n2,\"two\nlines\"\n";
    let text = "one\n\nthree";
    let of_json = ["{\"n\":1}", "[2]", "three"];
    let of_csv = [r#"{"a":"1","b":"x, y"}"#, r#"{"a":"2","b":"two\nlines"}"#];
    let of_text = ["one", "", "three"];
    world.write("in.jsonl", json);
    world.write("in.jsonl.gz", gz(json));
    world.write("in.csv", csv);
    world.write("in.csv.zst", zst(csv));
    world.write("in.txt", text);
    world.write("in.gz", gz(text));
    world.write("in.dat", json);
    for (path, body) in [("folder/a", "A"), ("folder/deep/b", "B"), ("folder/z", "Z")] {
        world.write(path, body);
    }
    for (options, stdin, expected) in [
        ("--input in.jsonl", "", &of_json[..]),
        ("--input in.jsonl.gz", "", &of_json[..]),
        ("--input in.csv", "", &of_csv[..]),
        ("--input in.csv.zst", "", &of_csv[..]),
        ("--input in.txt", "", &of_text[..]),
        ("--input in.gz", "", &of_text[..]),
        ("--input in.dat --format jsonl", "", &of_json[..]),
        ("--input -", text, &of_text[..]),
        ("--input - --format csv", csv, &of_csv[..]),
        ("--input folder", "", &["A", "B", "Z"][..]),
    ] {
        let ran = cat(&world, options, stdin).await;
        let batch = batch_of(&ran.stderr);
        assert_eq!(answers(ran), expected, "{options}");
        one_outcome_each(&world, batch, expected.len() as u64).await;
    }
    let refs = cat(&world, "--input folder --pass ref", "").await;
    if !world.is_embedded() {
        let said = refs.failed(2);
        assert!(said.contains("workers elsewhere cannot read"), "{said}");
        return;
    }
    let refs = answers(refs);
    let paths = ["folder/a", "folder/deep/b", "folder/z"].map(|path| world.path(path));
    for (reference, path) in refs.iter().zip(paths) {
        let reference: Value = serde_json::from_str(reference).expect("JSON");
        assert_eq!(reference, serde_json::json!({ "path": path, "size": 1 }));
    }
}

/// A bucket of somebody's.
pub async fn bucket_of(objects: &[(&str, Vec<u8>)]) -> (aws_sdk_s3::Client, String) {
    let s3 = harness::connect(&harness::draft("source")).await.s3;
    let bucket = harness::unique("source");
    s3.create_bucket().bucket(&bucket).send().await.expect("a bucket");
    for (key, body) in objects {
        let body = ByteStream::from(body.clone());
        s3.put_object().bucket(&bucket).key(*key).body(body).send().await.expect("an object");
    }
    (s3, bucket)
}

async fn objects_of_a_bucket(world: World) {
    let keys: Vec<String> = (0..1_003).map(|n| format!("in/{n:04}")).collect();
    let mut objects: Vec<(&str, Vec<u8>)> =
        keys.iter().map(|key| (key.as_str(), format!("at {key}").into_bytes())).collect();
    objects.extend([("in/", Vec::new()), ("other", b"x".to_vec())]);
    let (s3, bucket) = bucket_of(&objects).await;

    let few = answers(cat(&world, &format!("--input s3://{bucket}/in/000 --pass body"), "").await);
    assert_eq!(few, (0..10).map(|n| format!("at in/{n:04}")).collect::<Vec<_>>());
    // More than a page, and none of them run.
    let mut command = world.command();
    aws(&mut command);
    let all = format!("s3://{bucket}/in/");
    command.args(["batch", "run", "--dry-run", "--output", "json", "--input", &all, "--", "cat"]);
    assert_eq!(command::run(command, b"").await.json()["calls"], 1_003);

    let refs = answers(cat(&world, &format!("--input s3://{bucket}/in/0001 --pass ref"), "").await);
    let etag = s3.head_object().bucket(&bucket).key("in/0001").send().await.expect("it is there");
    let expected = serde_json::json!({
        "bucket": bucket, "key": "in/0001", "size": 10, "etag": etag.e_tag().expect("one").trim_matches('"'),
    });
    assert_eq!(refs, [expected.to_string()]);

    let missing = cat(&world, "--input s3://no-such-bucket-here/in/", "").await.failed(5);
    assert!(missing.contains("no bucket `no-such-bucket-here`"), "{missing}");
    let nothing = cat(&world, &format!("--input s3://{bucket}/nowhere/ --fail-if-empty"), "").await.failed(2);
    assert!(nothing.contains("has no records"), "{nothing}");
}

/// Streamed, and begun again where it stopped; another object under the same key is noticed.
async fn an_object_of_records(world: World) {
    let text = super::ground::mostly_bad(30_000, 300);
    let (s3, bucket) = bucket_of(&[("deep/in.jsonl.gz", gz(&text))]).await;
    let location = format!("s3://{bucket}/deep/in.jsonl.gz");
    world.deploy("echo", super::ground::ECHO).await;
    let batch = submitters::cut_off_midway(&world, || {
        let mut command = world.command();
        aws(&mut command);
        command.args(["batch", "submit", APP, "/echo", &location]);
        Running::start(command)
    })
    .await;

    let resume = async || {
        let mut command = world.command();
        aws(&mut command);
        command.args(["batch", "resume", &batch.to_string()]);
        command::run(command, b"").await
    };
    let put = async |body: Vec<u8>| {
        let put = s3.put_object().bucket(&bucket).key("deep/in.jsonl.gz").body(ByteStream::from(body));
        put.send().await.expect("an object");
    };
    put(gz(&text.replacen("bad 1\n", "bad one\n", 1))).await;
    let changed = resume().await.failed(2);
    assert!(changed.contains("the source has changed: records 1 to 64"), "{changed}");
    put(gz(&text)).await;
    resume().await.ok();
    let worker = world.worker("-j 2").await;
    let view = world.over(batch).await;
    drop(worker);
    assert_eq!(view.calls, Some(30_000));
    let rows = one_outcome_each(&world, batch, 30_000).await;
    assert_eq!(rows.values().filter(|row| row.status == State::Success).count(), 100);
}

async fn bad_records(world: World) {
    let too_long = 6 * 1024 * 1024 + 1;
    world.write("in.jsonl", b"{\"a\":1}\n{\"a\":\n\xff\n\"fine\"\nno json\n");
    world.write("in.csv", "a,b\n1,2\n1,2,3\n\"open,4\n");
    world.write("in.txt", [b"one\n".as_slice(), &vec![b'x'; too_long], b"\nthree\n"].concat());
    world.write("folder/a", "A");
    std::os::unix::fs::symlink("/nowhere/at/all", world.path("folder/b")).expect("a link");
    for (source, expected) in [
        ("in.jsonl", &["", "in.jsonl:2:5: ", "in.jsonl:3:1: ", "", "in.jsonl:5:2: "][..]),
        ("in.csv", &["", "in.csv:3:", "in.csv:4:"][..]),
        ("in.txt", &["", "in.txt:2: the line has 6291457 bytes, the most is 6291456", ""][..]),
        ("folder", &["", "b: cannot be read: "][..]),
    ] {
        let ran = cat(&world, &format!("--input {source}"), "").await;
        assert_eq!(ran.code, 1, "{source}: {ran:#?}");
        let batch = batch_of(&ran.stderr);
        let rows = one_outcome_each(&world, batch, expected.len() as u64).await;
        for (row, expected) in rows.values().zip(expected) {
            let status = if expected.is_empty() { State::Success } else { State::Error };
            assert_eq!((row.status, row.attempts), (status, u32::from(expected.is_empty())), "{row:?}");
            assert!(row.error.as_deref().unwrap_or_default().starts_with(expected), "{row:?}");
        }
        let stopped = cat(&world, &format!("--input {source} --on-bad-record stop"), "").await;
        assert_eq!(stopped.code, 2, "{source}: {stopped:#?}");
        assert!(stopped.stderr.contains(expected[1]), "{source}: {stopped:#?}");
        one_outcome_each(&world, batch_of(&stopped.stderr), 1).await;
    }
}

/// What came before it stands; mended, the batch goes on.
async fn a_source_that_breaks_off(world: World) {
    let text: String = (1..=4_000).map(|n| format!("bad {n} {}\n", n * 7_919 % 1_000)).collect();
    let whole = gz(&text);
    world.write("in.jsonl.gz", &whole[..whole.len() - 2_000]);
    world.deploy("echo", super::ground::ECHO).await;
    let broken = world.afn(&format!("batch submit {APP} /echo in.jsonl.gz")).await;
    let said = broken.failed(2);
    let batch = world.batches().await[0];
    assert!(
        said.contains("in.jsonl.gz") && said.contains(&format!("batch {batch} is submitted in part")),
        "{said}"
    );
    world.write("in.jsonl.gz", &whole);
    world.afn(&format!("batch resume {batch}")).await.ok();
    let _worker = world.worker("-j 2").await;
    world.over(batch).await;
    one_outcome_each(&world, batch, 4_000).await;
}

async fn one_record(world: World) {
    let ran = cat(&world, "--input -", "only").await;
    let batch = batch_of(&ran.stderr);
    assert_eq!(answers(ran), ["only"]);
    one_outcome_each(&world, batch, 1).await;
}

async fn no_record(world: World) {
    world.write("empty.jsonl", "\n\n");
    world.write("head.csv", "a,b\n");
    std::fs::create_dir(world.path("folder")).expect("a folder");
    world.deploy("echo", super::ground::ECHO).await;
    for source in ["empty.jsonl", "head.csv", "folder", "-"] {
        let said = world.afn(&format!("batch submit {APP} /echo {source} --fail-if-empty")).await.failed(2);
        assert!(said.contains("has no records") && said.contains("nothing was submitted"), "{said}");
    }
    assert_eq!(world.batches().await, []);
    let submitted = world.afn(&format!("batch submit {APP} /echo head.csv")).await.json();
    assert_eq!(submitted["calls"], 0);
    let _worker = world.worker("-j 2").await;
    let view = world.over(world.batches().await[0]).await;
    assert_eq!((view.calls, view.decided), (Some(0), 0));
}
