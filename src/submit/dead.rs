//! Dead letters: messages that nobody could work on, set aside so that nothing is lost without a word. Looking at one
//! leases it for a moment, since a queue shows its messages in no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::layout::message::Unreadable;
use crate::layout::{CallMessage, Message, RangeMessage, SuperviseMessage};
use crate::limits;
use crate::model::{AppName, CallId, MessageId, Time};
use crate::seam::queue::{Lane, Outgoing, Queues, Receipt, Received};
use crate::seam::{RngExt as _, Seams};

/// How long a letter is held while the others are looked at.
const HOLD: Duration = Duration::from_millis(limits::VISIBILITY_MS);
/// A queue that should have more is asked once more, this long: a short look may miss some.
const LOOK: Duration = Duration::from_secs(1);

/// A message on a dead-letter queue. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The queue's own name of the message.
    pub id: String,
    /// Whose dead letter it is: `calls`, `chunks` or `batches`.
    pub queue: &'static str,
    /// Why it is dead.
    pub why: Option<String>,
    /// Whose call it points to, when that can be read.
    pub app: Option<AppName>,
    #[serde(rename = "call_id")]
    pub call: Option<CallId>,
    pub sent_at: Time,
    pub body: String,
}

impl DeadLetter {
    fn new(queue: &'static str, received: &Received) -> DeadLetter {
        let (app, call) = match Message::decode(&received.body) {
            Ok(Message::Call(message)) => (Some(message.app), Some(message.call)),
            Ok(message @ (Message::Range(_) | Message::Supervise(_))) => (Some(message.app().clone()), None),
            Err(_) => (None, None),
        };
        DeadLetter {
            id: received.id.clone(),
            queue,
            why: received.note.clone(),
            app,
            call,
            sent_at: received.sent_at,
            body: received.body.clone(),
        }
    }
}

/// Which letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    All,
    Ids(BTreeSet<String>),
}

impl Pick {
    fn wants(&self, id: &str) -> bool {
        match self {
            Pick::All => true,
            Pick::Ids(ids) => ids.contains(id),
        }
    }

    /// Those asked for that were not met.
    fn missing(&self, met: &BTreeSet<String>) -> Vec<String> {
        match self {
            Pick::All => Vec::new(),
            Pick::Ids(ids) => ids.difference(met).cloned().collect(),
        }
    }
}

/// What a redrive did. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Letters that are on their queues again.
    pub sent: Vec<String>,
    /// Letters that stay, and why.
    pub kept: BTreeMap<String, String>,
}

/// Up to `max` letters of all queues.
pub async fn list(queues: &Queues, max: usize) -> Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for (name, lane) in queues.lanes() {
        let mut look = Look::new(lane);
        while letters.len() < max {
            let batch = look.next(max - letters.len()).await?;
            if batch.is_empty() {
                break;
            }
            letters.extend(batch.iter().map(|received| DeadLetter::new(name, received)));
        }
        look.give_back().await?;
    }
    Ok(letters)
}

/// One letter, whole.
pub async fn show(queues: &Queues, id: &str) -> Result<DeadLetter> {
    for (name, lane) in queues.lanes() {
        let mut look = Look::new(lane);
        let mut found = None;
        while found.is_none() {
            let batch = look.next(limits::QUEUE_BATCH_MAX).await?;
            if batch.is_empty() {
                break;
            }
            found = batch
                .iter()
                .find(|received| received.id == id)
                .map(|received| DeadLetter::new(name, received));
        }
        look.give_back().await?;
        if let Some(letter) = found {
            return Ok(letter);
        }
    }
    Err(unknown(&[id.to_owned()]))
}

