//! What a call left in the bucket: the promise of one outcome, checked on the objects themselves.

use afn::layout::object::{self, Started};
use afn::layout::{Key, key};
use afn::model::{CallId, Digest, Outcome, Stored};
use afn::seam::store::{ByteRange, List};
use afn::seam::{Store, StoreExt as _};

use super::world::World;

/// What there is of a call that is over.
pub struct Left {
    pub outcome: Outcome,
    /// Marks, whoever wrote them.
    pub started: Vec<Started>,
}

/// Exactly one `status`; the result and the log that it names are there and are what it says they are.
pub async fn one_outcome(world: &World, call: CallId) -> Left {
    let store = world.open().await.deps.store;
    let app = world.app();
    let keys = keys(&*store, world, call).await;
    let statuses = keys.iter().filter(|key| matches!(key, Key::Status(..))).count();
    assert_eq!(statuses, 1, "{keys:?}");
    let name = Key::Status(app.clone(), call);
    let outcome: Outcome = object::decode(&name, &get(&*store, &name).await).expect("an outcome");
    assert!(outcome.status.is_final(), "{outcome:?}");

    let named = outcome
        .attempt
        .map(|attempt| (Key::Result(app.clone(), call, attempt), Key::Log(app.clone(), call, attempt)));
    match named {
        Some((result, log)) => {
            check(&*store, &keys, result, outcome.result.as_ref()).await;
            check(&*store, &keys, log, outcome.log.as_ref()).await;
        }
        None => assert!(outcome.result.is_none() && outcome.log.is_none(), "{outcome:?}"),
    }

    let mut started = Vec::new();
    for key in keys.iter().filter(|key| matches!(key, Key::Started(..))) {
        started.push(object::decode(key, &get(&*store, key).await).expect("a mark"));
    }
    Left { outcome, started }
}

/// How many marks there are that the call has begun.
pub async fn marks(world: &World, call: CallId) -> usize {
    let store = world.open().await.deps.store;
    keys(&*store, world, call).await.iter().filter(|key| matches!(key, Key::Started(..))).count()
}

async fn keys(store: &dyn Store, world: &World, call: CallId) -> Vec<Key> {
    let listed = store.list_all(List::all(key::call(&world.app(), call))).await.expect("a list");
    listed.entries.iter().map(|entry| entry.key.parse().expect("a key of the layout")).collect()
}

async fn check(store: &dyn Store, keys: &[Key], key: Key, stored: Option<&Stored>) {
    assert_eq!(keys.contains(&key), stored.is_some(), "{key}");
    if let Some(stored) = stored {
        let body = get(store, &key).await;
        assert_eq!((body.len() as u64, Digest::of(&body)), (stored.bytes, stored.sha256.clone()), "{key}");
    }
}

async fn get(store: &dyn Store, key: &Key) -> bytes::Bytes {
    store.get(key, ByteRange::Whole(u64::MAX)).await.unwrap_or_else(|error| panic!("{key}: {error}")).body
}
