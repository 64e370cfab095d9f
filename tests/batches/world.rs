//! A home, a folder to work in and a context of its own, for one test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use afn::context::{Context, Kind, Opened};
use afn::model::{AppName, BatchId, State};
use afn::results::batch::{self, BatchView};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{self, Ran, Running};
use crate::harness;

/// The app of all tests.
pub const APP: &str = "batches";
/// A lost worker's messages come back after this: long enough that a busy machine keeps its leases.
pub const VISIBILITY: &str = "4s";
/// Longer than any batch here takes on a busy machine; a test that meets it fails.
pub const PATIENCE: Duration = Duration::from_secs(400);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

pub struct World {
    pub context: Context,
    dir: TempDir,
    /// Where S3 and SQS are said to answer, if not where they do.
    endpoint: Option<String>,
}

impl World {
    pub fn embedded() -> World {
        let mut context = Context::new("local".parse().expect("a name"), Kind::Local);
        let dir = folder();
        context.data_dir = Some(dir.path().join("data"));
        World { context, dir, endpoint: None }
    }

    pub async fn localstack(what: &str) -> World {
        let context = harness::made(&what.replace('_', "-")).await;
        World { context, dir: folder(), endpoint: None }
    }

    pub fn is_embedded(&self) -> bool {
        self.context.kind == Kind::Local
    }

    /// Commands reach S3 and SQS there from now on.
    pub fn set_endpoint(&mut self, endpoint: String) {
        self.endpoint = Some(endpoint);
    }

    pub fn app(&self) -> AppName {
        APP.parse().expect("a name")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        std::fs::write(&path, text).expect("it is written");
        path
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// With the context chosen by variables alone; without Docker.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afn"));
        command
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("AFN_HOME", self.dir.path().join("home"))
            .env("AFN_DATA_DIR", self.dir.path().join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.is_embedded() {
            let queues = self.context.queues.calls.strip_suffix("-calls").expect("a base name");
            let endpoint = self.endpoint.as_ref().or(self.context.endpoint.as_ref());
            command
                .env("AFN_CONTEXT", "localstack")
                .env("AFN_BUCKET", self.context.bucket.as_deref().expect("a bucket"))
                .env("AFN_PREFIX", &self.context.prefix)
                .env("AFN_QUEUES", queues)
                .env("AFN_ENDPOINT", endpoint.expect("an endpoint"));
        }
        command
    }

    /// Runs a command line that needs no quoting.
    pub async fn afn(&self, line: &str) -> Ran {
        self.args(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    pub async fn args(&self, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(args);
        command::run(command, b"").await
    }

    /// A command that goes on while the test does something to it.
    pub fn spawn(&self, line: &str) -> Running {
        let mut command = self.command();
        command.args(line.split_whitespace());
        Running::start(command)
    }

    pub async fn worker(&self, options: &str) -> Running {
        self.worker_of(self.command(), options).await
    }

    pub async fn worker_of(&self, mut command: Command, options: &str) -> Running {
        command.args(["worker", "--visibility", VISIBILITY]).args(options.split_whitespace());
        let worker = Running::start(command);
        worker.said("at once").await;
        worker
    }

    /// A function of this shell script, `app` of all tests, run as a child process.
    pub async fn deploy(&self, name: &str, script: &str) {
        let yaml = format!("name: {name}\nversion: 0.0.1\nruntime: shell\ntype: async\n");
        self.write(&format!("{name}/func.yaml"), yaml);
        self.write(&format!("{name}/func.sh"), script);
        let mut command = self.command();
        command.current_dir(self.path(name)).args(["deploy", "--local", "--app", APP]);
        command::run(command, b"").await.ok();
    }

    /// Submits a source whole.
    pub async fn submit(&self, name: &str, source: &str, options: &str) -> BatchId {
        let ran = self.afn(&format!("batch submit {APP} /{name} {source} {options}")).await;
        let told = ran.json();
        told["batch_id"].as_str().expect("an id").parse().expect("a batch's id")
    }

    /// The store and the queues themselves: what no command shows.
    pub async fn open(&self) -> Opened {
        harness::open(&self.context).await
    }

    /// Looks until it satisfies.
    pub async fn until(&self, id: BatchId, what: &str, is_enough: impl Fn(&BatchView) -> bool) -> BatchView {
        let seams = self.open().await.seams;
        let begun = tokio::time::Instant::now();
        loop {
            let view = batch::load(&seams, id).await.expect("the batch can be read");
            if is_enough(&view) {
                return view;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what}: {view:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Until everything is decided, and its supervisor has seen that.
    pub async fn over(&self, id: BatchId) -> BatchView {
        self.until(id, "over", |view| view.summary.is_some()).await
    }

    /// The rows of a batch as `batch results` tells them, by number; each number once.
    pub async fn rows(&self, id: BatchId, options: &str) -> BTreeMap<u64, Value> {
        rows(&self.afn(&format!("batch results {id} {options}")).await.ok())
    }

    /// The batches of the app, newest first.
    pub async fn batches(&self) -> Vec<BatchId> {
        let listed = self.afn(&format!("batch list {APP} --output json")).await;
        if listed.code == 3 {
            return Vec::new();
        }
        let listed = listed.json();
        let ids = listed["batches"].as_array().expect("a list").iter();
        ids.map(|row| row["batch_id"].as_str().expect("an id").parse().expect("a batch's id")).collect()
    }
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder is made");
    for folder in ["work", "tmp"] {
        std::fs::create_dir(dir.path().join(folder)).expect("a folder is made");
    }
    dir
}

/// Rows in JSON Lines, by number; each number once.
#[track_caller]
pub fn rows(text: &str) -> BTreeMap<u64, Value> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = row["number"].as_u64().expect("a number");
        assert!(rows.insert(number, row).is_none(), "twice: {line}");
    }
    rows
}

/// The id in `Batch ID`.
#[track_caller]
pub fn batch_of(stderr: &str) -> BatchId {
    let line = stderr.lines().find_map(|line| line.strip_prefix("Batch "));
    line.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no batch: {stderr}"))
}

pub fn count(view: &BatchView, state: State) -> u64 {
    view.counts.get(&state).copied().unwrap_or_default()
}
