//! What a batch left in the store: the promise of one outcome for each record, checked on the objects themselves.

use std::collections::{BTreeMap, BTreeSet};

use afn::layout::batch::Sealed;
use afn::layout::part::{Part, Row};
use afn::layout::{Key, key, object};
use afn::model::{BatchId, State};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, List};

use super::world::World;

/// Every record of a batch that is over is decided by exactly one row of exactly one part; no chunk overlaps another;
/// `sealed`, `summary` and rows agree. The rows, by number.
pub async fn one_outcome_each(world: &World, batch: BatchId, calls: u64) -> BTreeMap<u64, Row> {
    let store = world.open().await.deps.store;
    let app = world.app();
    let listed = store.list_all(List::all(key::outcomes(&app, batch))).await.expect("a list");
    let mut rows = BTreeMap::new();
    let mut next_part: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in listed.entries {
        let Ok(Key::Part(_, _, last, number)) = entry.key.parse() else { panic!("{}", entry.key) };
        let expected = next_part.entry(last).or_default();
        assert_eq!(number, *expected, "a log with a gap: {}", entry.key);
        *expected += 1;
        let body = store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.expect("it was listed").body;
        for row in Part::open(&entry.key, body).and_then(|part| part.all_rows()).expect("a part") {
            let number = row.number;
            assert!(row.status.is_final(), "{row:?}");
            if let Some(twice) = rows.insert(number, row) {
                panic!("record {number} is decided twice: {twice:?}, and in {}", entry.key);
            }
        }
    }
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=calls).collect::<Vec<_>>());

    let name = Key::Sealed(app.clone(), batch);
    let sealed: Sealed =
        object::decode(&name, &store.get(&name, ByteRange::Whole(u64::MAX)).await.expect("sealed").body)
            .expect("it can be read");
    assert_eq!((sealed.last, sealed.missing.len()), (calls, 0));
    let chunks = store.list_all(List::all(key::chunks(&app, batch))).await.expect("a list").entries;
    let lasts: BTreeSet<u64> = next_part.into_keys().collect();
    assert_eq!(chunks.len(), lasts.len(), "as many logs as chunks");

    let view = afn::results::batch::load(&world.open().await.deps, batch).await.expect("a batch");
    let mut counts: BTreeMap<State, u64> = BTreeMap::new();
    for row in rows.values() {
        *counts.entry(row.status).or_default() += 1;
    }
    let summary = view.summary.expect("a batch that is over has its summary");
    assert_eq!((summary.calls, &summary.counts), (calls, &counts));
    rows
}
