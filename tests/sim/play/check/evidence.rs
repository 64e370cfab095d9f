//! Nobody is condemned without evidence: three marks that say `alone`, under one message or carried by it (H4, N7).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use afn::layout::batch::Mark;
use afn::layout::object::{self, Started};
use afn::layout::{Key, key};
use afn::limits;
use afn::model::{BatchId, CallId, MessageId, State};
use afn::seam::StoreExt as _;
use afn::seam::store::{List, Range, Store as _};

use super::super::{Seen, Stage};
use super::{Invariant, Verdict};

pub async fn condemned_on_evidence(stage: &Stage, seen: &Seen) -> Verdict {
    for call in seen.calls.with(State::Killed) {
        let marks = of_call(stage, call).await;
        enough(stage, 0, &marks, || format!("{call}"))?;
    }
    let mut of_batches: BTreeMap<BatchId, Vec<(u64, MessageId, Mark)>> = BTreeMap::new();
    for (batch, number) in seen.batches.with(State::Killed) {
        if let Entry::Vacant(unread) = of_batches.entry(batch) {
            unread.insert(of_batch(stage, batch).await);
        }
        let mut marks: BTreeMap<MessageId, u32> = BTreeMap::new();
        for (_, message, mark) in &of_batches[&batch] {
            let names = mark.calls.iter().any(|(first, last)| (*first..=*last).contains(&number));
            *marks.entry(*message).or_default() += u32::from(names && mark.alone);
        }
        enough(stage, number, &marks, || format!("call {number} of {batch}"))?;
    }
    Ok(())
}

fn enough(stage: &Stage, number: u64, marks: &BTreeMap<MessageId, u32>, who: impl Fn() -> String) -> Verdict {
    let carried = stage.world.guard.carried();
    let of = |message: &MessageId| {
        marks.get(message).unwrap_or(&0) + carried.get(&(*message, number)).unwrap_or(&0)
    };
    let most = marks.keys().map(of).max().unwrap_or(0);
    if most >= limits::ALONE_MARKS_MAX {
        return Ok(());
    }
    Err(Invariant::Truthful.broken(format!("{} was condemned on {most} marks: {marks:?}", who())))
}

async fn of_call(stage: &Stage, call: CallId) -> BTreeMap<MessageId, u32> {
    let mut marks = BTreeMap::new();
    for entry in list(stage, key::started(&stage.app, call)).await {
        let Ok(Key::Started(_, _, delivery)) = entry.parse() else { continue };
        let mark: Started = object::decode(&entry, &read(stage, &entry).await).expect("a mark can be read");
        *marks.entry(delivery.message).or_default() += u32::from(mark.alone && mark.careful);
    }
    marks
}

async fn of_batch(stage: &Stage, batch: BatchId) -> Vec<(u64, MessageId, Mark)> {
    let mut marks = Vec::new();
    for entry in list(stage, format!("{}marks/", key::batch(&stage.app, batch))).await {
        let Ok(Key::Mark(_, _, chunk, delivery, _)) = entry.parse() else { continue };
        let mark = object::decode(&entry, &read(stage, &entry).await).expect("a mark can be read");
        marks.push((chunk, delivery.message, mark));
    }
    marks
}

async fn list(stage: &Stage, prefix: String) -> Vec<String> {
    let listed = stage.world.store.list_all(List::all(prefix)).await.expect("the store never fails");
    listed.entries.into_iter().map(|entry| entry.key).collect()
}

async fn read(stage: &Stage, key: &str) -> bytes::Bytes {
    stage.world.store.get(key, Range::All).await.expect("it was just listed").body
}
