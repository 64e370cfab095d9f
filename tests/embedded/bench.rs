//! A process executor over a store in memory, and functions to run on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use afn::backend::memory::MemoryStore;
use afn::deploy::pack::pack;
use afn::executor::{Pool, ProcessLauncher, ProcessOptions};
use afn::layout::Key;
use afn::model::{
    AppName, CallId, Config, Digest, Format, Function, Kind, Limits, Nonce, Source, Time, Version,
};
use afn::seam::Heard;
use afn::seam::clock::SystemClock;
use afn::seam::executor::{Executor as _, Fault, Run, Verdict, Work};
use afn::seam::store::{PutObject, Store as _};
use bytes::Bytes;
use tempfile::TempDir;

pub struct Bench {
    pub store: Arc<MemoryStore>,
    pub pool: Pool,
    work_dir: TempDir,
    functions: AtomicU32,
}

impl Bench {
    pub fn new() -> Bench {
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let work_dir = tempfile::tempdir().unwrap();
        let launcher = ProcessLauncher::new(ProcessOptions {
            archives: store.clone(),
            clock: clock.clone(),
            work_dir: work_dir.path().to_owned(),
        });
        let pool = Pool::new(Arc::new(launcher), clock, 8);
        Bench { store, pool, work_dir, functions: AtomicU32::new(0) }
    }

    /// A call of a function that consists of these files.
    pub async fn function(&self, format: Format, command: &[&str], files: &[(&str, &str)]) -> Work {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        self.folder(format, command, dir.path()).await
    }

    /// A call of the function in a folder.
    pub async fn folder(&self, format: Format, command: &[&str], dir: &Path) -> Work {
        let app: AppName = "app".parse().unwrap();
        let archive = pack(dir).unwrap();
        let source = Source::Archive { sha256: Digest::of(&archive), bytes: archive.len() as u64 };
        let key = Key::Archive(app.clone(), Digest::of(&archive)).to_string();
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
            v: 1,
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
        Work {
            app,
            app_config: Config::new().into(),
            function,
            version,
            call: CallId::single(Time(1_700_000_000_000), 7),
            attempt: 1,
            headers: BTreeMap::new(),
            content_type: None,
            payload: Default::default(),
            heard: Heard::default(),
        }
    }

    pub fn work_dir(&self) -> &Path {
        self.work_dir.path()
    }

    pub async fn run(&self, work: &Work, payload: impl Into<Bytes>) -> Result<Run, Fault> {
        self.pool.run(Work { payload: payload.into().into(), heard: Heard::default(), ..work.clone() }).await
    }

    /// The answer of a call that succeeds.
    pub async fn answer(&self, work: &Work, payload: impl Into<Bytes>) -> Bytes {
        match self.run(work, payload).await.unwrap() {
            Run { verdict: Verdict::Success { body, .. }, .. } => body.to_bytes().unwrap(),
            run => panic!("{:?}\n{}", run.verdict, String::from_utf8_lossy(&run.log)),
        }
    }

    pub async fn text(&self, work: &Work, payload: impl Into<Bytes>) -> String {
        String::from_utf8(self.answer(work, payload).await.to_vec()).unwrap()
    }

    /// Reason and log of a call that fails.
    pub async fn failure(&self, work: &Work, payload: impl Into<Bytes>) -> (String, String) {
        match self.run(work, payload).await.unwrap() {
            Run { verdict: Verdict::Error { reason }, log, .. } => {
                (reason, String::from_utf8(log.to_vec()).unwrap())
            }
            run => panic!("{:?}", run.verdict),
        }
    }

    /// What keeps a call from being run.
    pub async fn fault(&self, work: &Work) -> String {
        match self.run(work, "").await {
            Err(Fault::Function(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}
