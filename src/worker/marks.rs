//! Marks are facts that a worker writes under the message and delivery that it works on. `Among`, `Sole` and `Alone` name calls that
//! are about to run. When the worker is lost, the message comes again, and such a mark of its earlier delivery is a **loss mark** of
//! the calls that it names: it counts against each of them. The other kinds are no evidence of a loss.
//!
//! A worker that has lived to the end of a delivery voids all its marks, so that they count against nobody. Single calls and calls of
//! a chunk share one set of rules.

use std::collections::BTreeSet;

use super::{Abandoned, Shared};
use crate::layout::batch::Mark;
use crate::layout::object::{self, MarkKind, Started};
use crate::layout::runs::ordered_contain;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, AttemptHistory, BatchId, CallId, DeliveryId, MarkId, MessageId};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::store::{List, PutObject, StoreError};

/// Where the marks of a message lie.
#[derive(Debug, Clone)]
pub enum MarkLocation {
    Call(AppName, CallId),
    Chunk(AppName, BatchId, u64),
}

/// A mark of an earlier delivery that was not voided.
#[derive(Debug, Clone)]
pub struct EarlierMark {
    pub id: MarkId,
    pub kind: MarkKind,
    /// Which calls of a chunk it names, in runs. Empty for a single call.
    calls: Vec<(u64, u64)>,
    /// What had ended when it was written. Known for single calls alone.
    pub history: AttemptHistory,
}

impl EarlierMark {
    pub fn names(&self, number: u64) -> bool {
        ordered_contain(&self.calls, number)
    }
}

impl MarkLocation {
    fn prefix(&self, message: MessageId) -> String {
        match self {
            MarkLocation::Call(app, call) => format!("{}{message}.", key::started(app, *call)),
            MarkLocation::Chunk(app, batch, chunk) => {
                format!("{}{message}.", key::marks(app, *batch, *chunk))
            }
        }
    }

    fn key(&self, mark: MarkId) -> Key {
        match self.clone() {
            // A single call has one mark a delivery.
            MarkLocation::Call(app, call) => Key::Started(app, call, mark.delivery),
            MarkLocation::Chunk(app, batch, chunk) => Key::Mark(app, batch, chunk, mark),
        }
    }

    fn void_key(&self, delivery: DeliveryId) -> Key {
        match self.clone() {
            MarkLocation::Call(app, call) => Key::Void(app, call, delivery),
            MarkLocation::Chunk(app, batch, chunk) => Key::MarkVoid(app, batch, chunk, delivery),
        }
    }

    fn read(&self, name: &Key, id: MarkId, body: &[u8]) -> Result<EarlierMark, Abandoned> {
        Ok(match self {
            MarkLocation::Call(..) => {
                let mark: Started = object::decode(name, body)?;
                EarlierMark { id, kind: mark.kind, calls: Vec::new(), history: mark.history() }
            }
            MarkLocation::Chunk(..) => {
                let mark: Mark = object::decode(name, body)?;
                EarlierMark { id, kind: mark.kind, calls: mark.calls, history: AttemptHistory::default() }
            }
        })
    }
}

/// The marks of earlier deliveries of this message. Those of other messages do not count (N9).
pub async fn of_earlier_deliveries(
    shared: &Shared,
    place: &MarkLocation,
    delivery: DeliveryId,
) -> Result<Vec<EarlierMark>, Abandoned> {
    let DeliveryId { message, delivery } = delivery;
    if delivery <= 1 {
        return Ok(Vec::new());
    }
    let prefix = planted!(place.prefix(message), MarksOfOtherMessages => crate::planted::of_all_messages(place.prefix(message)));
    let is_earlier = |id: &MarkId| id.delivery.delivery < delivery || id.delivery.message != message;
    Ok(under(shared, place, prefix).await?.into_iter().filter(|mark| is_earlier(&mark.id)).collect())
}

/// The marks of all messages to a chunk. Of some of them the worker may still live.
pub async fn of_chunk(
    shared: &Shared,
    app: &AppName,
    batch: BatchId,
    chunk: u64,
) -> Result<Vec<EarlierMark>, Abandoned> {
    let prefix = key::marks(app, batch, chunk);
    under(shared, &MarkLocation::Chunk(app.clone(), batch, chunk), prefix).await
}

/// Those that were not taken back (N3).
async fn under(
    shared: &Shared,
    place: &MarkLocation,
    prefix: impl Into<String>,
) -> Result<Vec<EarlierMark>, Abandoned> {
    let store = &shared.deps.store;
    let listed = store.list_all(List::all(prefix.into())).await?;
    let keys: Vec<Key> = listed.entries.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    let voided: BTreeSet<DeliveryId> = keys.iter().filter_map(void_of).collect();
    let mut marks = Vec::new();
    for key in keys {
        let id = match key {
            Key::Started(_, _, delivery) => MarkId { delivery, n: 1 },
            Key::Mark(_, _, _, id) => id,
            _ => continue,
        };
        if voided.contains(&id.delivery) {
            continue;
        }
        if let Some(mark) = store.find(&key, limits::FACT_BYTES_MAX).await? {
            marks.push(place.read(&key, id, &mark.body)?);
        }
    }
    // In the order in which they were written: names do not sort by the numbers in them.
    marks.sort_by_key(|mark| mark.id);
    Ok(marks)
}

fn void_of(key: &Key) -> Option<DeliveryId> {
    match key {
        Key::Void(_, _, delivery) | Key::MarkVoid(_, _, _, delivery) => Some(*delivery),
        _ => None,
    }
}

/// Reads one mark by its name, whichever message it belongs to; `None` if there is none, or it was taken back. What a message
/// says of marks is no evidence: the marks are.
pub async fn evidence(
    shared: &Shared,
    place: &MarkLocation,
    id: MarkId,
) -> Result<Option<EarlierMark>, Abandoned> {
    let store = &shared.deps.store;
    if store.exists(&place.void_key(id.delivery)).await? {
        return Ok(None);
    }
    let key = place.key(id);
    let Some(mark) = store.find(&key, limits::FACT_BYTES_MAX).await? else { return Ok(None) };
    place.read(&key, id, &mark.body).map(Some)
}

/// Says which calls of a chunk are about to run, or have left their message.
pub async fn put(
    shared: &Shared,
    place: &MarkLocation,
    id: MarkId,
    kind: MarkKind,
    calls: Vec<(u64, u64)>,
) -> Result<(), StoreError> {
    let mark = Mark { calls, kind, worker: shared.config.name.clone(), at: shared.deps.now() };
    create(shared, place.key(id), PutObject::create(object::encode(&mark))).await
}

/// Says that a single call is about to run, or has run for a while.
pub async fn put_started(
    shared: &Shared,
    place: &MarkLocation,
    delivery: DeliveryId,
    started: &Started,
) -> Result<(), StoreError> {
    create(shared, place.key(MarkId { delivery, n: 1 }), PutObject::create(object::encode(started))).await
}

/// Voids all marks of a delivery, because its worker lives (N3), or was not lost while it ran anything. `Given` marks are voided
/// too: should the message come again all the same, the calls that they name run twice.
pub async fn void(shared: &Shared, place: &MarkLocation, delivery: DeliveryId) -> Result<(), StoreError> {
    create(shared, place.void_key(delivery), PutObject::create("")).await
}

/// If the object exists, this worker wrote it, and the answer was lost; or two messages share an id, after a lost answer to
/// their send, and either mark will do.
async fn create(shared: &Shared, key: Key, object: PutObject) -> Result<(), StoreError> {
    shared.deps.store.create(&key, object).await.map(drop)
}

/// Numbers in ascending order, in runs.
pub fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
