//! Careful mode for ranges: what the marks of earlier deliveries of the same message tell of its calls.

use std::collections::BTreeMap;

use super::{Abandoned, Shared};
use crate::layout::batch::Mark;
use crate::layout::{Key, RangeMessage, key, object};
use crate::model::DeliveryId;
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::store::{List, PutObject, StoreError};

/// Suspects, each with its marks that said `alone`. The others are not in it.
pub type Suspects = BTreeMap<u64, u32>;

/// Reads the marks of earlier deliveries; those of other messages do not count, nor those taken back.
pub async fn suspects(shared: &Shared, message: &RangeMessage, delivery: u32) -> Result<Suspects, Abandoned> {
    let mut suspects: Suspects = message.suspects.iter().copied().collect();
    if delivery <= 1 {
        return Ok(suspects);
    }
    let store = &shared.seams.store;
    let prefix = key::marks(&message.app, message.batch, message.chunk);
    let strangers = planted!(MarksOfOtherMessages);
    let its = if strangers { prefix } else { format!("{prefix}{}.", message.id) };
    let listed = store.list_all(List::all(its)).await?;
    let keys: Vec<Key> = listed.entries.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    for key in &keys {
        let Key::Mark(app, batch, chunk, written, _) = key else { continue };
        let void = keys.contains(&Key::MarkVoid(app.clone(), *batch, *chunk, *written));
        if written.message != message.id && !strangers || written.delivery >= delivery || void {
            continue;
        }
        let name = key.to_string();
        let Some(mark) = store.find(&name).await? else { continue };
        let mark: Mark = object::decode(&name, &mark.body)?;
        for number in mark.calls.iter().flat_map(|(first, last)| *first..=*last) {
            let counts = mark.alone || planted!(GroupMarksCondemn);
            *suspects.entry(number).or_default() += u32::from(counts);
        }
    }
    if planted!(ReceiveCountCondemns) {
        suspects.extend((message.first..=message.last).map(|number| (number, delivery - 1)));
    }
    Ok(suspects)
}

/// Says which calls are about to run. One that stands already is ours, of whose write the answer was lost.
pub async fn mark(
    shared: &Shared,
    message: &RangeMessage,
    delivery: DeliveryId,
    group: u32,
    numbers: &[u64],
    alone: bool,
) -> Result<(), StoreError> {
    let calls = numbers.iter().map(|number| (*number, *number)).collect();
    let mark = Mark { v: 1, calls, alone, worker: shared.config.name.clone(), at: shared.seams.now() };
    let key = Key::Mark(message.app.clone(), message.batch, message.chunk, delivery, group).to_string();
    create(shared, &key, PutObject::create(object::encode(&mark))).await
}

/// Takes back all marks of a delivery: its worker lives, so they tell nothing (N3).
pub async fn void(shared: &Shared, message: &RangeMessage, delivery: DeliveryId) -> Result<(), StoreError> {
    let key = Key::MarkVoid(message.app.clone(), message.batch, message.chunk, delivery).to_string();
    create(shared, &key, PutObject::create("")).await
}

async fn create(shared: &Shared, key: &str, object: PutObject) -> Result<(), StoreError> {
    match shared.seams.store.put(key, object).await {
        Ok(_) | Err(StoreError::Exists) => Ok(()),
        Err(error) => Err(error),
    }
}
