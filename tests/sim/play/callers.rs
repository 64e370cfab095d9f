//! People who submit single calls, some twice, some cut off, and who cancel some.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::layout::Key;
use afn::limits;
use afn::model::{CallId, Time};
use afn::seam::Clock as _;
use afn::seam::store::Store as _;
use afn::submit::call::{Request, submit};
use afn::submit::cancel::cancel;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::stage::Stage;

impl Stage {
    /// One caller, from its time on.
    pub async fn caller(self, index: usize) {
        let plan = self.plan.calls[index].clone();
        tokio::time::sleep(plan.at).await;
        let mut submitters = JoinSet::new();
        submitters.spawn(self.clone().submitter(index, 0));
        if let Some(later) = plan.twice.filter(Duration::is_zero) {
            tokio::time::sleep(later).await;
            submitters.spawn(self.clone().submitter(index, 1));
        }
        if let Some(after) = plan.dies_after {
            tokio::time::sleep(after).await;
            submitters.shutdown().await;
        }
        if let Some(later) = plan.twice.filter(|later| !later.is_zero()) {
            tokio::time::sleep(later).await;
            submitters.spawn(self.clone().submitter(index, 1));
        }
        while submitters.join_next().await.is_some() {}
        let Some(after) = plan.cancel_after else { return };
        tokio::time::sleep(after).await;
        let call = self.told().accepted.get(&index).map(|calls| calls[0]);
        let Some(call) = call else { return };
        let process = self.world.process(&format!("canceller {index}"));
        self.told().cancel_asked.push(call);
        if let Ok(outcome) = cancel(&process.deps, &self.app, call, "the simulation").await {
            self.told().cancelled.insert(call, outcome);
        }
    }

    async fn submitter(self, index: usize, copy: usize) {
        let plan = &self.plan.calls[index];
        let process = self.world.process(&format!("caller {index}.{copy}"));
        let request = Request {
            app: self.app.clone(),
            route: format!("/{}", plan.function).parse().expect("a valid route"),
            payload: Bytes::from(index.to_string()),
            content_type: None,
            headers: BTreeMap::new(),
            delay: plan.delay,
            idempotency_key: plan.twice.map(|_| format!("key {index}")),
        };
        if let Some(requests) = plan.cut_after.filter(|_| copy == 0) {
            process.line.fuse(requests);
        }
        let begun = self.world.clock.now();
        let Ok(accepted) = submit(&process.deps, request).await else { return };
        let call = accepted.call;
        let sent = accepted.sent || self.was_left(call, begun, plan.delay).await;
        let mut told = self.told();
        told.accepted.entry(index).or_default().push(call);
        told.sent.extend(sent.then_some(call));
    }

    /// Whether a call is stored so long that whoever repeats it makes good what the first one may have failed to do.
    async fn was_left(&self, call: CallId, at: Time, delay: Duration) -> bool {
        let key = Key::Payload(self.app.clone(), call);
        let Ok(stored) = self.world.store.head(&key).await else { return true };
        at.since_ms(stored.modified_at) >= limits::ms(limits::UNSENT_AFTER) + delay.as_millis() as u64
    }
}
