//! As whom and where commands act on AWS, with a server that stands in for STS, SQS and S3.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};

use afn::layout::object::{self, StoreIdentity};
use afn::model::{StoreId, Time};
use serde_json::{Value, json};

use super::world::World;

const CONFIG: &str = "[profile team]\naws_access_key_id = TEAMKEY\naws_secret_access_key = x\n";

/// Has queues, or a bucket in their place. Knows with which keys it was asked.
struct Aws {
    endpoint: String,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Aws {
    fn start(has_queues: bool) -> Aws {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::default());
        let seen = keys.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = seen.clone();
                std::thread::spawn(move || answer(stream.unwrap(), has_queues, &seen));
            }
        });
        Aws { endpoint, keys }
    }

    fn keys(&self) -> Vec<String> {
        let mut keys = self.keys.lock().unwrap().clone();
        keys.sort();
        keys.dedup();
        keys
    }

    fn afn(&self, world: &World, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let config = world.write("aws-config", CONFIG);
        let mut command = world.command(world.dir());
        command
            .args(args)
            .env("AFN_CONTEXT", "aws")
            .env("AFN_BUCKET", "team-bucket")
            .env("AFN_ENDPOINT", &self.endpoint)
            .env("AWS_REGION", "eu-west-3")
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_SHARED_CREDENTIALS_FILE", world.path("none"))
            .env("AWS_ACCESS_KEY_ID", "ENVKEY")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().copied());
        command.output().unwrap()
    }
}

fn answer(stream: TcpStream, has_queues: bool, seen: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let signed = header("authorization").unwrap_or_default();
    let key = signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
    seen.lock().unwrap().push(key.unwrap_or_default().to_owned());
    let (status, answer) = match header("x-amz-target") {
        Some(target) if target == "AmazonSQS.GetQueueUrl" && has_queues => {
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let url = format!("https://sqs.test/123456789012/{}", asked["QueueName"].as_str().unwrap());
            (200, json!({ "QueueUrl": url }).to_string())
        }
        Some(_) => {
            (400, json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no" }).to_string())
        }
        None if body.starts_with(b"Action=GetCallerIdentity") && key == Some("NOSTSKEY") => (
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                .to_owned(),
        ),
        None if body.starts_with(b"Action=GetCallerIdentity") => (
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>"
                .to_owned(),
        ),
        // Where queues are missing, the bucket is there.
        None if !has_queues && head.starts_with("GET /team-bucket/store") => {
            let created_at = Time(1_790_000_000_000);
            let identity = StoreIdentity { id: StoreId::new(created_at, 1), created_at };
            (200, String::from_utf8_lossy(&object::encode(&identity)).into_owned())
        }
        // Deleted after it was listed.
        None if head.starts_with("GET /listed?") || head.starts_with("GET /listed/?") => (
            200,
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>in/a</Key><Size>1</Size>\
             <ETag>\"1\"</ETag></Contents></ListBucketResult>"
                .to_owned(),
        ),
        None => (404, "<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>".to_owned()),
    };
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: \"1\"\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.get_mut().write_all((head + &answer).as_bytes());
}

#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

#[test]
fn a_named_profile_counts_more_than_keys_of_the_environment() {
    let world = World::new();
    for (variables, key) in [(&[][..], "ENVKEY"), (&[("AFN_PROFILE", "team")][..], "TEAMKEY")] {
        let aws = Aws::start(true);
        let stderr = failed(&aws.afn(&world, &["list", "apps"], variables), 5);
        let place = format!("looked for in account 123456789012, {}, region eu-west-3", aws.endpoint);
        assert!(stderr.contains("there is no bucket `team-bucket`") && stderr.contains(&place), "{stderr}");
        assert!(stderr.contains("hint: `afn context create NAME`"), "{stderr}");
        assert_eq!(aws.keys(), [key]);
    }
    let aws = Aws::start(true);
    let stderr = failed(&aws.afn(&world, &["list", "apps"], &[("AFN_PROFILE", "gone")]), 2);
    assert!(stderr.starts_with("error: there is no profile `gone` in the AWS files\nhint:"), "{stderr}");
    assert!(aws.keys().is_empty());
}

#[test]
fn a_context_tells_account_region_bucket_and_queues() {
    let world = World::new();
    let aws = Aws::start(true);
    let shown = aws.afn(&world, &["context", "show"], &[("AFN_PROFILE", "team")]);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let wanted = [
        ("account", json!("123456789012")),
        ("region", json!("eu-west-3")),
        ("bucket", json!("team-bucket")),
        ("queues", json!({ "calls": "afn-calls", "chunks": "afn-chunks", "batches": "afn-batches" })),
        (
            "queue_urls",
            json!({
                "afn-calls": "https://sqs.test/123456789012/afn-calls",
                "afn-chunks": "https://sqs.test/123456789012/afn-chunks",
                "afn-batches": "https://sqs.test/123456789012/afn-batches",
            }),
        ),
    ];
    for (name, value) in wanted {
        assert_eq!(shown[name], value, "{name}: {shown}");
    }

    let doctor = aws.afn(&world, &["doctor"], &[]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        doctor.contains("account        123456789012, region eu-west-3, bucket team-bucket\n"),
        "{doctor}"
    );
    assert!(doctor.contains("queue URL      https://sqs.test/123456789012/afn-batches\n"), "{doctor}");
    assert!(doctor.contains("there is no bucket `team-bucket`: looked for in account"), "{doctor}");

    let aws = Aws::start(false);
    let shown = aws.afn(&world, &["context", "show"], &[]);
    let stderr = failed(&shown, 0);
    assert!(
        stderr.contains("there is no queue `afn-chunks`: looked for in account 123456789012"),
        "{stderr}"
    );
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["queue_urls"]["afn-calls"], Value::Null);
}

