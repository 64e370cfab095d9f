//! Contexts on S3 and SQS: made, made again, opened, and what they say when something is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use afn::backend::aws::S3Store;
use afn::context::{self, QueueNames, Resource};
use afn::layout::Key;
use afn::seam::queue::{Outgoing, QueueError};
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Store as _, StoreError};

use super::harness;

fn made(steps: &[Resource]) -> BTreeSet<&str> {
    steps.iter().filter(|step| step.made).map(|step| step.what.as_str()).collect()
}

#[tokio::test]
async fn create_makes_what_is_missing_and_only_that() {
    let mut context = harness::draft("create");
    let own = context.queues.calls.strip_suffix("-calls").unwrap().to_owned();
    context.bucket = Some(own.clone());
    let mut first = context::create(&context).await.unwrap();
    let names: Vec<String> = std::iter::once(format!("bucket `{own}`"))
        .chain(
            ["calls", "chunks", "batches"]
                .into_iter()
                .flat_map(|queue| [format!("queue `{own}-{queue}-dead`"), format!("queue `{own}-{queue}`")]),
        )
        .collect();
    let store = first.pop().expect("the store comes last");
    assert!(store.made && store.what.starts_with("store `"), "{store:?}");
    assert_eq!(first.iter().map(|step| step.what.clone()).collect::<Vec<_>>(), names);
    assert_eq!(made(&first).len(), names.len());
    let mut second = context::create(&context).await.unwrap();
    assert_eq!(second.pop().map(|step| (step.what, step.made)), Some((store.what, false)), "the same store");
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
    one.deps
        .store
        .put(&Key::text("apps/a/app"), PutObject::create("x").metadata("{}".to_owned()))
        .await
        .unwrap();
    assert_eq!(
        &two.deps.store.get(&Key::text("apps/a/app"), ByteRange::Whole(u64::MAX)).await.unwrap().body[..],
        b"x"
    );
    one.deps.queues.calls.live.send(vec![Outgoing::new("m".to_owned())]).await.unwrap();
    let wait = Duration::from_secs(20);
    let got = two.deps.queues.calls.live.receive(1, wait, wait).await.unwrap();
    assert_eq!(got[0].body, "m");
    assert!(two.deps.queues.chunks.live.depth().await.unwrap().is_dry());
    // An object, a message, and the id of the store for it.
    assert_eq!(one.counts.snapshot().requests(), 3, "looking up a queue's name is none of a call's requests");
}

#[tokio::test]
async fn prefixes_keep_contexts_apart() {
    let one = harness::open(&harness::made("apart").await).await.deps.store;
    let two = harness::open(&harness::made("apart").await).await.deps.store;
    one.put(&Key::text("apps/a/app"), PutObject::create("one")).await.unwrap();
    two.put(&Key::text("apps/a/app"), PutObject::create("two")).await.unwrap();
    let listed = one.list(&List::all("")).await.unwrap();
    assert_eq!(
        listed.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(),
        ["apps/a/app", "store"]
    );
    one.delete(&[Key::text("apps/a/app")]).await.unwrap();
    assert_eq!(
        &two.get(&Key::text("apps/a/app"), ByteRange::Whole(u64::MAX)).await.unwrap().body[..],
        b"two"
    );
}

#[tokio::test]
async fn what_was_not_made_is_named() {
    let mut context = harness::draft("absent");
    context.bucket = Some(harness::unique("absent"));
    let opened = harness::open(&context).await;
    let store = opened.deps.store.put(&Key::text("apps/a/app"), PutObject::create("x")).await.unwrap_err();
    let StoreError::Unreached(of) = store else { panic!("{store:?}") };
    assert!(of.what.contains(context.bucket.as_deref().unwrap()), "{of:?}");
    assert!(of.why.contains("account 000000000000") && of.hint.contains("afn context create"), "{of:?}");
    let queue = opened.deps.queues.calls.live.depth().await.unwrap_err();
    let QueueError::Unreached(of) = queue else { panic!("{queue:?}") };
    assert!(of.what.contains(&context.queues.calls), "{of:?}");
    assert!(of.why.contains("account 000000000000") && of.hint.contains("afn context create"), "{of:?}");
}

#[tokio::test]
async fn nobody_listening_is_soon_said_with_the_address_and_the_way_out() {
    let mut context = harness::draft("nobody");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    context.endpoint = Some(format!("http://{free}"));
    let store = S3Store::new(&harness::connect(&context).await, "afn", "");
    let error = store.put(&Key::text("k"), PutObject::create("x")).await.unwrap_err();
    let StoreError::Unreached(unreached) = error else { panic!("{error:?}") };
    assert_eq!(unreached.what, format!("http://{free} cannot be reached"));
    assert!(unreached.hint.contains("localstack/up"), "{unreached:?}");
}

#[tokio::test]
async fn dead_letters_go_to_their_queue() {
    let context = harness::made("dead").await;
    let opened = harness::open(&context).await;
    let lane = opened.deps.queues.calls;
    let letter = Outgoing { metadata: Some("not a message".to_owned()), ..Outgoing::new("{".to_owned()) };
    lane.dead.send(vec![letter]).await.unwrap();
    assert!(lane.live.depth().await.unwrap().is_dry());
    let wait = Duration::from_secs(20);
    let got = lane.dead.receive(1, wait, wait).await.unwrap();
    assert_eq!(got[0].metadata.as_deref(), Some("not a message"));
}
