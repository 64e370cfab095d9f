//! `reconciled/watermarks/{id}`: where a turn of upkeep has come to, so that the next one does not list every call and batch
//! again. A hint: what it says stays true, and without it everything is looked at. Persisted, keep stable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::checked::is_default;
use crate::model::{AppName, BatchId, CallId, Retention, Time};

/// The watermarks of all apps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    pub worker: String,
    /// When all idempotency keys were last listed, by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_listed_at: Option<Time>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub apps: BTreeMap<AppName, AppWatermarks>,
}

/// One watermark for each purpose that calls and batches are looked at for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppWatermarks {
    /// Calls that may have lost their message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost_calls: Watermark<CallId>,
    /// Batches that may have lost their supervisor.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost_batches: Watermark<BatchId>,
    /// Calls whose content may be past its retention.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kept_calls: Watermark<CallId>,
    /// Calls that may have no late message any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old_calls: Watermark<CallId>,
    /// Batches whose content may be past its retention.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kept_batches: Watermark<BatchId>,
    /// Batches whose tombstones may go.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old_batches: Watermark<BatchId>,
    /// The retention by which the times of open calls and batches were computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Up to which id nothing is left to do, but for the ids that are left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "Id: Ord + Serialize + serde::de::DeserializeOwned")]
pub struct Watermark<Id: Ord> {
    #[serde(default = "Reach::default", skip_serializing_if = "Reach::is_none")]
    pub first: Reach<Id>,
    /// The same of a second look, at what was stored late under an old id.
    #[serde(default = "Reach::default", skip_serializing_if = "Reach::is_none")]
    pub second: Reach<Id>,
    /// When each is to be looked at again, by the store's clock.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<Id, Time>,
}

/// How far ids were walked, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach<Id> {
    /// `None`: from the first one on.
    pub upto: Option<Id>,
    /// Past it no id is older than this, as far as was seen.
    pub clear_until: Time,
}

impl<Id> Default for Reach<Id> {
    fn default() -> Reach<Id> {
        Reach { upto: None, clear_until: Time(0) }
    }
}

impl<Id> Reach<Id> {
    fn is_none(&self) -> bool {
        self.upto.is_none() && self.clear_until == Time(0)
    }
}

impl Watermarks {
    /// Whether they can be those of a turn at that time. Others come of a clock that was set back, or of a damaged object.
    pub fn are_of(&self, at: Time) -> bool {
        let calls = |mark: &Watermark<CallId>| mark.is_of(at, CallId::time);
        let batches = |mark: &Watermark<BatchId>| mark.is_of(at, BatchId::time);
        self.apps.values().all(|app| {
            [&app.lost_calls, &app.kept_calls, &app.old_calls].into_iter().all(calls)
                && [&app.lost_batches, &app.kept_batches, &app.old_batches].into_iter().all(batches)
        })
    }
}

impl AppWatermarks {
    /// Takes note of the retention that holds now. With another one every open id is due.
    pub fn set_retention(&mut self, retention: Retention) {
        if self.retention.replace(retention) != Some(retention) {
            let calls = self.kept_calls.open.values_mut().chain(self.old_calls.open.values_mut());
            calls.chain(self.kept_batches.open.values_mut()).for_each(|at| *at = Time(0));
        }
    }
}

impl<Id: Ord> Watermark<Id> {
    /// Leaves an id open until then. False: too many are open, and this one is not.
    pub fn leave_open(&mut self, id: Id, at: Time) -> bool {
        let has_room = self.open.len() < limits::LEFT_OPEN_MAX || self.open.contains_key(&id);
        if has_room {
            self.open.insert(id, at);
        }
        has_room
    }

    fn is_of(&self, at: Time, time: impl Fn(&Id) -> Time) -> bool {
        let reaches = [&self.first, &self.second];
        reaches
            .iter()
            .all(|reach| reach.upto.as_ref().is_none_or(|id| time(id) <= at) && reach.clear_until <= at)
    }
}

impl<Id: Ord> Default for Watermark<Id> {
    fn default() -> Watermark<Id> {
        Watermark { first: Reach::default(), second: Reach::default(), open: BTreeMap::new() }
    }
}
