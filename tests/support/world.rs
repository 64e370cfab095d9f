//! A home, a folder to work in and a context, for one test that runs the `afn` binary: embedded, or on LocalStack.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use afn::context::{Context, Kind, Opened};
use afn::event::Silent;
use afn::model::AppName;
use tempfile::TempDir;
use tokio::process::Command;

use super::command::{self, Ran, Running};

/// The app of tests that need one only.
pub const APP: &str = "tests";
/// No Docker listens there: a test is the same on a machine with Docker and on one without.
const NO_DOCKER: &str = "unix:///nowhere/docker.sock";

pub struct World {
    pub context: Context,
    dir: TempDir,
    /// Where S3 and SQS are said to answer, if not where they do.
    endpoint: Option<String>,
    docker_host: String,
    /// The lease of workers; the default if there is none.
    pub visibility: Option<&'static str>,
    /// Removes what outlives the processes of this test, given its folder.
    pub clean_up: Option<fn(&Path)>,
}

impl World {
    /// On a SQLite file.
    pub fn embedded() -> World {
        World::on(Context::new("local".parse().expect("a name"), Kind::Local))
    }

    /// On a context that was made before.
    pub fn on(mut context: Context) -> World {
        let dir = tempfile::tempdir().expect("a folder is made");
        for folder in ["work", "tmp"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder is made");
        }
        if context.kind == Kind::Local {
            context.data_dir = Some(dir.path().join("data"));
        }
        World {
            context,
            dir,
            endpoint: None,
            docker_host: NO_DOCKER.to_owned(),
            visibility: None,
            clean_up: None,
        }
    }

    pub fn is_embedded(&self) -> bool {
        self.context.kind == Kind::Local
    }

    /// Commands reach S3 and SQS there from now on.
    pub fn set_endpoint(&mut self, endpoint: String) {
        self.endpoint = Some(endpoint);
    }

    /// Docker for what this world's commands and workers run; for all of its processes there is none at first.
    pub fn set_docker(&mut self, host: String) {
        self.docker_host = host;
    }

    pub fn without_docker(mut self) -> World {
        self.docker_host = NO_DOCKER.to_owned();
        self
    }

    pub fn app(&self) -> AppName {
        APP.parse().expect("a name")
    }

    /// All that this test writes lies below.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where commands are run.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.work().join(path)
    }

    /// The SQLite file of an embedded context.
    pub fn database(&self) -> PathBuf {
        self.context.data_dir.as_ref().expect("an embedded context").join(afn::context::FILE)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The binary, with nothing said of a context: the embedded one of its home.
    pub fn bare_command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_afn"));
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("AFN_HOME", self.dir.path().join("home"))
            .env("AFN_DATA_DIR", self.dir.path().join("data"))
            .env("DOCKER_HOST", &self.docker_host)
            // Functions of tests look at files of the test, which may be root's.
            .env("AFN_FUNCTION_UIDS", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.is_embedded() && self.docker_host == NO_DOCKER {
            // In a remote context a worker executes processes only where it is asked for by name.
            command.env("AFN_EXECUTOR", "process");
        }
        command
    }

    /// The binary, with the context chosen by variables alone.
    pub fn std_command(&self) -> std::process::Command {
        let mut command = self.bare_command();
        if !self.is_embedded() {
            let endpoint = self.endpoint.as_ref().or(self.context.endpoint.as_ref());
            command
                .env("AFN_CONTEXT", "localstack")
                .env("AFN_BUCKET", self.context.bucket.as_deref().expect("a bucket"))
                .env("AFN_PREFIX", &self.context.prefix)
                .env("AFN_QUEUES", self.context.queues.calls.strip_suffix("-calls").expect("a base name"))
                .env("AFN_ENDPOINT", endpoint.expect("an endpoint"));
        }
        command
    }

    pub fn command(&self) -> Command {
        self.std_command().into()
    }

    /// Runs a command line that needs no quoting.
    pub async fn afn(&self, line: &str) -> Ran {
        self.args(&line.split_whitespace().collect::<Vec<_>>(), b"").await
    }

    /// The same in a folder of the working folder.
    pub async fn afn_in(&self, folder: &str, line: &str) -> Ran {
        self.run_in(folder, &line.split_whitespace().collect::<Vec<_>>(), b"").await
    }

    pub async fn args(&self, args: &[&str], stdin: &[u8]) -> Ran {
        self.run_in("", args, stdin).await
    }

    pub async fn run_in(&self, folder: &str, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command();
        command.current_dir(self.path(folder)).args(args);
        command::run(command, stdin).await
    }

    /// A command that goes on while the test does something to it.
    pub fn spawn(&self, line: &str) -> Running {
        let mut command = self.command();
        command.args(line.split_whitespace());
        Running::start(command)
    }

    /// A worker that receives, with these options.
    pub async fn worker(&self, options: &str) -> Running {
        self.worker_of(self.command(), options).await
    }

    pub async fn worker_of(&self, mut command: Command, options: &str) -> Running {
        command.arg("worker").args(options.split_whitespace());
        if let Some(visibility) = self.visibility {
            command.args(["--visibility", visibility]);
        }
        let worker = Running::start(command);
        worker.said("at once").await;
        worker
    }

    /// A function that runs this shell script as a child process; `more` are lines of its `func.yaml`.
    pub async fn deploy_to(&self, app: &str, name: &str, more: &str, script: &str) {
        let yaml = format!("name: {name}\nversion: 0.0.1\nruntime: shell\n{more}");
        self.write(&format!("{name}/func.yaml"), yaml);
        self.write(&format!("{name}/func.sh"), script);
        self.afn_in(name, &format!("deploy --local --app {app}")).await.ok();
    }

    /// The same, asynchronous and in the app of all tests.
    pub async fn deploy(&self, name: &str, script: &str) {
        self.deploy_to(APP, name, "type: async\n", script).await;
    }

    /// The store and the queues themselves: what no command shows. On LocalStack it passes by any proxy.
    pub async fn open(&self) -> Opened {
        afn::context::open(&self.context, Arc::new(Silent)).await.expect("the context opens")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(clean_up) = self.clean_up {
            clean_up(self.dir.path());
        }
    }
}
