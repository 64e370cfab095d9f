//! Looks at the newest batches of all apps, past those that cannot be read.

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};

use super::view::Unreadable;
use super::window::NewestFirst;
use crate::error::Result;
use crate::layout::key;
use crate::limits;
use crate::model::BatchId;
use crate::seam::Deps;

pub(super) struct Newest<T> {
    /// What was found, the newest first.
    pub batches: Vec<T>,
    /// How many batches were looked at, and whether there are older ones.
    pub looked_at: usize,
    pub has_more: bool,
    pub unreadable: Vec<Unreadable>,
}

/// At most `max` of them; `look` says what is wanted of each, if anything.
pub(super) async fn newest_batches<'d, T>(
    deps: &'d Deps,
    max: usize,
    look: fn(&'d Deps, BatchId) -> BoxFuture<'d, Result<Option<T>>>,
) -> Result<Newest<T>> {
    let ids: NewestFirst<'_, BatchId> = NewestFirst::of_objects(deps, key::pointers(), 0..u128::MAX);
    let (ids, has_more) = ids.take(max).await?;
    let mut newest = Newest { batches: Vec::new(), looked_at: ids.len(), has_more, unreadable: Vec::new() };
    let looks = stream::iter(ids).map(|id| async move { (id, look(deps, id).await) });
    let mut looks = looks.buffered(limits::READ_AHEAD_MAX);
    while let Some((id, looked)) = looks.next().await {
        let looked = looked.map(|batch| newest.batches.extend(batch));
        Unreadable::note(&mut newest.unreadable, id.to_string(), looked)?;
    }
    Ok(newest)
}
