//! Dead letters: messages that no worker could process, set aside so that they are not lost silently. Reading one leases
//! it for a moment, because a queue shows its messages in no other way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::send;
use crate::error::{Error, Result};
use crate::layout::message::Unreadable;
use crate::layout::{CallMessage, Message, RangeMessage, SuperviseMessage, origin};
use crate::limits;
use crate::model::{AppName, CallId, QueueName, Time};
use crate::seam::Deps;
use crate::seam::queue::{QueueError, QueuePair, Queues, Receipt, Received};
use crate::store_id;

/// The lease of a dead letter while the others are read.
const LEASE: Duration = limits::VISIBILITY;
/// How long a second receive waits on a queue that reports more messages: a short poll may miss some.
const LONG_POLL: Duration = Duration::from_secs(1);

/// A message on a dead-letter queue. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The id that the queue gave the message.
    pub id: String,
    /// The queue that it was moved from: `calls`, `chunks` or `batches`.
    pub queue: QueueName,
    /// Why it is dead.
    pub why: Option<String>,
    /// The app of its call or batch, if the body can be read.
    pub app: Option<AppName>,
    #[serde(rename = "call_id")]
    pub call: Option<CallId>,
    pub sent_at: Time,
    pub body: String,
}

impl DeadLetter {
    fn new(queue: QueueName, received: &Received) -> DeadLetter {
        let message = Message::decode(&received.body).ok();
        DeadLetter {
            id: received.id.clone(),
            queue,
            why: received.metadata.clone(),
            app: message.as_ref().map(|message| message.app().clone()),
            call: match message {
                Some(Message::Call(message)) => Some(message.call),
                _ => None,
            },
            sent_at: received.sent_at,
            body: received.body.clone(),
        }
    }
}

/// The dead letters that a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    Ids(BTreeSet<String>),
}

impl Selection {
    fn contains(&self, id: &str) -> bool {
        match self {
            Selection::All => true,
            Selection::Ids(ids) => ids.contains(id),
        }
    }

    /// An error for ids that no queue has.
    fn check_found(&self, found: &BTreeSet<String>) -> Result<()> {
        match self {
            Selection::Ids(ids) if !ids.is_subset(found) => Err(unknown(ids.difference(found))),
            Selection::All | Selection::Ids(_) => Ok(()),
        }
    }
}

/// What a redrive did. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Dead letters that are on their queues again.
    pub sent: Vec<String>,
    /// Dead letters that stay, and why.
    pub kept: BTreeMap<String, String>,
}

/// Up to `max` dead letters of all queues.
pub async fn list(queues: &Queues, max: usize) -> Result<Vec<DeadLetter>> {
    let mut dead_letters = Vec::new();
    let mut scan = Scan::new(queues, max);
    while dead_letters.len() < max
        && let Some((name, _, received)) = scan.next().await?
    {
        dead_letters.push(DeadLetter::new(name, &received));
    }
    scan.release().await?;
    Ok(dead_letters)
}

/// One dead letter with its body.
pub async fn show(queues: &Queues, id: &str) -> Result<DeadLetter> {
    let mut scan = Scan::new(queues, limits::QUEUE_BATCH_MAX);
    while let Some((name, _, received)) = scan.next().await? {
        if received.id == id {
            scan.release().await?;
            return Ok(DeadLetter::new(name, &received));
        }
    }
    Err(unknown([&id.to_owned()].into_iter()))
}

/// Puts dead letters back on their queues: each is sent, and deleted once the send was acknowledged. One that still
/// cannot be read stays.
pub async fn redrive(deps: &Deps, selection: &Selection) -> Result<Redriven> {
    let mut redriven = Redriven::default();
    let mut own_store = None;
    let mut found = BTreeSet::new();
    let mut scan = Scan::new(&deps.queues, limits::QUEUE_BATCH_MAX);
    while let Some((_, pair, received)) = scan.next().await? {
        if !selection.contains(&received.id) {
            continue;
        }
        found.insert(received.id.clone());
        let store = origin::origin(&received.body);
        if store.is_some() && own_store.is_none() {
            own_store = Some(store_id::find_or_create(&*deps.store, &*deps.clock, &*deps.rng).await?.0);
        }
        let message = match store.filter(|store| Some(*store) != own_store) {
            Some(store) => Err(format!("it is of store {store}: redrive it in that store's context")),
            None => renew(deps, &received.body),
        };
        match message {
            Ok(message) => {
                send::send(pair, &message, Duration::ZERO).await?;
                scan.delete(&received).await?;
                redriven.sent.push(received.id);
            }
            Err(why) => drop(redriven.kept.insert(received.id, why)),
        }
    }
    selection.check_found(&found)?;
    Ok(redriven)
}

