//! A context of its own on LocalStack, a home, a function, and what has to come of its calls.

use std::path::PathBuf;
use std::process::Stdio;

use afn::context::{Context, Opened};
use afn::model::AppName;
use tempfile::TempDir;
use tokio::process::Command;

use crate::audit::Right;
use crate::command::{self, Ran, Running};
use crate::harness;

pub const APP: &str = "chaos";
const FUNCTION: &str = include_str!("func.py");

/// What `func.py` comes to.
pub fn right(n: u64) -> Right {
    match n {
        _ if n % 20 == 3 => Right::Failure(format!("refused {n}")),
        _ if n % 50 == 7 => Right::Answer(format!("{n:020000}").into_bytes()),
        _ => Right::Answer(format!("{}\n", n * 7 + 3).into_bytes()),
    }
}

pub struct Ground {
    context: Context,
    dir: TempDir,
    pub opened: Opened,
}

impl Ground {
    pub async fn new() -> Ground {
        let context = harness::made("chaos").await;
        let opened = harness::open(&context).await;
        let ground = Ground { context, dir: tempfile::tempdir().expect("a folder"), opened };
        let ran = ground.ran().display().to_string();
        ground.write("func.py", FUNCTION);
        ground.write(
            "func.yaml",
            &format!(
                "name: f\nversion: 0.0.1\ntype: async\nformat: http-stream\nentrypoint: python3 func.py\nconfig:\n  RAN: {ran}\n"
            ),
        );
        ground.afn(&format!("deploy --local --app {APP}")).await.ok();
        ground
    }

    pub fn app(&self) -> AppName {
        APP.parse().expect("a name")
    }

    /// A byte for each execution.
    pub fn ran(&self) -> PathBuf {
        self.dir.path().join("ran")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("it is written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afn"));
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("AFN_HOME", self.dir.path().join("home"))
            .env("AFN_DATA_DIR", self.dir.path().join("data"))
            // The same on a machine with Docker and on one without.
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("AFN_CONTEXT", "localstack")
            .env("AFN_BUCKET", self.context.bucket.as_deref().expect("a bucket"))
            .env("AFN_PREFIX", &self.context.prefix)
            .env("AFN_QUEUES", self.context.queues.calls.strip_suffix("-calls").expect("a base name"))
            .env("AFN_ENDPOINT", self.context.endpoint.as_deref().expect("an endpoint"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub async fn afn(&self, line: &str) -> Ran {
        let mut command = self.command();
        command.args(line.split_whitespace());
        command::run(command, b"").await
    }

    pub fn worker(&self, options: &str) -> Running {
        let mut command = self.command();
        command.arg("worker").args(options.split_whitespace());
        Running::start(command)
    }
}
