//! Pauses a batch, lets it go on, changes its limits. What runs goes on; workers begin calls by what was asked last.

use std::time::Duration;

use super::snapshot::BatchSnapshot;
use crate::error::{Error, Result};
use crate::layout::control::Control;
use crate::limits;
use crate::model::{BatchId, BatchLimits};
use crate::seam::{Created, Deps, RngExt as _, StoreError, StoreExt as _};

/// What is asked of a batch. What is not named stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    pub paused: Option<bool>,
    pub limits: Option<BatchLimits>,
}

/// A batch that has finished, or is being cancelled, is a conflict.
pub async fn change(deps: &Deps, batch: BatchId, by: &str, change: Change) -> Result<Control> {
    let snapshot = BatchSnapshot::of(deps, batch).await?;
    if snapshot.is_over() {
        return Err(Error::conflict(format!("batch {batch} has finished already")));
    }
    if snapshot.facts.cancelled.is_there() {
        return Err(Error::conflict(format!("batch {batch} is being cancelled")));
    }
    for tries in 1..=limits::DEFINITION_TRIES_MAX {
        let found = deps.store.find_with_etag::<Control>(&snapshot.of).await?;
        let (before, etag) = found.map_or((None, None), |(control, etag)| (Some(control), Some(etag)));
        let (paused, before_limits) =
            before.map_or((false, snapshot.body.limits), |control| (control.paused, control.limits));
        let control = Control {
            nonce: deps.nonce(),
            paused: change.paused.unwrap_or(paused),
            limits: change.limits.unwrap_or(before_limits),
            by: by.to_owned(),
            at: deps.now(),
        };
        let written = match etag {
            Some(etag) => match deps.store.replace_fact(&snapshot.of, &control, etag).await {
                Ok(_) => true,
                Err(StoreError::Changed | StoreError::NotFound) => false,
                Err(error) => return Err(error.into()),
            },
            None => matches!(deps.store.create_fact(&snapshot.of, &control).await?, Created::New),
        };
        if written {
            return Ok(control);
        }
        let most = limits::ms(limits::REQUEST_BACKOFF_MIN) * u64::from(tries);
        deps.clock.sleep(Duration::from_millis(deps.rng.below(most))).await;
    }
    Err(Error::conflict(format!(
        "batch {batch} was changed by others again and again while this change was tried"
    ))
    .with_hint("try again"))
}
