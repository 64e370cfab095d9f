//! With a keeper of secrets that counts what it is asked, on paused time, and a launcher that starts nothing.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::time::{Instant, sleep};

use super::*;
use crate::contract::{self, testing};
use crate::model::Format;
use crate::seam::Unreached;
use crate::seam::clock::PausedClock;

/// Each answer takes a second. Texts end with how often the keeper was asked by then.
#[derive(Default)]
struct Keeper(AtomicU64);

#[async_trait]
impl Secrets for Keeper {
    async fn fetch(&self, secret: &AwsSecret) -> Result<String, SecretError> {
        let asked = self.0.fetch_add(1, SeqCst) + 1;
        sleep(Duration::from_secs(1)).await;
        let unreached = |may_recover| {
            let (what, why) = ("the service cannot be reached".to_owned(), "refused".to_owned());
            SecretError::Unreached(Unreached { what, why, hint: "mend it".to_owned(), may_recover })
        };
        match secret.to_string().as_str() {
            "ssm:/db" => Ok(format!("hush-{asked}")),
            "secretsmanager:json" => Ok(r#"{"user": "me", "port": 5432, "deep": {}}"#.to_owned()),
            "secretsmanager:text" => Ok("hush".to_owned()),
            "ssm:/nul" => Ok("a\0b".to_owned()),
            "ssm:/long" => Ok("x".repeat(2 * limits::CONFIG_BYTES_MAX as usize)),
            "ssm:/denied" => Err(SecretError::Refused("no right to read it".to_owned())),
            "ssm:/busy" => Err(SecretError::Busy("slow down".to_owned())),
            "ssm:/lost" => Err(SecretError::Lost("no answer".to_owned())),
            "ssm:/down" => Err(unreached(true)),
            "ssm:/nobody" => Err(unreached(false)),
            _ => Err(SecretError::NotFound),
        }
    }
}

/// In place of a sandbox it hands out the environment that one would have.
struct Environment(Mutex<Vec<BTreeMap<String, String>>>);

#[async_trait]
impl Launcher for Environment {
    fn suits(&self, _: &Version) -> Result<(), Mismatch> {
        Ok(())
    }

    async fn start(&self, invocation: &Invocation) -> Result<Box<dyn Sandbox>, Fault> {
        self.0.lock().unwrap().push(contract::env(invocation).into_iter().collect());
        Err(Fault::Worker("started".to_owned()))
    }

    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

struct World {
    keeper: Arc<Keeper>,
    launcher: WithSecrets<Environment>,
}

fn world(allowed_variables: Allowed<String>, allowed_files: Allowed<PathBuf>) -> World {
    let keeper = Arc::new(Keeper::default());
    let variables = |name: &str| match name {
        "WORKERS" => Ok(Some("the worker's".to_owned())),
        "BROKEN" => Err("is not UTF-8".to_owned()),
        _ => Ok(None),
    };
    let secrets = SecretReader {
        aws: keeper.clone(),
        clock: PausedClock::start(),
        variables: Box::new(variables),
        allowed_variables,
        allowed_files,
        cache: Cache::default(),
    };
    let launcher = Environment(Mutex::default());
    World { keeper, launcher: WithSecrets { launcher, secrets: Arc::new(secrets) } }
}

fn open_world() -> World {
    world(Allowed::All, Allowed::All)
}

fn invocation(app: &[(&str, &str)], function: &[(&str, &str)]) -> Invocation {
    let config = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Config>()
    };
    let mut invocation = testing::invocation(Format::HttpStream, b"");
    invocation.app_config = config(app).into();
    Arc::make_mut(&mut invocation.function).config = config(function);
    invocation
}

impl World {
    async fn env(&self, invocation: &Invocation) -> BTreeMap<String, String> {
        let fault = self.launcher.start(invocation).await.err().unwrap();
        assert_eq!(fault, Fault::Worker("started".to_owned()));
        self.launcher.launcher.0.lock().unwrap().pop().unwrap()
    }

    async fn value(&self, value: &str) -> String {
        self.env(&invocation(&[], &[("K", value)])).await.remove("K").unwrap()
    }

    async fn fault(&self, value: &str) -> Fault {
        let fault = self.launcher.start(&invocation(&[], &[("K", value)])).await.err().unwrap();
        assert!(self.launcher.launcher.0.lock().unwrap().is_empty(), "{value} was started");
        fault
    }

    /// The reason why a function cannot start.
    async fn wrong(&self, value: &str) -> String {
        match self.fault(value).await {
            Fault::Function(why) => why,
            fault => panic!("{value}: {fault:?}"),
        }
    }

    /// The reason why it cannot start here and now.
    async fn not_here(&self, value: &str) -> String {
        match self.fault(value).await {
            Fault::Mismatch(Mismatch(why)) => why,
            fault => panic!("{value}: {fault:?}"),
        }
    }

