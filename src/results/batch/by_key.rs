//! Finds a record of a batch by its key: one list (a request for a thousand chunks), and at most two requests for each chunk.
//! The end of a chunk tells by its Bloom filters whether the key may be there; only then is the whole chunk read.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::super::reading;
use crate::error::{Error, Result};
use crate::layout::batch::{Batch, Deleted};
use crate::layout::chunk::{Record, decode, may_have_key};
use crate::layout::key;
use crate::limits;
use crate::model::BatchRef;
use crate::outcomes::deleted_error;
use crate::seam::store::{ByteRange, List, ListEntry};
use crate::seam::{Deps, StoreExt as _};

/// The number of the call whose record has this key.
pub async fn find_by_key(deps: &Deps, of: &BatchRef, wanted: &str) -> Result<u64> {
    let batch = of.batch;
    let error = match deps.store.find_fact::<Batch>(of).await? {
        None => Error::not_found(format!("there is no batch `{batch}`")),
        Some(definition) if definition.source.key_field().is_some() => match find(deps, of, wanted).await? {
            Some(number) => return Ok(number),
            None => Error::not_found(format!("batch `{batch}` has no record with the key `{wanted}`")).with_hint(format!(
                "a record without a key is refused, and so is the second one with the same key: `afn batch results {batch} --status error`"
            )),
        },
        Some(_) => Error::conflict(format!("the records of batch `{batch}` have no keys"))
            .with_hint("`--key FIELD` gives them some when the batch is submitted"),
    };
    // Only now: most batches are not deleted.
    let deleted = deps.store.find_fact::<Deleted>(of).await?;
    Err(deleted.map_or(error, |deleted| deleted_error(of, &deleted)))
}

async fn find(deps: &Deps, of: &BatchRef, wanted: &str) -> Result<Option<u64>> {
    let chunks = deps.store.list_all(List::all(key::chunks(&of.app, of.batch))).await?.entries;
    let looks = stream::iter(chunks).map(|chunk| look(deps, chunk, wanted)).buffered(limits::READ_AHEAD_MAX);
    looks.try_filter_map(async |found| Ok(found)).boxed().try_next().await
}

async fn look(deps: &Deps, chunk: ListEntry, wanted: &str) -> Result<Option<u64>> {
    let key = chunk.to_key();
    let get = async |range| deps.store.get(&key, range).await.map_err(reading(&key));
    let end = get(ByteRange::Last(limits::CHUNK_END_BYTES)).await?.body;
    if !may_have_key(&key, &end, chunk.bytes, wanted)? {
        return Ok(None);
    }
    let file = match end.len() as u64 == chunk.bytes {
        true => end,
        false => get(ByteRange::Whole(limits::CHUNK_OBJECT_BYTES_MAX)).await?.body,
    };
    // The second record with a key was refused.
    let has_key = |record: &Record| record.key.as_deref() == Some(wanted) && record.refused.is_none();
    Ok(decode(&key, file)?.into_iter().find(has_key).map(|record| record.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::layout::batch::BatchSource;
    use crate::model::Digest;
    use crate::results::batch::fixture::{Made, batch_at};
    use crate::results::fixture::{NOW, World};

    /// Payloads that cannot be compressed: a chunk is much larger than what is read of its end.
    fn records(first: u64, count: u64) -> Vec<Record> {
        let noise = |number: u64| {
            (0..100).flat_map(move |n| {
                Digest::of(&[number, n].map(u64::to_le_bytes).concat()).as_str().to_owned().into_bytes()
            })
        };
        let record = |number: u64| Record {
            number,
            payload: noise(number).collect::<Vec<u8>>().into(),
            key: Some(format!("k{}", number % 1_000)),
            refused: (number > 1_000).then(|| "twice".to_owned()),
            ..Record::default()
        };
        (first..first + count).map(record).collect()
    }

    #[tokio::test]
    async fn a_key_is_found_by_the_ends_of_chunks() {
        let world = World::new();
        let source =
            BatchSource { format: "jsonl".to_owned(), key: Some("id".to_owned()), ..BatchSource::default() };
        let made = Made::of_source(&world, batch_at(NOW, 1), source).await;
        for chunk in 0..20 {
            made.records(&records(1 + 64 * chunk, 64)).await;
        }
        let of = BatchRef::new(&world.app, made.id);
        let requests = || world.counts.snapshot().store_requests();
        for number in [1, 64, 65, 700, 1_000] {
            let before = requests();
            let found = find_by_key(&world.deps, &of, &format!("k{}", number % 1_000)).await;
            assert_eq!(found, Ok(number));
            // The definition, the list, the ends; and the chunk, with others that only may have had it.
            let spent = requests() - before;
            assert!((4..=30).contains(&spent), "{spent}");
        }
        let before = requests();
        let error = find_by_key(&world.deps, &of, "k1000").await.expect_err("no such key");
        assert_eq!((error.code(), requests() - before <= 26), (Code::NotFound, true), "{error}");
        // Chunks that are smaller than what is read of the end take one request each.
        let small = Made::of_source(&world, batch_at(NOW, 2), made.body.source.clone()).await;
        let key = Some("a".to_owned());
        small
            .records(&[Record { number: 1, key: key.clone(), refused: key.clone(), ..Record::default() }])
            .await;
        small.records(&[Record { number: 2, key, ..Record::default() }]).await;
        let before = requests();
        assert_eq!(find_by_key(&world.deps, &BatchRef::new(&world.app, small.id), "a").await, Ok(2));
        assert_eq!(requests() - before, 4);
    }

    #[tokio::test]
    async fn why_a_key_is_not_found_is_told() {
        let world = World::new();
        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        made.chunk(1, 3).await;
        let why = async |batch| {
            let of = BatchRef::new(&world.app, batch);
            find_by_key(&world.deps, &of, "a").await.expect_err("not found").message().to_owned()
        };
        assert!(why(made.id).await.ends_with(" have no keys"));
        assert!(why(batch_at(NOW, 9)).await.starts_with("there is no batch "));
    }
}
