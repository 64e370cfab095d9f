//! Tells what is left of a batch, in events for programs that watch or scale a fleet.

use super::Shared;
use crate::event::Event;
use crate::model::BatchRef;
use crate::outcomes::backlog::Backlog;

pub fn tell_backlog(shared: &Shared, of: &BatchRef, backlog: &Backlog) {
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let (app, batch) = (of.app.clone(), of.batch);
    if backlog.mean_ms > 0 {
        shared.emit(Event::SecondsPerCall { app: app.clone(), batch, seconds: seconds(backlog.mean_ms) });
    }
    shared.emit(Event::CallsLeft { app: app.clone(), batch, calls: backlog.undecided });
    let age_ms = backlog.oldest_at.map_or(0, |at| shared.deps.now().since_ms(at));
    shared.emit(Event::OldestUndecidedSeconds { app: app.clone(), batch, seconds: seconds(age_ms) });
    shared.emit(Event::WorkersWanted { app, batch, slots: backlog.slots_wanted() });
}
