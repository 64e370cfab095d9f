//! What a worker does beside its calls, once in a while, and `afn gc` on demand: it sends again what was lost and deletes what
//! is old. Watermarks tell a turn what the turns before have looked at. Two turns at a time do no harm: each begins at
//! watermarks that are true, and what both do can be done twice.

use serde::Serialize;

use super::delete::Extent;
use super::turn::Turn;
use super::{delete, reconcile};
use crate::error::Result;
use crate::limits;
use crate::model::Time;
use crate::seam::Deps;

/// What `afn gc` has done, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `None` when lost messages were not looked for.
    pub resent: Option<u64>,
    pub deleted: delete::Report,
}

/// How [`on_demand`] is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only count what would be deleted.
    pub dry_run: bool,
    /// Look at every call and batch, whatever the watermarks say.
    pub all: bool,
}

/// Sends again what was lost and deletes what is old, all of it.
pub async fn on_demand(deps: &Deps, by: &str, options: Options) -> Result<Report> {
    let mut turn = Turn::begin(deps, by, !options.all).await?;
    let extent = if options.dry_run { Extent::DryRun } else { Extent::All };
    let resent = match options.dry_run {
        true => None,
        false => Some(reconcile::resend(deps, &mut turn, None).await?),
    };
    let deleted = delete::delete_old(deps, &mut turn, by, extent).await;
    if !options.dry_run {
        turn.end(deps).await;
    }
    Ok(Report { resent, deleted: deleted? })
}

/// A worker's turn. `waits_since`: messages that were sent from then on may still wait on the queue.
pub(super) async fn take_turn(deps: &Deps, worker: &str, waits_since: Option<Time>) -> Result<()> {
    let mut turn = Turn::begin(deps, worker, true).await?;
    let resent = reconcile::resend(deps, &mut turn, waits_since).await;
    let extent = Extent::Requests(limits::DELETE_REQUESTS_MAX);
    let deleted = delete::delete_old(deps, &mut turn, worker, extent).await;
    turn.end(deps).await;
    resent.and(deleted).map(drop)
}

/// Sends again what was lost. Returns how many messages were sent.
pub async fn resend_lost(deps: &Deps) -> Result<u64> {
    let mut turn = Turn::begin(deps, "", true).await?;
    reconcile::resend(deps, &mut turn, None).await
}
