//! Opens a context: its backend, counted, then retried, with the machine's own clock and randomness.

use std::sync::Arc;

use super::machine::Machine;
use super::{Context, DataBucket, Env, Kind, QueueNames, remote};
use crate::backend::sqlite::Sqlite;
use crate::error::{Error, Result};
use crate::event::Listener;
use crate::seam::count::Counts;
use crate::seam::{Deps, Queues, Secrets, Store};
use crate::store_id::{Origin, StampQueue};

/// The file of a `local` context, in its folder.
pub const FILE: &str = "afn.db";

/// A context ready for use.
#[derive(Clone)]
pub struct Opened {
    pub deps: Deps,
    /// Every request that was made, those that were repeated too.
    pub counts: Arc<Counts>,
}

/// Opens what is there; bucket and queues are not asked for before they are used.
pub async fn open(context: &Context, events: Arc<dyn Listener>) -> Result<Opened> {
    let machine = Machine::new(events);
    let (store, mut queues) = match context.kind {
        Kind::Local => local(context, &machine)?,
        Kind::Localstack | Kind::Aws => remote::open(context, &machine).await?,
    };
    let Machine { clock, rng, counts, events } = machine;
    let origin = Origin::new(store.clone(), clock.clone(), rng.clone(), events.clone());
    for lane in [&mut queues.calls, &mut queues.chunks, &mut queues.batches] {
        lane.live = Arc::new(StampQueue::new(lane.live.clone(), origin.clone()));
    }
    Ok(Opened { deps: Deps { store, queues, clock, rng, events }, counts })
}

/// Opens a bucket. Its requests are counted with those of `counts`.
pub async fn open_bucket(
    context: &Context,
    env: &Env,
    bucket: &DataBucket,
    counts: Arc<Counts>,
    events: Arc<dyn Listener>,
) -> Result<Arc<dyn Store>> {
    remote::bucket(context, env, bucket, &Machine { counts, ..Machine::new(events) }).await
}

/// The secrets of AWS that config values may name.
pub fn open_secrets(context: &Context, env: &Env, events: Arc<dyn Listener>) -> Result<Arc<dyn Secrets>> {
    remote::secrets(context, env, &Machine::new(events))
}

fn local(context: &Context, machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    let dir = context.data_dir()?;
    crate::folder::make(dir).map_err(|error| {
        Error::unreachable(format!("cannot make the folder {}: {error}", dir.display()))
            .with_hint(format!("set {} to a folder that can be written", super::env::DATA_DIR.name))
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
    use crate::layout::Key;
    use crate::seam::queue::Outgoing;
    use crate::seam::store::{ByteRange, PutObject};

    #[tokio::test]
    async fn two_open_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut context = Context::new("local".parse().unwrap(), Kind::Local);
        context.data_dir = Some(folder.path().join("deep/data"));
        let one = open(&context, Arc::new(Silent)).await.unwrap();
        let two = open(&context, Arc::new(Silent)).await.unwrap();
        one.deps.store.put(&Key::text("apps/a/app"), PutObject::create("x")).await.unwrap();
        assert_eq!(
            &two.deps.store.get(&Key::text("apps/a/app"), ByteRange::Whole(u64::MAX)).await.unwrap().body[..],
            b"x"
        );
        let lanes = [&one.deps.queues.calls, &two.deps.queues.calls];
        lanes[0].dead.send(vec![Outgoing::new("dead".to_owned())]).await.unwrap();
        lanes[0].live.send(vec![Outgoing::new("live".to_owned())]).await.unwrap();
        let minute = Duration::from_secs(60);
        assert_eq!(lanes[1].live.receive(10, minute, minute).await.unwrap()[0].body, "live");
        assert_eq!(lanes[1].dead.receive(10, minute, minute).await.unwrap()[0].body, "dead");
        assert!(two.deps.queues.chunks.live.depth().await.unwrap().is_dry());
        assert_eq!((one.counts.snapshot().requests(), two.counts.snapshot().requests()), (5, 4));
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
