//! The messages that this worker has put back because it cannot work on them. A worker that drains counts them: they are no
//! reason to go on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits;
use crate::model::{BatchId, CallId};

/// Of one queue.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    /// By the id of each: the message's own, or the queue's for one that cannot be read.
    messages: BTreeMap<String, Hidden>,
}

#[derive(Debug)]
struct Hidden {
    /// The call that it points to, or the first of its range. None: it cannot be read.
    first: Option<CallId>,
    /// Nobody receives it before this.
    until: Duration,
    /// If this worker has not met it again by then, it is gone.
    forget_at: Duration,
    why: String,
}

impl SetAside {
    /// How many lie on the queue, and why one of them.
    pub fn count(&mut self, now: Duration) -> (u64, Option<&str>) {
        self.messages.retain(|_, hidden| hidden.forget_at > now);
        let why = self.messages.values().next().map(|hidden| hidden.why.as_str());
        (self.messages.len() as u64, why)
    }

    /// Whether one of them is of the batch.
    pub fn has(&self, batch: BatchId) -> bool {
        self.messages.values().any(|hidden| hidden.first.and_then(|first| first.batch()) == Some(batch))
    }

    /// A message was received: it lies on the queue no more.
    pub fn received(&mut self, id: &str) {
        self.messages.remove(id);
    }

    /// A message that cannot be read is hidden for `wait`.
    pub fn put_unread(&mut self, id: String, why: String, now: Duration, wait: Duration) {
        self.messages.retain(|_, hidden| hidden.forget_at > now);
        let until = now + wait;
        self.messages.insert(id, Hidden { first: None, until, forget_at: until, why });
    }

    /// A message that points to `first` is hidden for `wait`, in the place of the one with the id `before`.
    pub fn put(
        &mut self,
        before: &str,
        id: String,
        first: CallId,
        why: String,
        now: Duration,
        wait: Duration,
    ) {
        self.messages.retain(|_, hidden| hidden.forget_at > now);
        if self.messages.remove(before).is_none() {
            // Another worker may have received one of these calls meanwhile and sent it anew: then it is the one that came
            // here. One that is still hidden is another message.
            let same = |hidden: &Hidden| hidden.first == Some(first) && hidden.until <= now;
            let replaced = self.messages.iter().find(|(_, hidden)| same(hidden)).map(|(id, _)| id.clone());
            replaced.and_then(|id| self.messages.remove(&id));
        }
        let until = now + wait;
        // One receive may bring no more than one of them, and each is followed by a pause.
        let forget_at = until + 2 * limits::MISMATCH_PAUSE_MAX * (self.messages.len() as u32 + 1);
        self.messages.insert(id, Hidden { first: Some(first), until, forget_at, why });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    const S: Duration = Duration::from_secs(1);

    fn put(aside: &mut SetAside, before: &str, id: &str, number: u64, at: Duration) -> u64 {
        let first = BatchId::new(Time(1_700_000_000_000), 7).call(number);
        aside.put(before, id.to_owned(), first, "paused".to_owned(), at, 30 * S);
        aside.count(at).0
    }

    #[test]
    fn two_messages_to_the_same_calls_count_as_two() {
        let mut aside = SetAside::default();
        assert_eq!(put(&mut aside, "a", "a1", 1, S), 1);
        assert_eq!(put(&mut aside, "b", "b1", 1, 2 * S), 2);
        assert_eq!(put(&mut aside, "a1", "a2", 1, 31 * S), 2, "the first came again");
        assert_eq!(put(&mut aside, "b1", "b2", 1, 32 * S), 2);
        assert_eq!(put(&mut aside, "c", "c1", 65, 33 * S), 3);
    }

    #[test]
    fn a_message_that_another_worker_has_sent_anew_counts_once() {
        let mut aside = SetAside::default();
        assert_eq!(put(&mut aside, "a", "a1", 1, S), 1);
        assert_eq!(put(&mut aside, "a2 of another worker", "a3", 1, 70 * S), 1);
    }

    #[test]
    fn a_message_that_does_not_come_again_is_forgotten() {
        let mut aside = SetAside::default();
        assert_eq!(put(&mut aside, "a", "a1", 1, S), 1);
        assert_eq!(aside.count(60 * S), (1, Some("paused")));
        assert_eq!(aside.count(10 * 60 * S), (0, None));
        aside.put_unread("q".to_owned(), "newer".to_owned(), S, S);
        assert_eq!(aside.count(S).0, 1);
        aside.received("q");
        assert_eq!(aside.count(S).0, 0);
    }
}