#[test]
fn a_context_that_is_named_is_shown_as_commands_use_it() {
    let world = World::new();
    let aws = Aws::start(true);
    let dir = world.path("other-data");
    world.args(&["context", "create", "files", "--kind", "local", "--data-dir", dir.to_str().unwrap()]).ok();
    world.afn("context use files").ok();
    let variables = [("AFN_PROFILE", "team"), ("AFN_CONTEXT", "files"), ("AFN_BUCKET", "instead")];
    let shown = aws.afn(&world, &["context", "show", "aws"], &variables);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    assert_eq!(aws.keys(), ["TEAMKEY"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    for (name, value) in [("bucket", "instead"), ("profile", "team"), ("account", "123456789012")] {
        assert_eq!(shown[name], value, "{shown}");
    }
    // One without a bucket is shown too: that is how its user sees what it lacks.
    let shown = aws.afn(&world, &["context", "show", "aws"], &[("AFN_BUCKET", "")]);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["bucket"], &shown["account"]), (&Value::Null, &json!("123456789012")));
}

#[test]
fn a_source_whose_bucket_is_missing_is_no_lack_of_the_context() {
    let world = World::new();
    let aws = Aws::start(true);
    let args = ["batch", "run", "--dry-run", "--input", "s3://mistyped/in/", "--", "cat"];
    for context in ["local", "aws"] {
        let stderr = failed(&aws.afn(&world, &args, &[("AFN_CONTEXT", context)]), 5);
        let place = format!("looked for in account 123456789012, {}, region eu-west-3", aws.endpoint);
        assert!(stderr.contains("there is no bucket `mistyped`") && stderr.contains(&place), "{stderr}");
        assert!(stderr.contains("--source-region") && !stderr.contains("context create"), "{stderr}");
    }
}

/// That ends its calls: they would not find it later either.
#[test]
fn an_object_whose_bucket_is_gone_says_where_that_was_looked_for() {
    let world = World::new();
    let aws = Aws::start(true);
    let args = ["batch", "run", "--input", "s3://listed/in/", "--output", "-", "--", "cat"];
    let ran = aws.afn(&world, &args, &[("AFN_CONTEXT", "local")]);
    let rows = String::from_utf8(ran.stdout.clone()).unwrap();
    let why = "object `s3://listed/in/a` cannot be read: there is no bucket `listed`: looked for in account 123456789012";
    assert!(rows.contains(why) && rows.contains("region eu-west-3"), "{ran:?}");
}

#[test]
fn an_account_that_cannot_be_told_keeps_no_calls_from_running() {
    let world = World::new();
    let aws = Aws::start(true);
    let doctor = aws.afn(&world, &["doctor", "-o", "json"], &[("AWS_ACCESS_KEY_ID", "NOSTSKEY")]);
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "account");
    assert_eq!(check.unwrap()["state"], "warning", "{report}");
}

#[test]
fn a_worker_without_queues_ends() {
    let world = World::new();
    let aws = Aws::start(false);
    let stderr = failed(&aws.afn(&world, &["worker", "--executor", "process"], &[]), 5);
    let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains("there is no queue `afn-") && error.contains("account 123456789012"), "{stderr}");
    assert!(stderr.contains("hint: `afn context create NAME`"), "{stderr}");
}
