//! Pauses a batch, lets it go on, changes its limits. What runs goes on; workers begin calls by what was asked last.

use super::snapshot::BatchSnapshot;
use crate::error::{Error, Result};
use crate::layout::control::Control;
use crate::model::{BatchId, BatchLimits};
use crate::seam::{Changed, Deps};

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
    let changed = deps.change(&snapshot.of, |before: Option<Control>| {
        let (paused, before_limits) =
            before.map_or((false, snapshot.body.limits), |control| (control.paused, control.limits));
        Ok(Some(Control {
            nonce: deps.nonce(),
            paused: change.paused.unwrap_or(paused),
            limits: change.limits.unwrap_or(before_limits),
            by: by.to_owned(),
            at: deps.now(),
        }))
    });
    match changed.await? {
        Changed::Written(control) => Ok(control),
        Changed::Unchanged | Changed::Contended => Err(Error::conflict(format!(
            "batch {batch} was changed by others again and again while this change was tried"
        ))
        .with_hint("try again")),
    }
}
