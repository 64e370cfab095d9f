//! Opens a context: its backend, counted, then retried, with the machine's own clock and randomness.

use std::sync::Arc;

use super::{Context, Env, Kind, QueueNames, remote};
use crate::backend::sqlite::Sqlite;
use crate::error::{Error, Result};
use crate::event::Listener;
use crate::seam::clock::SystemClock;
use crate::seam::count::{CountQueue, CountStore, Counts};
use crate::seam::queue::Lane;
use crate::seam::retry::{Policy, RetryQueue, RetryStore};
use crate::seam::rng::SystemRng;
use crate::seam::{Clock, Queue, Queues, Rng, Seams, Store};

/// The file of a `local` context, in its folder.
pub const FILE: &str = "afn.db";

/// A context ready for use.
#[derive(Clone)]
pub struct Opened {
    pub seams: Seams,
    /// Every request that was made, those that were repeated too.
    pub counts: Arc<Counts>,
}

/// Opens what is there; bucket and queues are not asked for before they are used.
pub async fn open(context: &Context, events: Arc<dyn Listener>) -> Result<Opened> {
    let machine = Machine::telling(events);
    let (store, queues) = match context.kind {
        Kind::Local => local(context, &machine)?,
        Kind::Localstack | Kind::Aws => remote::open(context, &machine).await?,
    };
    let Machine { clock, rng, counts, events } = machine;
    Ok(Opened { seams: Seams { store, queues, clock, rng, events }, counts })
}

/// Opens a bucket that is not the context's own, to be read.
pub async fn open_bucket(
    context: &Context,
    env: &Env,
    bucket: &str,
    events: Arc<dyn Listener>,
) -> Result<Arc<dyn Store>> {
    remote::bucket(context, env, bucket, &Machine::telling(events)).await
}

/// What the decorators around store and queues share.
pub(super) struct Machine {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    counts: Arc<Counts>,
    events: Arc<dyn Listener>,
}

impl Machine {
    fn telling(events: Arc<dyn Listener>) -> Machine {
        Machine { clock: Arc::new(SystemClock), rng: Arc::new(SystemRng), counts: Arc::default(), events }
    }

    /// Counted beneath the retries: what a run costs is what was asked.
    pub(super) fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let counted = Arc::new(CountStore::new(store, self.counts.clone()));
        let retried = RetryStore::new(counted, self.clock.clone(), self.rng.clone(), Policy::default());
        Arc::new(retried.telling(self.events.clone()))
    }

    fn queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        let counted = Arc::new(CountQueue::new(queue, self.counts.clone()));
        let retried = RetryQueue::new(counted, self.clock.clone(), self.rng.clone(), Policy::default());
        Arc::new(retried.telling(self.events.clone()))
    }

    pub(super) fn queues(&self, names: &QueueNames, open: impl Fn(&str) -> Arc<dyn Queue>) -> Queues {
        let lane = |name: &str| Lane {
            live: self.queue(open(name)),
            dead: self.queue(open(&QueueNames::dead(name))),
        };
        Queues { calls: lane(&names.calls), chunks: lane(&names.chunks), batches: lane(&names.batches) }
    }
}

fn local(context: &Context, machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    let dir = context.data_dir()?;
    std::fs::create_dir_all(dir).map_err(|error| {
        Error::unreachable(format!("cannot make the folder {}: {error}", dir.display()))
            .hint(format!("set {} to a folder that can be written", super::env::DATA_DIR.name))
    })?;
    let sqlite = Sqlite::open(dir.join(FILE), machine.clock.clone())?;
    // One file, one context: the queues need no name to tell them apart from another's.
    let names = QueueNames { calls: "calls".into(), chunks: "chunks".into(), batches: "batches".into() };
    Ok((machine.store(sqlite.store()), machine.queues(&names, |name| sqlite.queue(name))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Silent;
    use crate::seam::queue::Outgoing;
    use crate::seam::store::{PutObject, Range};

    #[tokio::test]
    async fn two_open_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut context = Context::new("local".parse().unwrap(), Kind::Local);
        context.data_dir = Some(folder.path().join("deep/data"));
        let one = open(&context, Arc::new(Silent)).await.unwrap();
        let two = open(&context, Arc::new(Silent)).await.unwrap();
        one.seams.store.put("apps/a/app", PutObject::create("x")).await.unwrap();
        assert_eq!(&two.seams.store.get("apps/a/app", Range::All).await.unwrap().body[..], b"x");
        let lanes = [&one.seams.queues.calls, &two.seams.queues.calls];
        lanes[0].dead.send(vec![Outgoing::new("dead".to_owned())]).await.unwrap();
        lanes[0].live.send(vec![Outgoing::new("live".to_owned())]).await.unwrap();
        let minute = Duration::from_secs(60);
        assert_eq!(lanes[1].live.receive(10, minute, minute).await.unwrap()[0].body, "live");
        assert_eq!(lanes[1].dead.receive(10, minute, minute).await.unwrap()[0].body, "dead");
        assert!(two.seams.queues.chunks.live.depth().await.unwrap().is_dry());
        assert_eq!((one.counts.snapshot().requests(), two.counts.snapshot().requests()), (3, 4));
        assert!(folder.path().join("deep/data").join(FILE).is_file());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let mut context = Context::new("local".parse().unwrap(), Kind::Local);
        context.data_dir = Some(folder.path().join("file/data"));
        let error = open(&context, Arc::new(Silent)).await.err().unwrap();
        assert!(error.message().contains("file/data"), "{error}");
        assert!(error.hint_text().unwrap().contains("AFN_DATA_DIR"));
    }
}