/// Puts letters back on their queues: each is sent, and deleted once the send was acknowledged. A letter that still
/// cannot be read stays.
pub async fn redrive(seams: &Seams, pick: &Pick) -> Result<Redriven> {
    let mut redriven = Redriven::default();
    let mut met = BTreeSet::new();
    for (_, lane) in seams.queues.lanes() {
        let mut look = Look::new(lane);
        loop {
            let batch = look.next(limits::QUEUE_BATCH_MAX).await?;
            if batch.is_empty() {
                break;
            }
            for received in batch.iter().filter(|received| pick.wants(&received.id)) {
                met.insert(received.id.clone());
                match again(seams, &received.body) {
                    Ok(message) => {
                        let group = Some(message.app().to_string());
                        let outgoing = Outgoing { group, ..Outgoing::new(message.encode()) };
                        for answer in lane.live.send(vec![outgoing]).await? {
                            answer?;
                        }
                        look.delete(received).await?;
                        redriven.sent.push(received.id.clone());
                    }
                    Err(why) => {
                        redriven.kept.insert(received.id.clone(), why);
                    }
                }
            }
        }
        look.give_back().await?;
    }
    match pick.missing(&met) {
        missing if missing.is_empty() => Ok(redriven),
        missing => Err(unknown(&missing)),
    }
}

/// Throws letters away and tells how many.
pub async fn purge(queues: &Queues, pick: &Pick) -> Result<u64> {
    let mut purged = 0;
    let mut met = BTreeSet::new();
    for (_, lane) in queues.lanes() {
        let mut look = Look::new(lane);
        loop {
            let batch = look.next(limits::QUEUE_BATCH_MAX).await?;
            if batch.is_empty() {
                break;
            }
            for received in batch.iter().filter(|received| pick.wants(&received.id)) {
                look.delete(received).await?;
                met.insert(received.id.clone());
                purged += 1;
            }
        }
        look.give_back().await?;
    }
    match pick.missing(&met) {
        missing if missing.is_empty() => Ok(purged),
        missing => Err(unknown(&missing)),
    }
}

/// The same work under a message id of its own: deliveries count from 1 again, and no two executions may share a key
/// (N8). What it points to may have run meanwhile.
fn again(seams: &Seams, body: &str) -> Result<Message, String> {
    let id = MessageId::new(seams.now(), seams.rng.u128());
    match Message::decode(body) {
        Ok(Message::Call(message)) => Ok(Message::Call(CallMessage { id, again: true, ..message })),
        Ok(Message::Range(message)) => Ok(Message::Range(RangeMessage { id, again: true, ..message })),
        Ok(Message::Supervise(message)) => Ok(Message::Supervise(SuperviseMessage { id, ..message })),
        Err(Unreadable::Newer(version)) => {
            Err(format!("its format {version} is newer than this afn: redrive it with a newer one"))
        }
        Err(Unreadable::Malformed(why)) => Err(why),
    }
}

fn unknown(ids: &[String]) -> Error {
    Error::not_found(format!("no dead letter `{}`", ids.join("`, `")))
        .hint("`afn dlq list` shows those there are")
}

/// A walk over a dead-letter queue that meets each letter once: what was met is held until the walk is over.
struct Look<'a> {
    lane: &'a Lane,
    held: BTreeMap<String, Receipt>,
    met: BTreeSet<String>,
}