/// Deletes dead letters and returns their number.
pub async fn purge(queues: &Queues, selection: &Selection) -> Result<u64> {
    let mut purged = 0;
    let mut found = BTreeSet::new();
    let mut scan = Scan::new(queues, limits::QUEUE_BATCH_MAX);
    while let Some((_, _, received)) = scan.next().await? {
        if selection.contains(&received.id) {
            scan.delete(&received).await?;
            found.insert(received.id);
            purged += 1;
        }
    }
    selection.check_found(&found)?;
    Ok(purged)
}

/// The same message under a new id: deliveries count from 1 again, and no two executions may share a key (N8). Its calls
/// may have run meanwhile.
fn renew(deps: &Deps, body: &str) -> Result<Message, String> {
    let id = send::message_id(deps);
    match Message::decode(body) {
        Ok(Message::Call(message)) => Ok(Message::Call(CallMessage { id, again: true, ..message })),
        Ok(Message::Range(message)) => Ok(Message::Range(RangeMessage { id, again: true, ..message })),
        Ok(Message::Supervise(message)) => {
            Ok(Message::Supervise(SuperviseMessage { id, idle: None, ..message }))
        }
        Err(Unreadable::Older(version)) => Err(format!(
            "its format {version} is older than this afn: `afn dlq purge` it, the store knows what it points to and sends it again"
        )),
        Err(Unreadable::Newer(version)) => {
            Err(format!("its format {version} is newer than this afn: redrive it with a newer one"))
        }
        Err(Unreadable::Malformed(why)) => Err(why),
    }
}

fn unknown<'a>(ids: impl Iterator<Item = &'a String>) -> Error {
    let ids: Vec<&str> = ids.map(String::as_str).collect();
    Error::not_found(format!("no dead letter `{}`", ids.join("`, `")))
        .with_hint("`afn dlq list` shows those there are")
}

/// Reads the dead-letter queues one after the other. It leases each message until its queue is read to the end, so that
/// no message comes twice.
struct Scan<'a> {
    queues: VecDeque<(QueueName, &'a QueuePair)>,
    batch_max: usize,
    /// Messages of the first queue that were received and not returned yet.
    received: VecDeque<Received>,
    leases: BTreeMap<String, Receipt>,
    seen: BTreeSet<String>,
}

