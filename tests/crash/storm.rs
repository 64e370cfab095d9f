//! The `afn` binary, several processes at once on one file: workers, submitters of single calls and of batches, resumes.
//! One after another is killed at a random moment. At the end one worker drains what is left, and everything is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use afn::backend::sqlite::Sqlite;
use afn::context::Opened;
use afn::layout::batch::Batch;
use afn::layout::{Key, key, object};
use afn::limits;
use afn::model::{AppName, BatchId, CallId, Time};
use afn::seam::clock::SystemClock;
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, List};
use afn::seam::{Clock, Deps, RngExt as _, StoreExt as _};
use afn::worker::upkeep::resend_lost;

use super::audit::{Audit, Expected, Facts, Right, audit};
use super::sound::check_file;
use super::{figures, kills};
use crate::support::world::{APP, World};

/// Says in a file that it ran, then answers with what can be foretold, fails, answers at length, or takes its time.
const FUNCTION: &str = r#"read -r n
printf . >>"$RAN"
[ $((n % 10)) != 1 ] || sleep 0.2
[ $((n % 20)) != 3 ] || { echo "refused $n" >&2; exit 3; }
[ $((n % 50)) != 7 ] || { printf '%020000d' "$n"; exit; }
echo $((n * 7 + 3))
"#;

fn right(n: u64) -> Right {
    match n {
        _ if n % 20 == 3 => Right::Failure(format!("exit code 3: refused {n}")),
        _ if n % 50 == 7 => Right::Answer(format!("{n:020000}").into_bytes()),
        _ => Right::Answer(format!("{}\n", n * 7 + 3).into_bytes()),
    }
}

/// Records of one batch.
const RECORDS: u64 = 300;
/// Of single calls there are fewer than this; a batch's records lie above.
const SINGLES_MAX: u64 = 1_000_000;

/// What the record of the batch from source `n.txt` holds.
fn record(location: &str, number: u64) -> u64 {
    let name = location.rsplit('/').next().expect("a name");
    let source: u64 = name.trim_end_matches(".txt").parse().expect("a number");
    SINGLES_MAX * source + number
}

/// Between two kills.
const CALM_MS_MAX: u64 = 120;
const WORKERS: usize = 3;
const SUBMITTERS: usize = 3;
/// Kills between two looks at the file, and for each source of a batch.
const LOOK_EVERY: u64 = 50;
const KILLS_PER_BATCH: u64 = 60;
/// For the last worker to drain all that is left.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a process is there for.
#[derive(Clone)]
enum Task {
    Work,
    Call { n: u64, key: bool },
    Batch { source: u64 },
    Resume(BatchId),
}

struct Process {
    task: Task,
    child: Child,
    said: PathBuf,
}

impl Process {
    fn said(&self, ending: &str) -> String {
        fs::read_to_string(self.said.with_extension(ending)).expect("what it said")
    }

    /// Kills it, unless it has just ended.
    fn kill(&mut self) -> Option<ExitStatus> {
        self.child.kill().expect("kill");
        let status = self.child.wait().expect("wait");
        status.signal().is_none().then_some(status)
    }
}

/// The reconciler's clock: what is left was stored long ago.
struct Ahead;