impl Look<'_> {
    fn new(lane: &Lane) -> Look<'_> {
        Look { lane, held: BTreeMap::new(), met: BTreeSet::new() }
    }

    /// Letters that were not met before; none when there are no more.
    async fn next(&mut self, max: usize) -> Result<Vec<Received>> {
        let max = max.clamp(1, limits::QUEUE_BATCH_MAX);
        let mut received = self.lane.dead.receive(max, Duration::ZERO, HOLD).await?;
        if received.is_empty() && self.lane.dead.depth().await?.visible > 0 {
            received = self.lane.dead.receive(max, LOOK, HOLD).await?;
        }
        for message in &received {
            self.held.insert(message.id.clone(), message.receipt.clone());
        }
        // Only known ones: the walk took longer than the lease and has come round to its beginning.
        let met = &mut self.met;
        Ok(received.into_iter().filter(|message| met.insert(message.id.clone())).collect())
    }

    async fn delete(&mut self, letter: &Received) -> Result<()> {
        for answer in self.lane.dead.delete(std::slice::from_ref(&letter.receipt)).await? {
            answer?;
        }
        self.held.remove(&letter.id);
        Ok(())
    }

    async fn give_back(self) -> Result<()> {
        for receipt in self.held.values() {
            match self.lane.dead.extend(receipt, Duration::ZERO).await {
                Ok(()) | Err(crate::seam::queue::QueueError::Gone) => {}
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
    use crate::seam::Queue;
    use crate::seam::clock::SystemClock;
    use crate::seam::rng::SystemRng;

    fn seams() -> Seams {
        let clock = Arc::new(SystemClock);
        let queue = || -> Arc<dyn Queue> { Arc::new(MemoryQueue::new(clock.clone())) };
        let lane = || Lane { live: queue(), dead: queue() };
        Seams {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            events: Arc::new(Silent),
        }
    }

    async fn bury(queue: &Arc<dyn Queue>, body: &str, why: &str) {
        let letter = Outgoing { note: Some(why.to_owned()), ..Outgoing::new(body.to_owned()) };
        for answer in queue.send(vec![letter]).await.unwrap() {
            answer.unwrap();
        }
    }

    fn call_message(seams: &Seams) -> CallMessage {
        let call = CallId::single(seams.now(), seams.rng.u128());
        CallMessage::new(MessageId::new(seams.now(), seams.rng.u128()), "app".parse().unwrap(), call)
    }

    #[tokio::test]
    async fn letters_are_seen_more_than_once_and_by_name() {
        let seams = seams();
        let message = call_message(&seams);
        bury(&seams.queues.calls.dead, &Message::Call(message.clone()).encode(), "received too often").await;
        for number in 0..25 {
            bury(&seams.queues.batches.dead, &format!("garbage {number}"), "not a message").await;
        }
        for _ in 0..2 {
            let letters = list(&seams.queues, 100).await.unwrap();
            assert_eq!(letters.len(), 26);
            assert_eq!((letters[0].queue, letters[0].call), ("calls", Some(message.call)));
            assert_eq!(letters[0].why.as_deref(), Some("received too often"));
            assert!(letters[1..].iter().all(|letter| letter.queue == "batches" && letter.call.is_none()));
        }
        assert_eq!(list(&seams.queues, 3).await.unwrap().len(), 3);
        let letters = list(&seams.queues, 100).await.unwrap();
        let last = letters.last().unwrap();
        assert_eq!(show(&seams.queues, &last.id).await.unwrap(), *last);
        assert_eq!(show(&seams.queues, "nothing").await.unwrap_err().code(), crate::Code::NotFound);
    }

    #[tokio::test]
    async fn what_is_put_back_has_a_message_id_of_its_own() {
        let seams = seams();
        let message = call_message(&seams);
        bury(&seams.queues.calls.dead, &Message::Call(message.clone()).encode(), "why").await;
        bury(&seams.queues.calls.dead, "garbage", "not a message").await;
        let redriven = redrive(&seams, &Pick::All).await.unwrap();
        assert_eq!((redriven.sent.len(), redriven.kept.len()), (1, 1));

        let received = seams.queues.calls.live.receive(10, Duration::ZERO, HOLD).await.unwrap();
        let [received] = &received[..] else { panic!("{received:?}") };
        let Ok(Message::Call(again)) = Message::decode(&received.body) else { panic!("{received:?}") };
        assert_ne!(again.id, message.id);
        assert_eq!((again.call, again.again), (message.call, true));
        let left = list(&seams.queues, 10).await.unwrap();
        assert_eq!(left.iter().map(|letter| letter.body.as_str()).collect::<Vec<_>>(), ["garbage"]);
    }

    #[tokio::test]
    async fn only_what_was_named_is_thrown_away() {
        let seams = seams();
        for body in ["one", "two", "three"] {
            bury(&seams.queues.chunks.dead, body, "not a message").await;
        }
        let letters = list(&seams.queues, 10).await.unwrap();
        let two = letters.iter().find(|letter| letter.body == "two").unwrap();
        let pick = |ids: &[&str]| Pick::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(purge(&seams.queues, &pick(&[&two.id])).await.unwrap(), 1);
        assert_eq!(list(&seams.queues, 10).await.unwrap().len(), 2);
        assert_eq!(
            purge(&seams.queues, &pick(&["nothing"])).await.unwrap_err().code(),
            crate::Code::NotFound
        );
        assert_eq!(purge(&seams.queues, &Pick::All).await.unwrap(), 2);
        assert!(list(&seams.queues, 10).await.unwrap().is_empty());
    }
}
