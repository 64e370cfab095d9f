//! What the worker of `batch run` may run, by the kind of its context.

use super::*;
use crate::backend::memory::{MemoryQueue, MemoryStore};
use crate::catalog::Catalog;
use crate::context::Context;
use crate::event::Silent;
use crate::executor::BatchConfig;
use crate::model::{BatchId, Digest, Limits, Time};
use crate::seam::Deps;
use crate::seam::executor::{Mismatch, Work};
use crate::seam::queue::{QueuePair, Queues};
use crate::seam::rng::SeededRng;

fn engine(kind: Kind, home: &std::path::Path) -> Engine {
    let clock = Arc::new(SystemClock);
    let lane = || QueuePair {
        live: Arc::new(MemoryQueue::new(clock.clone())),
        dead: Arc::new(MemoryQueue::new(clock.clone())),
    };
    let deps = Deps {
        store: Arc::new(MemoryStore::new(clock.clone())),
        queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
        rng: Arc::new(SeededRng::new(1)),
        events: Arc::new(Silent),
        clock,
    };
    let mut context = Context::new("c".parse().unwrap(), kind);
    context.region = Some("eu-west-1".to_owned());
    let home = home.to_str().unwrap();
    Engine {
        context,
        env: [("HOME", home), ("XDG_RUNTIME_DIR", home), ("DOCKER_HOST", "/nowhere/docker.sock")]
            .into_iter()
            .collect(),
        catalog: Catalog::new(deps.clone()),
        deps,
        counts: Default::default(),
        webhook_allow: Vec::new(),
    }
}

fn archive(label: &str) -> Version {
    let source = Source::Archive { sha256: Digest::of(b""), bytes: 0 };
    Version::new(label, source, Limits::default(), Time(0)).unwrap()
}

fn own(version: Version) -> Arc<OwnBatch> {
    let own = OwnBatch::new("a".parse().unwrap(), "f".parse().unwrap(), version, BatchConfig::default());
    own.begin(BatchId::new(Time(1), 7 << 40));
    Arc::new(own)
}

/// Of the own batch, of another version in it, and of another batch of the same version.
async fn accepted(engine: &Engine, own: &Arc<OwnBatch>) -> [Result<(), Mismatch>; 3] {
    let executors = open(engine, 1, Scope::Own(own)).await.unwrap();
    let (batch, other) = (BatchId::new(Time(1), 7 << 40), BatchId::new(Time(1), 8 << 40));
    [(own.version.clone(), batch), (archive("other"), batch), (own.version.clone(), other)].map(
        |(version, batch)| {
            let work = Work { app: &own.app, function: &own.function, version: &version, batch: Some(batch) };
            executors.executor.accepts(&work)
        },
    )
}

#[tokio::test]
async fn a_batch_of_a_shared_context_makes_this_machine_work_for_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let own = own(archive("own"));
    let refused = Err(Mismatch("this worker runs the calls of its own batch only".to_owned()));
    for kind in [Kind::Aws, Kind::Localstack] {
        let accepted = accepted(&engine(kind, home.path()), &own).await;
        assert_eq!(accepted, [Ok(()), refused.clone(), refused.clone()], "{kind:?}");
    }
    assert_eq!(accepted(&engine(Kind::Local, home.path()), &own).await, [Ok(()), Ok(()), Ok(())]);
}

/// An image of another user would be fetched with the login of this one.
#[tokio::test]
async fn a_batch_of_a_shared_context_needs_docker_for_its_own_image_alone() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Kind::Aws, home.path());
    let image = Source::Image { reference: "busybox".to_owned(), digest: None };
    let image = Version::new("own", image, Limits::default(), Time(0)).unwrap();
    let why = open(&engine, 1, Scope::Own(&own(image))).await.err().unwrap();
    assert!(why.message().contains("/nowhere/docker.sock"), "{why}");
}
