//! Which store a worker serves. It asks before its first receive: a message that came while nobody could say whose it is
//! would be left to its lease, and then count as that of a lost worker.

use std::error::Error as _;

use super::Shared;
use super::receive::{LOST_AFTER, pause_after};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::StoreId;
use crate::seam::{RequestError as _, RequestFailure, StoreError};
use crate::store_id;

/// Asks until the store answers. Fails where no help of time is to be expected: there is no such bucket, say.
pub async fn find(shared: &Shared) -> Result<StoreId> {
    let deps = &shared.deps;
    let mut failures = 0;
    loop {
        let error = match store_id::find_or_create(&*deps.store, &*deps.clock, &*deps.rng).await {
            Ok((id, _)) => return Ok(id),
            Err(error) => error,
        };
        failures += 1;
        let what = "read the object `store`, the id of the store";
        if failures >= LOST_AFTER && !may_recover(&error) {
            return Err(error.context(what));
        }
        shared.emit(Event::RequestFailed { what: what.to_owned(), why: error.to_string() });
        deps.clock.sleep(pause_after(failures)).await;
    }
}

fn may_recover(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<StoreError>());
    match cause.and_then(StoreError::failure) {
        Some(RequestFailure::Unreached(unreached)) => unreached.may_recover,
        _ => true,
    }
}