impl<'a> Scan<'a> {
    fn new(queues: &'a Queues, batch_max: usize) -> Scan<'a> {
        Scan {
            queues: queues.all().into(),
            batch_max: batch_max.clamp(1, limits::QUEUE_BATCH_MAX),
            received: VecDeque::new(),
            leases: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<(QueueName, &'a QueuePair, Received)>> {
        while let Some((name, pair)) = self.queues.front().copied() {
            if let Some(received) = self.received.pop_front() {
                return Ok(Some((name, pair, received)));
            }
            let mut batch = pair.dead.receive(self.batch_max, Duration::ZERO, LEASE).await?;
            if batch.is_empty() && pair.dead.depth().await?.visible > 0 {
                batch = pair.dead.receive(self.batch_max, LONG_POLL, LEASE).await?;
            }
            for message in batch {
                self.leases.insert(message.id.clone(), message.receipt.clone());
                // A message that was seen before: its lease has lapsed, and the scan is at the queue's beginning again.
                if self.seen.insert(message.id.clone()) {
                    self.received.push_back(message);
                }
            }
            if self.received.is_empty() {
                self.release().await?;
                self.seen.clear();
                self.queues.pop_front();
            }
        }
        Ok(None)
    }

    async fn delete(&mut self, message: &Received) -> Result<()> {
        let Some((_, pair)) = self.queues.front() else { return Ok(()) };
        for answer in pair.dead.delete(std::slice::from_ref(&message.receipt)).await? {
            answer?;
        }
        self.leases.remove(&message.id);
        Ok(())
    }

    /// Ends the leases on the current queue.
    async fn release(&mut self) -> Result<()> {
        let Some((_, pair)) = self.queues.front() else { return Ok(()) };
        for receipt in std::mem::take(&mut self.leases).values() {
            match pair.dead.extend(receipt, Duration::ZERO).await {
                Ok(()) | Err(QueueError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::memory::{MemoryQueue, MemoryStore};
    use crate::event::Silent;
    use crate::model::MessageId;
    use crate::seam::Queue;
    use crate::seam::RngExt as _;
    use crate::seam::clock::SystemClock;
    use crate::seam::queue::Outgoing;
    use crate::seam::rng::SystemRng;

    fn deps() -> Deps {
        let clock = Arc::new(SystemClock);
        let queue = || -> Arc<dyn Queue> { Arc::new(MemoryQueue::new(clock.clone())) };
        let lane = || QueuePair { live: queue(), dead: queue() };
        Deps {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            events: Arc::new(Silent),
        }
    }

    async fn bury(queue: &Arc<dyn Queue>, body: &str, why: &str) {
        let letter = Outgoing { metadata: Some(why.to_owned()), ..Outgoing::new(body.to_owned()) };
        for answer in queue.send(vec![letter]).await.unwrap() {
            answer.unwrap();
        }
    }

    fn call_message(deps: &Deps) -> CallMessage {
        let call = CallId::single(deps.now(), deps.rng.u128());
        CallMessage::new(MessageId::new(deps.now(), deps.rng.u128()), "app".parse().unwrap(), call)
    }

    #[tokio::test]
    async fn letters_are_seen_more_than_once_and_by_name() {
        let deps = deps();
        let message = call_message(&deps);
        bury(&deps.queues.calls.dead, &Message::Call(message.clone()).encode(), "received too often").await;
        for number in 0..25 {
            bury(&deps.queues.batches.dead, &format!("garbage {number}"), "not a message").await;
        }
        for _ in 0..2 {
            let letters = list(&deps.queues, 100).await.unwrap();
            assert_eq!(letters.len(), 26);
            assert_eq!((letters[0].queue, letters[0].call), (QueueName::Calls, Some(message.call)));
            assert_eq!(letters[0].why.as_deref(), Some("received too often"));
            assert!(
                letters[1..].iter().all(|letter| letter.queue == QueueName::Batches && letter.call.is_none())
            );
        }
        assert_eq!(list(&deps.queues, 3).await.unwrap().len(), 3);
        let letters = list(&deps.queues, 100).await.unwrap();
        let last = letters.last().unwrap();
        assert_eq!(show(&deps.queues, &last.id).await.unwrap(), *last);
        assert_eq!(show(&deps.queues, "nothing").await.unwrap_err().code(), crate::Code::NotFound);
    }

    #[tokio::test]
    async fn what_is_put_back_has_a_message_id_of_its_own() {
        let deps = deps();
        let message = call_message(&deps);
        bury(&deps.queues.calls.dead, &Message::Call(message.clone()).encode(), "why").await;
        bury(&deps.queues.calls.dead, "garbage", "not a message").await;
        let redriven = redrive(&deps, &Selection::All).await.unwrap();
        assert_eq!((redriven.sent.len(), redriven.kept.len()), (1, 1));

        let received = deps.queues.calls.live.receive(10, Duration::ZERO, LEASE).await.unwrap();
        let [received] = &received[..] else { panic!("{received:?}") };
        let Ok(Message::Call(again)) = Message::decode(&received.body) else { panic!("{received:?}") };
        assert_ne!(again.id, message.id);
        assert_eq!((again.call, again.again), (message.call, true));
        let left = list(&deps.queues, 10).await.unwrap();
        assert_eq!(left.iter().map(|letter| letter.body.as_str()).collect::<Vec<_>>(), ["garbage"]);
    }

    #[tokio::test]
    async fn only_what_was_named_is_thrown_away() {
        let deps = deps();
        for body in ["one", "two", "three"] {
            bury(&deps.queues.chunks.dead, body, "not a message").await;
        }
        let letters = list(&deps.queues, 10).await.unwrap();
        let two = letters.iter().find(|letter| letter.body == "two").unwrap();
        let selection = |ids: &[&str]| Selection::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(purge(&deps.queues, &selection(&[&two.id])).await.unwrap(), 1);
        assert_eq!(list(&deps.queues, 10).await.unwrap().len(), 2);
        assert_eq!(
            purge(&deps.queues, &selection(&["nothing"])).await.unwrap_err().code(),
            crate::Code::NotFound
        );
        assert_eq!(purge(&deps.queues, &Selection::All).await.unwrap(), 2);
        assert!(list(&deps.queues, 10).await.unwrap().is_empty());
    }
}
