//! A process executor over a store in memory, and functions to run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use afn::backend::memory::MemoryStore;
use afn::deploy::pack::pack;
use afn::executor::process::{Scope, UserRange};
use afn::executor::{Pool, ProcessLauncher, ProcessOptions};
use afn::folder::Scratch;
use afn::layout::Key;
use afn::model::{
    AppName, CallId, Config, Digest, Format, Function, Kind, Limits, Nonce, Source, Time, Version,
};
use afn::seam::ExecutionLog;
use afn::seam::clock::SystemClock;
use afn::seam::executor::{Execution, Executor as _, Fault, Invocation, Verdict};
use afn::seam::store::{PutObject, Store as _};
use bytes::Bytes;

pub fn options(store: Arc<MemoryStore>, work_dir: &Path) -> ProcessOptions {
    ProcessOptions {
        archives: store,
        clock: Arc::new(SystemClock),
        work_dir: work_dir.to_owned(),
        run_dir: work_dir.join("run"),
        scope: Scope::all(),
        users: None,
    }
}

pub struct Bench {
    pub store: Arc<MemoryStore>,
    pub pool: Pool,
    work_dir: Scratch,
    functions: AtomicU32,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::of(Scope::all())
    }

    pub fn of(scope: Scope) -> Bench {
        Bench::with(scope, None)
    }

    /// A worker that is root, whose functions are other users.
    pub fn with_users(scope: Scope) -> Bench {
        Bench::with(scope, Some(UserRange::default()))
    }

    /// For many files: on some disks they take minutes.
    pub fn in_memory() -> Bench {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Bench::within(&place, Scope::all(), None)
    }

    fn with(scope: Scope, users: Option<UserRange>) -> Bench {
        Bench::within(&std::env::temp_dir(), scope, users)
    }

    fn within(place: &Path, scope: Scope, users: Option<UserRange>) -> Bench {
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(clock.clone()));
        // What is unpacked in it is read-only, and is removed all the same.
        let work_dir = Scratch::new(place, "afn-bench-").unwrap();
        if users.is_some() {
            fs::set_permissions(work_dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        }
        let launcher =
            ProcessLauncher::new(ProcessOptions { scope, users, ..options(store.clone(), work_dir.path()) });
        let pool = Pool::new(Arc::new(launcher), clock, 8);
        Bench { store, pool, work_dir, functions: AtomicU32::new(0) }
    }

    /// A call of a function that consists of these files.
    pub async fn function(&self, format: Format, command: &[&str], files: &[(&str, &str)]) -> Invocation {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        self.folder(format, command, dir.path()).await
    }

    /// A call of the function in a folder.
    pub async fn folder(&self, format: Format, command: &[&str], dir: &Path) -> Invocation {
        let app: AppName = "app".parse().unwrap();
        let archive = pack(dir).unwrap();
        let source = Source::Archive { sha256: Digest::of(&archive), bytes: archive.len() as u64 };
        let key = Key::Archive(app.clone(), Digest::of(&archive));
        if self.store.head(&key).await.is_err() {
            self.store.put(&key, PutObject::create(archive)).await.unwrap();
        }
        let number = self.functions.fetch_add(1, Ordering::Relaxed);
        let label = format!("0.0.1-{number:012}");
        let version = Arc::new(Version {
            format,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Version::new(&label, source, Limits::default(), Time(0)).unwrap()
        });
        let function = Arc::new(Function {
            name: "f".parse().unwrap(),
            route: "/f".parse().unwrap(),
            kind: Kind::Async,
            version: version.id.clone(),
            config: Config::new(),
            annotations: BTreeMap::new(),
            created_at: Time(0),
            updated_at: Time(0),
            nonce: Nonce::new(1),
        });
        Invocation {
            app,
            app_config: Config::new().into(),
            function,
            version,
            call: CallId::single(Time(1_700_000_000_000), 7),
            attempt: 1,
            env: Vec::new(),
            headers: BTreeMap::new(),
            content_type: None,
            payload: Default::default(),
            execution_log: ExecutionLog::default(),
        }
    }

    pub fn work_dir(&self) -> &Path {
        self.work_dir.path()
    }

    pub async fn run(&self, work: &Invocation, payload: impl Into<Bytes>) -> Result<Execution, Fault> {
        self.pool
            .run(Invocation {
                payload: payload.into().into(),
                execution_log: ExecutionLog::default(),
                ..work.clone()
            })
            .await
    }

    /// The answer of a call that succeeds.
    pub async fn answer(&self, work: &Invocation, payload: impl Into<Bytes>) -> Bytes {
        match self.run(work, payload).await.unwrap() {
            Execution { verdict: Verdict::Success { body, .. }, .. } => body.to_bytes().unwrap(),
            run => panic!("{:?}\n{}", run.verdict, String::from_utf8_lossy(&run.log)),
        }
    }

    pub async fn text(&self, work: &Invocation, payload: impl Into<Bytes>) -> String {
        String::from_utf8(self.answer(work, payload).await.to_vec()).unwrap()
    }

    /// Reason and log of a call that fails.
    pub async fn failure(&self, work: &Invocation, payload: impl Into<Bytes>) -> (String, String) {
        match self.run(work, payload).await.unwrap() {
            Execution { verdict: Verdict::Error { reason }, log, .. } => {
                (reason, String::from_utf8(log.to_vec()).unwrap())
            }
            run => panic!("{:?}", run.verdict),
        }
    }

    /// What keeps a call from being run.
    pub async fn fault(&self, work: &Invocation) -> String {
        match self.run(work, "").await {
            Err(Fault::Function(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}
