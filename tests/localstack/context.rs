//! Contexts on S3 and SQS: made, made again, opened, and what they say when something is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use afn::backend::aws::S3Store;
use afn::context::{self, QueueNames, Step};
use afn::seam::queue::{Outgoing, QueueError};
use afn::seam::store::{List, PutObject, Range};
use afn::seam::{Store as _, StoreError};

use crate::harness;

fn made(steps: &[Step]) -> BTreeSet<&str> {
    steps.iter().filter(|step| step.made).map(|step| step.what.as_str()).collect()
}

#[tokio::test]
async fn create_makes_what_is_missing_and_only_that() {
    let mut context = harness::draft("create");
    let own = context.queues.calls.strip_suffix("-calls").unwrap().to_owned();
    context.bucket = Some(own.clone());
    let first = context::create(&context).await.unwrap();
    let names: Vec<String> = std::iter::once(format!("bucket `{own}`"))
        .chain(
            ["calls", "chunks", "batches"]
                .into_iter()
                .flat_map(|queue| [format!("queue `{own}-{queue}-dead`"), format!("queue `{own}-{queue}`")]),
        )
        .collect();
    assert_eq!(first.iter().map(|step| step.what.clone()).collect::<Vec<_>>(), names);
    assert_eq!(made(&first).len(), names.len());
    let second = context::create(&context).await.unwrap();
    assert_eq!(second.iter().map(|step| step.what.clone()).collect::<Vec<_>>(), names);
    assert!(made(&second).is_empty(), "{second:?}");

    // One queue lost: it alone comes back.
    let mut other = context.clone();
    other.queues.chunks = harness::unique("chunks");
    let dead = QueueNames::dead(&other.queues.chunks);
    let third = context::create(&other).await.unwrap();
    let missing = [format!("queue `{}`", other.queues.chunks), format!("queue `{dead}`")];
    assert_eq!(made(&third), missing.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn what_one_opens_another_sees() {
    let context = harness::made("shared").await;
    let (one, two) = (harness::open(&context).await, harness::open(&context).await);
    one.seams.store.put("apps/a/app", PutObject::create("x").note("{}".to_owned())).await.unwrap();
    assert_eq!(&two.seams.store.get("apps/a/app", Range::All).await.unwrap().body[..], b"x");
    one.seams.queues.calls.live.send(vec![Outgoing::new("m".to_owned())]).await.unwrap();
    let wait = Duration::from_secs(10);
    let got = two.seams.queues.calls.live.receive(1, wait, wait).await.unwrap();
    assert_eq!(got[0].body, "m");
    assert!(two.seams.queues.chunks.live.depth().await.unwrap().is_dry());
    assert_eq!(one.counts.snapshot().requests(), 2, "looking up a queue's name is none of a call's requests");
}

#[tokio::test]
async fn prefixes_keep_contexts_apart() {
    let one = harness::open(&harness::made("apart").await).await.seams.store;
    let two = harness::open(&harness::made("apart").await).await.seams.store;
    one.put("apps/a/app", PutObject::create("one")).await.unwrap();
    two.put("apps/a/app", PutObject::create("two")).await.unwrap();
    let listed = one.list(&List::all("")).await.unwrap();
    assert_eq!(listed.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["apps/a/app"]);
    one.delete(&["apps/a/app".to_owned()]).await.unwrap();
    assert_eq!(&two.get("apps/a/app", Range::All).await.unwrap().body[..], b"two");
}

#[tokio::test]
async fn what_was_not_made_is_named() {
    let mut context = harness::draft("absent");
    context.bucket = Some(harness::unique("absent"));
    let opened = harness::open(&context).await;
    let store = opened.seams.store.put("apps/a/app", PutObject::create("x")).await.unwrap_err();
    let StoreError::Refused(why) = store else { panic!("{store:?}") };
    assert!(why.contains(context.bucket.as_deref().unwrap()) && why.contains("afn context create"), "{why}");
    let queue = opened.seams.queues.calls.live.depth().await.unwrap_err();
    let QueueError::Refused(why) = queue else { panic!("{queue:?}") };
    assert!(why.contains(&context.queues.calls) && why.contains("afn context create"), "{why}");
}

#[tokio::test]
async fn nobody_listening_is_soon_said_with_the_address_and_the_way_out() {
    let mut context = harness::draft("nobody");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    context.endpoint = Some(format!("http://{free}"));
    let store = S3Store::new(&harness::connect(&context).await, "afn", "");
    let error = store.put("k", PutObject::create("x")).await.unwrap_err();
    let StoreError::Unreached(unreached) = error else { panic!("{error:?}") };
    assert_eq!(unreached.what, format!("http://{free} cannot be reached"));
    assert!(unreached.way_out.contains("localstack/up"), "{unreached:?}");
}

#[tokio::test]
async fn dead_letters_go_to_their_queue() {
    let context = harness::made("dead").await;
    let opened = harness::open(&context).await;
    let lane = opened.seams.queues.calls;
    let letter = Outgoing { note: Some("not a message".to_owned()), ..Outgoing::new("{".to_owned()) };
    lane.dead.send(vec![letter]).await.unwrap();
    assert!(lane.live.depth().await.unwrap().is_dry());
    let wait = Duration::from_secs(10);
    let got = lane.dead.receive(1, wait, wait).await.unwrap();
    assert_eq!(got[0].note.as_deref(), Some("not a message"));
}
