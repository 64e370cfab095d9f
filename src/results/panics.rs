//! Panics of workers' tasks, as the workers have stored them.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::view::Unreadable;
use super::window::{NewestFirst, bits};
use crate::error::Result;
use crate::layout::key;
use crate::layout::object::TaskPanic;
use crate::limits;
use crate::model::PanicId;
use crate::seam::{Deps, StoreExt as _};

/// The panics of the last [`limits::PANICS_SHOWN_WITHIN`]. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RecentPanics {
    /// The newest first, at most [`limits::PANICS_SHOWN_MAX`].
    pub panics: Vec<TaskPanic>,
    /// How many more there are; counted up to [`limits::LIST_SCAN_MAX`].
    pub more: usize,
    /// Objects that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Two LISTs, and one GET for each panic that is shown.
pub async fn recent(deps: &Deps) -> Result<RecentPanics> {
    // An id is a time by the worker's clock. One that is ahead of this machine's is recent, too.
    let since = deps.now().minus_ms(limits::ms(limits::PANICS_SHOWN_WITHIN));
    let ids: NewestFirst<'_, PanicId> = NewestFirst::of_objects(deps, key::panics(), bits(since)..u128::MAX);
    let (ids, _) = ids.take(limits::LIST_SCAN_MAX).await?;
    let mut found = RecentPanics { more: ids.len(), ..RecentPanics::default() };
    let shown = ids.into_iter().take(limits::PANICS_SHOWN_MAX);
    let mut reads = stream::iter(shown)
        .map(async |id| (id, deps.store.read_fact::<TaskPanic>(&id).await))
        .buffered(limits::READ_AHEAD_MAX);
    while let Some((id, read)) = reads.next().await {
        found.more -= 1;
        let read = read.map(|panic| found.panics.push(panic));
        Unreadable::note(&mut found.unreadable, id.to_string(), read)?;
    }
    Ok(found)
}
