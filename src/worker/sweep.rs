//! A sweep over many objects continues past those that it cannot read. It counts each failure and emits an event. It ends
//! with an error when the store itself fails several times in a row.

use std::fmt::Display;

use crate::error::{Code, Error};
use crate::event::Event;
use crate::limits;
use crate::seam::Deps;

pub(super) struct Sweep<'a> {
    deps: &'a Deps,
    what: &'static str,
    /// Failures in a row that are not of an object: the store did not answer, or refused us.
    in_row: u32,
    pub failed: u64,
}

impl Sweep<'_> {
    /// `what` is done to each: a fragment that fits "failed to …".
    pub fn new<'a>(deps: &'a Deps, what: &'static str) -> Sweep<'a> {
        Sweep { deps, what, in_row: 0, failed: 0 }
    }

    /// What came of one; `None` if it failed. An error ends the sweep.
    pub fn take<T>(&mut self, of: impl Display, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let error = match result {
            Ok(value) => {
                self.in_row = 0;
                return Ok(Some(value));
            }
            Err(error) => error,
        };
        self.in_row = if error.code() == Code::Unreachable { self.in_row + 1 } else { 0 };
        if self.in_row > limits::SWEEP_FAILURES_MAX {
            return Err(error);
        }
        self.failed += 1;
        let what = format!("{} {of}", self.what);
        self.deps.events.on(Event::RequestFailed { what, why: error.to_string() });
        Ok(None)
    }
}