#[async_trait::async_trait]
impl Clock for Ahead {
    fn now(&self) -> Time {
        SystemClock.now().plus_ms(2 * limits::ms(limits::RESEND_AFTER))
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

struct Storm {
    world: World,
    opened: Opened,
    app: AppName,
    dice: SeededRng,
    started: u64,
    calls: BTreeMap<CallId, u64>,
    /// Acknowledged whole, by submitter or resume.
    batches: BTreeSet<BatchId>,
    next_call: u64,
    next_source: u64,
    sources: u64,
    lost_workers: BTreeSet<String>,
    /// What calls were sent whose submitters were killed.
    cut_off: BTreeSet<u64>,
    facts: Facts,
    kills: BTreeMap<&'static str, u64>,
}

impl Storm {
    async fn gather(sources: u64) -> Storm {
        let world = World::embedded();
        let ran = world.work().join("ran");
        let more = format!("type: async\nconfig:\n  RAN: {}\n", ran.display());
        world.deploy_to(APP, "f", &more, FUNCTION).await;
        fs::create_dir(world.work().join("said")).expect("a folder");
        for source in 1..=sources {
            let lines = (1..=RECORDS).map(|number| format!("{}\n", SINGLES_MAX * source + number));
            world.write(&format!("{source}.txt"), lines.collect::<String>());
        }
        Storm {
            opened: world.open().await,
            world,
            app: APP.parse().expect("a name"),
            dice: figures::dice("AFN_CRASH_SEED"),
            started: 0,
            calls: BTreeMap::new(),
            batches: BTreeSet::new(),
            next_call: 0,
            next_source: 0,
            sources,
            lost_workers: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            facts: Facts::default(),
            kills: BTreeMap::new(),
        }
    }

    fn start(&mut self, task: Task) -> Process {
        self.started += 1;
        let said = self.world.work().join("said").join(self.started.to_string());
        let mut command = self.world.std_command();
        match &task {
            Task::Work => command.args(["worker", "-j", "2", "--visibility", "3s"]),
            Task::Call { n, key } => {
                command.args(["submit", APP, "/f", "--data", &n.to_string()]);
                if *key { command.args(["--idempotency-key", &format!("key {n}")]) } else { &mut command }
            }
            Task::Batch { source } => command.args(["batch", "submit", APP, "/f", &format!("{source}.txt")]),
            Task::Resume(batch) => command.args(["batch", "resume", &batch.to_string()]),
        };
        let create = |ending| File::create(said.with_extension(ending)).expect("a file");
        let child = command.stdout(create("out")).stderr(create("err")).spawn().expect("spawn");
        Process { task, child, said }
    }

    /// What the next submitter does.
    fn next_task(&mut self) -> Task {
        if self.next_source < self.sources && self.dice.below(8) == 0 {
            self.next_source += 1;
            return Task::Batch { source: self.next_source };
        }
        self.next_call += 1;
        assert!(self.next_call < SINGLES_MAX);
        Task::Call { n: self.next_call, key: self.dice.below(2) == 0 }
    }

    /// It ended by itself.
    fn ended(&mut self, process: &Process, status: ExitStatus) -> Task {
        assert!(status.success(), "{status}: {}", process.said("err"));
        match process.task {
            Task::Work => panic!("a worker ended by itself: {}", process.said("err")),
            Task::Call { n, .. } => {
                let call = process.said("out").trim().parse().expect("an id");
                let before = self.calls.insert(call, n);
                assert!(before.is_none_or(|before| before == n), "{call} is the id of {before:?} and of {n}");
            }
            Task::Batch { .. } => {
                let told: serde_json::Value = serde_json::from_str(&process.said("out")).expect("JSON");
                assert_eq!(told["calls"], RECORDS, "{told}");
                self.batches.insert(told["batch_id"].as_str().expect("an id").parse().expect("an id"));
            }
            Task::Resume(batch) => {
                self.batches.insert(batch);
            }
        }
        self.next_task()
    }

    /// It was killed: whoever comes after it goes on where that can be done.
    async fn killed(&mut self, process: &Process) -> Task {
        if let Task::Call { n, .. } = process.task {
            self.cut_off.insert(n);
        }
        let (what, next) = match process.task.clone() {
            Task::Work => {
                let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                self.lost_workers.insert(format!("{name}-{}", process.child.id()));
                ("workers", Task::Work)
            }
            Task::Call { n, key: true } => ("submitters of calls", Task::Call { n, key: true }),
            Task::Call { key: false, .. } => ("submitters of calls", self.next_task()),
            Task::Batch { source } => match self.batch_from(source).await {
                Some(batch) => ("submitters of batches", Task::Resume(batch)),
                None => ("submitters of batches", Task::Batch { source }),
            },
            task @ Task::Resume(_) => ("resumes", task),
        };
        *self.kills.entry(what).or_default() += 1;
        next
    }

    /// The newest batch of this source that can be resumed.
    async fn batch_from(&self, source: u64) -> Option<BatchId> {
        let mut all = self.all_batches().await;
        all.retain(|(_, batch)| batch.source.location.ends_with(&format!("/{source}.txt")));
        all.last().map(|(id, _)| *id)
    }

    async fn all_batches(&self) -> Vec<(BatchId, Batch)> {
        let store = &self.opened.deps.store;
        let mut all = Vec::new();
        for entry in store.list_all(List::all(key::pointers())).await.expect("a list").entries {
            let Ok(Key::Pointer(batch)) = entry.key.parse() else { panic!("{} is no pointer", entry.key) };
            let name = Key::Batch(self.app.clone(), batch);
            if let Ok(object) = store.get(&name, ByteRange::Whole(u64::MAX)).await {
                all.push((batch, object::decode(&name, &object.body).expect("a batch")));
            }
        }
        all
    }

    async fn blow(&mut self, wanted: u64) {
        let mut processes: Vec<Process> = (0..WORKERS).map(|_| self.start(Task::Work)).collect();
        for _ in 0..SUBMITTERS {
            let task = self.next_task();
            processes.push(self.start(task));
        }
        let mut killed = 0;
        while killed < wanted {
            tokio::time::sleep(Duration::from_micros(self.dice.below(1_000 * CALM_MS_MAX))).await;
            for process in &mut processes {
                if let Some(status) = process.child.try_wait().expect("wait") {
                    let next = self.ended(process, status);
                    *process = self.start(next);
                }
            }
            let victim = self.dice.below(processes.len() as u64) as usize;
            let next = match processes[victim].kill() {
                Some(status) => self.ended(&processes[victim], status),
                None => {
                    killed += 1;
                    self.killed(&processes[victim]).await
                }
            };
            if killed % LOOK_EVERY == 0 {
                check_file(&self.file());
                self.facts.look(&*self.opened.deps.store, &self.app).await;
            }
            processes[victim] = self.start(next);
        }
        for mut process in processes {
            // Nobody goes on.
            let _ = match process.kill() {
                Some(status) => self.ended(&process, status),
                None => self.killed(&process).await,
            };
        }
    }

    /// Nobody is killed any more: every batch is submitted to its end, and everything is drained; then what nobody sent is
    /// sent, and drained. How many that were.
    async fn settle(&mut self) -> u64 {
        for (batch, _) in self.all_batches().await {
            self.world.afn(&format!("batch resume {batch}")).await.ok();
            self.batches.insert(batch);
        }
        self.drain().await;
        let open = self.open_calls().await;
        let strange: Vec<&u64> = open.iter().filter(|n| !self.cut_off.contains(n)).collect();
        assert!(strange.is_empty(), "calls whose submitters lived, without outcome: {strange:?}");
        let late = Sqlite::open(self.file(), Arc::new(Ahead)).expect("open");
        let deps = Deps { store: late.store(), ..self.opened.deps.clone() };
        let sent = resend_lost(&deps).await.expect("what is lost is sent again");
        assert_eq!(sent, open.len() as u64, "the reconciler sends what has no outcome");
        self.drain().await;
        sent
    }

    /// What stored single calls without an outcome were sent.
    async fn open_calls(&self) -> Vec<u64> {
        let store = &self.opened.deps.store;
        let listed = store.list_all(List::all(key::calls(&self.app))).await.expect("a list");
        let keys: BTreeSet<Key> =
            listed.entries.iter().map(|entry| entry.key.parse().expect("a key of the layout")).collect();
        let mut open = Vec::new();
        for key in &keys {
            let Key::Payload(app, call) = key else { continue };
            if !keys.contains(&Key::Status(app.clone(), *call)) {
                let payload = store.get(key, ByteRange::Whole(u64::MAX)).await.expect("a payload").body;
                let text = std::str::from_utf8(&payload).expect("text");
                open.push(text.parse().expect("a number"));
            }
        }
        open
    }

    async fn drain(&self) {
        let begun = SystemClock.monotonic();
        let mut command = self.world.std_command();
        command.args(["worker", "-j", "4", "--visibility", "3s", "--drain"]);
        let quiet = || std::process::Stdio::null();
        let mut last = command.stdout(quiet()).stderr(quiet()).spawn().expect("spawn");
        loop {
            if let Some(status) = last.try_wait().expect("wait") {
                assert!(status.success(), "the last worker failed: {status}");
                return;
            }
            if SystemClock.monotonic() - begun > PATIENCE {
                let _ = last.kill();
                panic!("the queues are not dry after {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn file(&self) -> PathBuf {
        self.world.database()
    }

    /// And how many facts there are.
    async fn judge(&mut self) -> (Audit, usize) {
        check_file(&self.file());
        let store = &*self.opened.deps.store;
        let facts = self.facts.look(store, &self.app).await;
        let expected = Expected {
            app: &self.app,
            calls: &self.calls,
            batches: &self.batches,
            record: &record,
            right: &right,
            lost_workers: &self.lost_workers,
        };
        let audit = audit(store, &expected).await;
        for (name, lane) in self.opened.deps.queues.all() {
            let (live, dead) = (lane.live.depth().await, lane.dead.depth().await);
            assert!(live.expect("a depth").is_dry() && dead.expect("a depth").is_dry(), "{name} is not dry");
        }
        (audit, facts)
    }

    /// Lines of all workers with this in them.
    fn told(&self, what: &str) -> usize {
        let files = fs::read_dir(self.world.work().join("said")).expect("a folder");
        let texts = files.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a text"));
        texts.map(|text| text.lines().filter(|line| line.contains(what)).count()).sum()
    }
}

#[tokio::test]
async fn every_accepted_call_has_its_one_outcome_however_many_processes_are_killed() {
    let wanted = kills();
    let mut storm = Storm::gather(wanted / KILLS_PER_BATCH + 2).await;
    storm.blow(wanted).await;
    let resent = storm.settle().await;
    let (audit, facts) = storm.judge().await;
    let ran = fs::metadata(storm.world.work().join("ran")).expect("it ran").len();
    figures::tell(&format!(
        "kills: {:?}; accepted: {} calls, {} batches; sent by the reconciler: {resent}; {}; {ran} executions; {} messages came \
         back; {facts} facts, none changed",
        storm.kills,
        storm.calls.len(),
        storm.batches.len(),
        audit.figures(),
        storm.told("came back from a lost worker"),
    ));
    audit.assert_clean();
    assert!(storm.calls.len() as u64 > wanted / 10 && audit.rows > 0, "hardly anything was accepted");
    assert!(storm.told("came back from a lost worker") > 0, "no kill hit a call");
}
