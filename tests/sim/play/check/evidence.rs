//! Nobody is condemned without evidence: five lost marks that name the call, three of them from when it was the only suspect
//! on its worker (H4, N7).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use afn::layout::batch::Mark;
use afn::layout::object::{self, MarkKind, Started};
use afn::layout::{Key, key};
use afn::limits;
use afn::model::{BatchId, CallId, State};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, List, Store as _};

use super::super::{Seen, Stage};
use super::{Invariant, Verdict};

pub async fn condemned_on_evidence(stage: &Stage, seen: &Seen) -> Verdict {
    for call in seen.calls.with(State::Killed) {
        enough(&of_call(stage, call).await, || format!("{call}"))?;
    }
    let mut of_batches: BTreeMap<BatchId, Vec<Mark>> = BTreeMap::new();
    for (batch, number) in seen.batches.with(State::Killed) {
        if let Entry::Vacant(unread) = of_batches.entry(batch) {
            unread.insert(of_batch(stage, batch).await);
        }
        let names = |mark: &&Mark| mark.calls.iter().any(|(first, last)| (*first..=*last).contains(&number));
        let kinds: Vec<MarkKind> = of_batches[&batch].iter().filter(names).map(|mark| mark.kind).collect();
        enough(&kinds, || format!("call {number} of {batch}"))?;
    }
    Ok(())
}

fn enough(marks: &[MarkKind], who: impl Fn() -> String) -> Verdict {
    let losses = marks.iter().filter(|kind| kind.names_losses()).count();
    let lone = marks.iter().filter(|kind| kind.is_lone()).count();
    if losses >= limits::LOSSES_MAX && lone >= limits::LONE_LOSSES_MIN {
        return Ok(());
    }
    Err(Invariant::Truthful.broken(format!("{} was condemned on {losses} marks: {marks:?}", who())))
}

async fn of_call(stage: &Stage, call: CallId) -> Vec<MarkKind> {
    let listed = stage.world.store.list_all(List::all(key::started(&stage.app, call))).await;
    let listed = listed.expect("the store never fails").entries;
    let status = stage.world.store.head(&Key::Status(stage.app.clone(), call)).await;
    let decided_at = status.expect("it was decided").modified_at;
    let mut marks = Vec::new();
    for entry in listed.iter().map(|entry| &entry.key) {
        let Ok(Key::Started(app, call, delivery)) = entry.parse() else { continue };
        // Two messages may share an id, after a lost answer to their send: the worker of one voids marks of the other's later on.
        let void = Key::Void(app, call, delivery).to_string();
        if listed.iter().any(|entry| entry.key == void && entry.modified_at <= decided_at) {
            continue;
        }
        let mark: Started = object::decode(entry, &read(stage, entry).await).expect("a mark can be read");
        marks.push(mark.kind);
    }
    marks
}

async fn of_batch(stage: &Stage, batch: BatchId) -> Vec<Mark> {
    let keys = list(stage, format!("{}marks/", key::batch(&stage.app, batch))).await;
    let mut marks = Vec::new();
    for entry in &keys {
        let Ok(Key::Mark(app, batch, chunk, mark)) = entry.parse() else { continue };
        if !keys.contains(&Key::MarkVoid(app, batch, chunk, mark.delivery).to_string()) {
            marks.push(object::decode(entry, &read(stage, entry).await).expect("a mark can be read"));
        }
    }
    marks
}

async fn list(stage: &Stage, prefix: String) -> Vec<String> {
    let listed = stage.world.store.list_all(List::all(prefix)).await.expect("the store never fails");
    listed.entries.into_iter().map(|entry| entry.key).collect()
}

async fn read(stage: &Stage, key: &str) -> bytes::Bytes {
    stage.world.store.get(&Key::text(key), ByteRange::Whole(u64::MAX)).await.expect("it was just listed").body
}
