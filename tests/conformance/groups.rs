//! Groups share a queue on this machine fairly: memory and SQLite obey one rule.

use std::sync::Arc;
use std::time::Duration;

use afn::backend::memory::MemoryQueue;
use afn::backend::sqlite::Sqlite;
use afn::seam::Queue;
use afn::seam::clock::SystemClock;
use afn::seam::queue::{Outgoing, Received};

const LONG: Duration = Duration::from_secs(60);

/// Each with what keeps it.
fn queues() -> [(Arc<dyn Queue>, Option<tempfile::TempDir>); 2] {
    let clock = Arc::new(SystemClock);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sqlite = Sqlite::open(folder.path().join("afn.db"), clock.clone()).expect("open");
    [(Arc::new(MemoryQueue::new(clock)), None), (sqlite.queue("chunks"), Some(folder))]
}

async fn send(queue: &dyn Queue, group: &str, bodies: &[&str]) {
    for body in bodies {
        let message = Outgoing { group: Some(group.to_owned()), ..Outgoing::new((*body).to_owned()) };
        queue.send(vec![message]).await.unwrap()[0].clone().unwrap();
        // Of equals the oldest goes first: it is to be the oldest.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn take(queue: &dyn Queue, max: usize) -> Vec<Received> {
    queue.receive(max, Duration::ZERO, LONG).await.unwrap()
}

fn bodies(messages: &[Received]) -> Vec<&str> {
    messages.iter().map(|message| &*message.body).collect()
}

#[tokio::test]
async fn the_group_with_the_fewest_in_flight_goes_first() {
    for (queue, _keep) in queues() {
        send(&*queue, "large", &["a1", "a2", "a3", "a4"]).await;
        let first = take(&*queue, 2).await;
        assert_eq!(bodies(&first), ["a1", "a2"]);
        send(&*queue, "small", &["b1", "b2", "b3"]).await;
        // The newcomer catches up, and then they take turns.
        assert_eq!(bodies(&take(&*queue, 2).await), ["b1", "b2"]);
        assert_eq!(bodies(&take(&*queue, 1).await), ["a3"]);
        // What is finished is in flight no more.
        let receipts: Vec<_> = first.iter().map(|message| message.receipt.clone()).collect();
        queue.delete(&receipts).await.unwrap();
        assert_eq!(bodies(&take(&*queue, 1).await), ["a4"]);
        assert_eq!(bodies(&take(&*queue, 1).await), ["b3"]);
        assert!(take(&*queue, 1).await.is_empty());
    }
}

#[tokio::test]
async fn a_message_given_back_is_not_in_flight() {
    for (queue, _keep) in queues() {
        send(&*queue, "a", &["a1", "a2"]).await;
        send(&*queue, "b", &["b1"]).await;
        let first = take(&*queue, 1).await;
        assert_eq!(bodies(&first), ["a1"]);
        queue.extend(&first[0].receipt, Duration::ZERO).await.unwrap();
        // Given back a moment ago, it is the youngest.
        assert_eq!(bodies(&take(&*queue, 3).await), ["a2", "b1", "a1"]);
    }
}

#[tokio::test]
async fn a_group_that_is_preferred_goes_first() {
    for (queue, _keep) in queues() {
        send(&*queue, "other", &["a1", "a2"]).await;
        send(&*queue, "own", &["b1", "b2"]).await;
        queue.prefer("own");
        assert_eq!(bodies(&take(&*queue, 1).await), ["b1"]);
        assert_eq!(bodies(&take(&*queue, 3).await), ["b2", "a1", "a2"]);
    }
}
