//! What supervisors have put on the queue of the chunks that their submitter did not: the entries `dispatched/{k}`.

use crate::error::{Code, Error, Result};
use crate::layout::batch::Dispatched;
use crate::layout::{Key, Runs, key};
use crate::model::id::NUMBER_MAX;
use crate::model::{BatchRef, Nonce};
use crate::seam::store::List;
use crate::seam::{Store, StoreExt as _};

/// The last entry, if there is one, and the number of the next. A list may lag; it only tells where to begin. After an entry
/// that cannot be read anything may have been sent.
pub async fn last(store: &dyn Store, of: &BatchRef) -> Result<(Option<Dispatched>, u32)> {
    let listed = store.list_all(List::all(key::dispatched(&of.app, of.batch))).await?;
    let numbers = listed.entries.iter().filter_map(|entry| match entry.key.parse() {
        Ok(Key::Dispatched(_, _, number)) => Some(number),
        _ => None,
    });
    let mut next = numbers.max().unwrap_or(0);
    let mut last = None;
    loop {
        match store.find_fact(&(of.clone(), next)).await {
            Ok(None) => return Ok((last, next)),
            Ok(Some(entry)) => last = Some(entry),
            Err(error) if error.code() == Code::Internal => {
                let sent = last.map_or_else(Runs::default, |entry: Dispatched| entry.sent);
                last = Some(Dispatched { sent, through: NUMBER_MAX, nonce: Nonce::new(0) });
            }
            Err(error) => return Err(error),
        }
        next = next.checked_add(1).ok_or_else(|| {
            Error::internal(format!(
                "batch {} has an entry `dispatched/{next}`: there is none after it",
                of.batch
            ))
        })?;
    }
}