    fn asked(&self) -> u64 {
        self.keeper.0.load(SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_is_given_texts_and_the_invocation_keeps_references() {
    let world = open_world();
    let app = [("DB", "ssm:/db"), ("SHADOWED", "ssm:/nothing"), ("PLAIN", "eu")];
    let own = [
        ("SHADOWED", "own"),
        ("PORT", "secretsmanager:json#port"),
        ("USER", "secretsmanager:json#user"),
        ("TEXT", "secretsmanager:text"),
        ("VARIABLE", "env:WORKERS"),
        ("LITERAL", "literal:ssm:/db"),
    ];
    let invocation = invocation(&app, &own);
    let env = world.env(&invocation).await;
    for (key, value) in [
        ("DB", "hush-1"),
        ("SHADOWED", "own"),
        ("PLAIN", "eu"),
        ("PORT", "5432"),
        ("USER", "me"),
        ("TEXT", "hush"),
        ("VARIABLE", "the worker's"),
        ("LITERAL", "ssm:/db"),
        ("FN_APP_NAME", "app"),
    ] {
        assert_eq!(env[key], value, "{key}");
    }
    // A secret that the function's own value replaces is not asked for, and one with several keys once.
    assert_eq!(world.asked(), 3);
    assert!(!format!("{invocation:?}").contains("hush"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_once_a_minute_however_many_start() {
    let world = open_world();
    let both = tokio::join!(world.value("ssm:/db"), world.value("ssm:/db"));
    assert_eq!(both, ("hush-1".to_owned(), "hush-1".to_owned()));
    sleep(limits::SECRET_FRESH - Duration::from_millis(1)).await;
    assert_eq!(world.value("ssm:/db").await, "hush-1");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.value("ssm:/db").await, "hush-2");
    // One that is slow delays no other.
    let before = Instant::now();
    tokio::join!(world.value("secretsmanager:text"), world.value("secretsmanager:json#user"));
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    // What is old leaves the memory when another is read.
    sleep(limits::SECRET_FRESH).await;
    world.value("ssm:/db").await;
    assert_eq!(world.launcher.secrets.cache.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_for_a_few_seconds() {
    let world = open_world();
    let first = world.wrong("ssm:/missing").await;
    assert_eq!(world.wrong("ssm:/missing").await, first);
    assert_eq!(world.asked(), 1);
    sleep(limits::SECRET_FAILURE_FRESH).await;
    world.wrong("ssm:/missing").await;
    assert_eq!(world.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_mends_is_the_functions_fault_and_says_how_to_mend_it() {
    let world = open_world();
    for (value, reason) in [
        (
            "ssm:/missing",
            "config `K`: `ssm:/missing` cannot be read: there is no such secret in the worker's account and region; \
             create it, or correct the reference",
        ),
        ("ssm:/denied", "config `K`: `ssm:/denied` cannot be read: no right to read it"),
        (
            "ssm:/nobody",
            "config `K`: `ssm:/nobody` cannot be read: the service cannot be reached: refused; mend it",
        ),
        (
            "secretsmanager:json#none",
            "config `K`: `secretsmanager:json#none` is a JSON object without the key `none`",
        ),
        ("secretsmanager:json#deep", "config `K`: `secretsmanager:json#deep` is no text, number or bool"),
        (
            "secretsmanager:text#key",
            "config `K`: `secretsmanager:text#key` is no JSON object; leave out `#KEY` for all of its text",
        ),
        ("ssm:/nul", "config `K`: `ssm:/nul` has a NUL byte, which an environment cannot hold"),
        ("ssm:/long", "config with its secrets has more than 128 KiB"),
        (
            "env:UNSET",
            "config `K`: `env:UNSET` is not set in the worker's environment: start the worker with it",
        ),
        ("env:BROKEN", "config `K`: `env:BROKEN` is not UTF-8"),
        (
            "file:/no/such/file",
            "config `K`: `file:/no/such/file` cannot be read on this worker: No such file or directory (os error 2)",
        ),
        ("file:/dev/zero", "config `K`: `file:/dev/zero` is not a file on this worker"),
        (
            // Stored before references were known.
            "file:hush",
            "config `K`: it begins with `file:` and is no reference like file:/PATH, an absolute path; \
             `literal:file:…` is the text `file:…`",
        ),
    ] {
        assert_eq!(world.wrong(value).await, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_does_not_answer_is_no_fault_of_the_function_or_the_worker() {
    let world = open_world();
    for (value, reason) in [
        ("ssm:/busy", "config `K`: `ssm:/busy` cannot be read: slow down"),
        ("ssm:/lost", "config `K`: `ssm:/lost` cannot be read: no answer"),
        (
            "ssm:/down",
            "config `K`: `ssm:/down` cannot be read: the service cannot be reached: refused; mend it",
        ),
    ] {
        assert_eq!(world.not_here(value).await, reason);
    }
}

#[tokio::test]
async fn a_worker_gives_what_its_user_allows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let value = |name: &str| format!("file:{}", path(name).display());
    std::fs::create_dir(path("given")).unwrap();
    for (name, text) in [("given/a", "one\n"), ("other", "hush"), ("given-too", "hush"), ("single", "two")] {
        std::fs::write(path(name), text).unwrap();
    }
    symlink(path("other"), path("given/out")).unwrap();
    symlink(path("given/a"), path("given/link")).unwrap();
    std::fs::write(path("given/large"), "x".repeat(limits::CONFIG_BYTES_MAX as usize + 1)).unwrap();

    let files = vec![path("given"), path("single")];
    let world = world(Allowed::Only(vec!["WORKERS".to_owned()]), Allowed::Only(files));
    assert_eq!(world.value("env:WORKERS").await, "the worker's");
    assert_eq!(
        world.not_here("env:HOME").await,
        "config `K`: this worker does not give functions `env:HOME`: start it with --allow-env HOME"
    );
    for (name, text) in [("given/a", "one"), ("given/link", "one"), ("single", "two")] {
        assert_eq!(world.value(&value(name)).await, text);
    }
    for name in ["other", "given-too", "given/out", "missing"] {
        let path = path(name).display().to_string();
        assert_eq!(
            world.not_here(&value(name)).await,
            format!(
                "config `K`: this worker does not give functions `file:{path}`: start it with --allow-file {path}"
            )
        );
    }
    assert!(world.wrong(&value("given/missing")).await.ends_with("No such file or directory (os error 2)"));
    assert!(world.wrong(&value("given")).await.ends_with("is not a file on this worker"));
    assert!(world.wrong(&value("given/large")).await.ends_with("has more than 64 KiB"));
}
