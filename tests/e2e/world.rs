//! A home, a folder to work in and a context of its own, for one test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use afn::context::{Context, Opened};
use afn::model::{AppName, CallId};
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{self, Ran, Running};
use crate::proxy::Proxy;
use crate::{fixtures, harness, images};

/// The app of all tests.
pub const APP: &str = "e2e";

pub struct World {
    pub context: Context,
    dir: TempDir,
    /// Where S3 and SQS are said to answer.
    endpoint: String,
    docker_host: Option<String>,
}

impl World {
    pub async fn new(what: &str) -> World {
        World::on(harness::made(what).await)
    }

    pub fn on(context: Context) -> World {
        let dir = tempfile::tempdir().expect("a folder is made");
        for folder in ["work", "tmp"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder is made");
        }
        let endpoint = context.endpoint.clone().expect("an endpoint");
        World { context, dir, endpoint, docker_host: std::env::var("DOCKER_HOST").ok() }
    }

    /// The same home and context, reached another way.
    pub fn set_endpoint(&mut self, endpoint: String) {
        self.endpoint = endpoint;
    }

    /// Docker for what this world's commands and workers run.
    pub fn set_docker(&mut self, socket: &Path) {
        self.docker_host = Some(format!("unix://{}", socket.display()));
    }

    /// As on a machine without Docker.
    pub fn without_docker(mut self) -> World {
        self.docker_host = Some("unix:///nowhere/docker.sock".to_owned());
        self
    }

    pub fn app(&self) -> AppName {
        APP.parse().expect("a name")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        std::fs::write(&path, text).expect("it is written");
        path
    }

    /// With the context chosen by variables alone.
    pub fn command(&self) -> Command {
        let mut command = self.bare_command();
        command
            .env("AFN_CONTEXT", "localstack")
            .env("AFN_BUCKET", self.context.bucket.as_deref().expect("a bucket"))
            .env("AFN_PREFIX", &self.context.prefix)
            .env("AFN_QUEUES", self.queues())
            .env("AFN_ENDPOINT", &self.endpoint);
        command
    }

    /// The base name of the queues.
    pub fn queues(&self) -> &str {
        self.context.queues.calls.strip_suffix("-calls").expect("a base name")
    }

    /// With nothing said of a context.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afn"));
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("AFN_HOME", self.dir.path().join("home"))
            .env("AFN_DATA_DIR", self.dir.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs a command line that needs no quoting.
    pub async fn afn(&self, line: &str) -> Ran {
        self.args(&line.split_whitespace().collect::<Vec<_>>(), b"").await
    }

    pub async fn args(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args);
        command::run(command, stdin).await
    }

    pub async fn afn_in(&self, folder: &str, line: &str) -> Ran {
        let mut command = self.command();
        command.current_dir(self.work().join(folder)).args(line.split_whitespace());
        command::run(command, b"").await
    }

    /// A worker that receives, with these options.
    pub async fn worker(&self, options: &str) -> Running {
        self.start_worker(self.command(), options).await
    }

    /// One that reaches store and queues through a proxy.
    pub async fn worker_through(&self, proxy: &Proxy, options: &str) -> Running {
        let mut command = self.command();
        command.env("AFN_ENDPOINT", proxy.endpoint());
        self.start_worker(command, options).await
    }

    async fn start_worker(&self, mut command: Command, options: &str) -> Running {
        command.arg("worker").args(options.split_whitespace());
        let worker = Running::start(command);
        worker.said("at once").await;
        worker
    }

    /// A function whose payload is the shell script that it runs, in a container of busybox.
    pub async fn create_sh(&self, name: &str, options: &str) {
        let image = images::busybox().await;
        self.create(name, image, options).await;
    }

    pub async fn create(&self, name: &str, image: &str, options: &str) {
        self.afn(&format!("create function {APP} /{name} {image} --type async {options}")).await.ok();
    }

    /// A function whose code is this shell script, built into an image on busybox and published.
    pub async fn deploy(&self, name: &str, more: &str, script: &str) {
        let image = images::busybox().await;
        self.write(
            &format!("{name}/func.yaml"),
            format!("name: {name}\nversion: 0.0.1\nruntime: shell\nrun_image: {image}\ntype: async\n{more}"),
        );
        self.write(&format!("{name}/func.sh"), script);
        self.afn_in(name, &format!("deploy --local --app {APP}")).await.ok();
    }

    /// A call of `/name`.
    pub async fn submit(&self, name: &str, payload: impl AsRef<[u8]>, options: &str) -> CallId {
        let route = format!("/{name}");
        let mut args = vec!["submit", APP, &route];
        args.extend(options.split_whitespace());
        let ran = self.args(&args, payload.as_ref()).await;
        ran.ok().trim().parse().expect("an id")
    }

    /// The call once it is over, however it ended.
    pub async fn wait(&self, call: CallId) -> Value {
        let ran = self.afn(&format!("wait {APP} {call} --timeout 80s --output json")).await;
        serde_json::from_slice(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ran.text(), ran.stderr))
    }

    pub async fn status(&self, call: CallId) -> Value {
        self.afn(&format!("status {APP} {call} --output json")).await.json()
    }

    /// Asks until the call is in this state.
    pub async fn until(&self, call: CallId, state: &str) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let call = self.afn(&format!("get call {APP} {call} --output json")).await.json();
            if call["status"] == state {
                return call;
            }
            assert!(begun.elapsed() < command::PATIENCE, "not {state}: {call}");
        }
    }

    pub async fn result(&self, call: CallId) -> Vec<u8> {
        self.afn(&format!("get result {APP} {call}")).await.bytes()
    }

    pub async fn logs(&self, call: CallId) -> String {
        self.afn(&format!("get logs {APP} {call}")).await.ok()
    }

    /// The store and the queues themselves, past the proxy: what no command shows.
    pub async fn open(&self) -> Opened {
        harness::open(&self.context).await
    }

    /// Waits until the queue of calls has nothing, held or delayed.
    pub async fn queue_is_dry(&self) {
        let calls = self.open().await.seams.queues.calls.live;
        fixtures::eventually("the queue is dry", async || calls.depth().await.expect("a depth").is_dry())
            .await;
    }

    /// The containers of this world's workers, ended ones too.
    pub async fn containers(&self) -> Vec<String> {
        fixtures::containers(self.dir.path()).await
    }
}

/// A worker that was killed leaves its containers to the next one; when a test fails there may be none.
impl Drop for World {
    fn drop(&mut self) {
        let dir = self.dir.path().to_owned();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                for name in fixtures::containers(&dir).await {
                    let name = name.trim_start_matches('/');
                    let _ = fixtures::docker().await.remove_container(name, Some(options.clone())).await;
                }
            });
        });
        let _ = removed.join();
    }
}
