//! What the tests share: the way to Docker, launchers, calls, and functions of a few lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use afn::deploy::{BuildRequest, BuiltImage, ImageBuilder as _};
use afn::executor::docker::{Builder, DockerLauncher, DockerOptions};
use afn::executor::sandbox::{Launcher as _, Sandbox};
use afn::limits::MIB;
use afn::model::{CallId, Config, Format, Function, Kind, Limits, Nonce, Source, Time, Version};
use afn::seam::ExecutionLog;
use afn::seam::clock::SystemClock;
use afn::seam::executor::{Execution, Fault, Invocation, Verdict};
use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bytes::Bytes;

use crate::support::PATIENCE;

pub async fn docker() -> Docker {
    let docker = Docker::connect_with_unix_defaults()
        .unwrap_or_else(|error| panic!("these tests need Docker: {error}: start it with `dockerd &`"));
    docker
        .negotiate_version()
        .await
        .unwrap_or_else(|error| panic!("these tests need Docker: {error}: start it with `dockerd &`"))
}

pub fn options(work_dir: &Path) -> DockerOptions {
    let options = DockerOptions::new(Arc::new(SystemClock), work_dir);
    // The same Docker that the tests look into.
    let host = std::env::var("DOCKER_HOST").ok();
    DockerOptions { host, work_dir: work_dir.to_owned(), config_dir: work_dir.to_owned(), ..options }
}

/// Where Docker listens.
pub fn docker_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    host.trim_start_matches("unix://").to_owned()
}

/// A launcher with a folder of its own.
pub struct Bench {
    pub launcher: DockerLauncher,
    pub work_dir: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Bench {
        let work_dir = tempfile::tempdir().expect("a folder is made");
        let launcher = DockerLauncher::connect(options(work_dir.path()))
            .await
            .unwrap_or_else(|why| panic!("these tests need Docker: {why}"));
        Bench { launcher, work_dir }
    }

    /// One call in a sandbox of its own.
    pub async fn call(&self, work: &Invocation) -> Execution {
        let mut sandbox = self.start(work).await;
        let run = sandbox.invoke(work).await.unwrap_or_else(|fault| panic!("{fault:?}"));
        sandbox.stop().await;
        run
    }

    pub async fn start(&self, work: &Invocation) -> Box<dyn Sandbox> {
        self.launcher.start(work).await.unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    pub async fn fault(&self, work: &Invocation) -> Fault {
        match self.launcher.start(work).await {
            Ok(_) => panic!("it started"),
            Err(fault) => fault,
        }
    }

    /// Closes the launcher, and sees that nothing is left.
    pub async fn close(self) {
        self.launcher.close().await;
        let left = containers(self.work_dir.path()).await;
        assert_eq!(left, Vec::<String>::new(), "containers are left");
        let owners = std::fs::read_dir(self.work_dir.path().join("docker")).expect("it is there").count();
        assert_eq!(owners, 0, "folders are left");
    }
}

/// The names of the containers, ended ones too, of workers with this folder.
pub async fn containers(work_dir: &Path) -> Vec<String> {
    let filters = BTreeMap::from([("label", vec!["afn".to_owned()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters.into_iter().collect());
    let all = docker().await.list_containers(Some(options.build())).await.expect("docker lists them");
    let owner = |container: &bollard::models::ContainerSummary| {
        container.labels.as_ref().and_then(|labels| labels.get("afn.owner").cloned()).unwrap_or_default()
    };
    let ours = all.into_iter().filter(|container| owner(container).starts_with(&*work_dir.to_string_lossy()));
    ours.flat_map(|container| container.names.unwrap_or_default()).collect()
}

/// Waits for something that happens in the background.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{PATIENCE:?} later still not: {what}");
}

/// A call of a function in this image.
pub fn work(image: &str, format: Format, command: &[&str], payload: impl Into<Bytes>) -> Invocation {
    let source = Source::Image { reference: image.to_owned(), digest: None };
    let limits = Limits { timeout_ms: 60_000, ..Limits::default() };
    Invocation {
        app: "dockertest".parse().expect("a name"),
        app_config: Config::new().into(),
        function: Arc::new(Function {
            name: "f".parse().expect("a name"),
            route: "/f".parse().expect("a route"),
            kind: Kind::Async,
            version: "0.0.1-000000000000".parse().expect("a version"),
            config: Config::from([("GREETING".to_owned(), "hello".to_owned())]),
            annotations: BTreeMap::new(),
            created_at: Time(0),
            updated_at: Time(0),
            nonce: Nonce::new(1),
        }),
        version: Arc::new(Version {
            format,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Version::new("0.0.1-000000000000", source, limits, Time(0)).expect("a version")
        }),
        call: CallId::single(Time(1_700_000_000_000), 7),
        attempt: 1,
        env: Vec::new(),
        headers: BTreeMap::new(),
        content_type: Some("text/plain".to_owned()),
        payload: payload.into().into(),
        execution_log: ExecutionLog::default(),
    }
}

/// A call of a function that is a shell script, in the `default` format.
pub async fn script(text: &str, payload: impl Into<Bytes>) -> Invocation {
    work(super::images::busybox().await, Format::Default, &["/bin/sh", "-c", text], payload)
}

pub async fn build(dir: &Path, dockerfile: &str, tag: &str) -> BuiltImage {
    try_build(dir, dockerfile, tag).await.unwrap_or_else(|(error, log)| panic!("{error}\n{log}"))
}

pub async fn try_build(dir: &Path, dockerfile: &str, tag: &str) -> Result<BuiltImage, (afn::Error, String)> {
    let said = std::sync::Mutex::new(String::new());
    let log = |line: &str| {
        let mut said = said.lock().expect("no panic");
        said.push_str(line);
        said.push('\n');
    };
    let build_args = BTreeMap::new();
    let request = BuildRequest {
        context_dir: dir,
        dockerfile,
        tag,
        build_args: &build_args,
        no_cache: false,
        log: &log,
    };
    let built = Builder(options(dir)).build(request).await;
    built.map_err(|error| (error, said.lock().expect("no panic").clone()))
}

pub fn success(run: &Execution) -> Bytes {
    match &run.verdict {
        Verdict::Success { body, .. } => body.to_bytes().expect("the result can be read"),
        verdict => panic!("{verdict:?}, log: {}", log(run)),
    }
}

pub fn reason(run: &Execution) -> &str {
    match &run.verdict {
        Verdict::Error { reason } => reason,
        verdict => panic!("{verdict:?}, log: {}", log(run)),
    }
}

pub fn log(run: &Execution) -> String {
    String::from_utf8_lossy(&run.log).into_owned()
}

pub fn mebibytes(count: u64) -> Bytes {
    let mut bytes = vec![0; (count * MIB) as usize];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (index * 31 % 251) as u8;
    }
    bytes.into()
}
