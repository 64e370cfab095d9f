//! Opens a context: its backend, counted, then retried, with the machine's own clock and randomness.

use std::sync::Arc;

use super::{Context, Kind, QueueNames};
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
    let machine = Machine { clock: Arc::new(SystemClock), rng: Arc::new(SystemRng), counts: Arc::default() };
    let (store, queues) = match context.kind {
        Kind::Local => local(context, &machine)?,
        Kind::Localstack | Kind::Aws => remote(context, &machine).await?,
    };
    let Machine { clock, rng, counts } = machine;
    Ok(Opened { seams: Seams { store, queues, clock, rng, events }, counts })
}

/// What the decorators around store and queues share.
struct Machine {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    counts: Arc<Counts>,
}

impl Machine {
    /// Counted beneath the retries: what a run costs is what was asked.
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let counted = Arc::new(CountStore::new(store, self.counts.clone()));
        Arc::new(RetryStore::new(counted, self.clock.clone(), self.rng.clone(), Policy::default()))
    }

    fn queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        let counted = Arc::new(CountQueue::new(queue, self.counts.clone()));
        Arc::new(RetryQueue::new(counted, self.clock.clone(), self.rng.clone(), Policy::default()))
    }

    fn queues(&self, names: &QueueNames, open: impl Fn(&str) -> Arc<dyn Queue>) -> Queues {
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

#[cfg(feature = "aws")]
async fn remote(context: &Context, machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    use crate::backend::aws::{S3Store, SqsQueue};

    let connection = connect(context).await?;
    let store = S3Store::new(&connection, context.bucket()?, &context.prefix);
    let queues = machine.queues(&context.queues, |name| Arc::new(SqsQueue::new(&connection, name)));
    Ok((machine.store(Arc::new(store)), queues))
}

#[cfg(feature = "aws")]
pub(super) async fn connect(context: &Context) -> Result<crate::backend::aws::Connection> {
    use crate::backend::aws::{Connection, Place};

    let place = Place {
        endpoint: context.endpoint.clone(),
        region: context.region.clone(),
        profile: context.profile.clone(),
        is_localstack: context.kind == Kind::Localstack,
    };
    Connection::open(&place).await
}

#[cfg(not(feature = "aws"))]
async fn remote(context: &Context, _machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    Err(without_aws(context))
}

#[cfg(not(feature = "aws"))]
pub(super) fn without_aws(context: &Context) -> Error {
    Error::invalid(format!(
        "context `{}` is `{}`, which this afn was built without",
        context.name, context.kind
    ))
    .hint("`cargo install --path .` builds it with S3 and SQS, the feature `aws`")
}
