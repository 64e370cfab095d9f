//! A receiver of webhooks that is dead, slow or broken holds up no worker, and gets what it is due.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::event::Event;
use afn::layout::batch::{Fired, Then};
use afn::model::{BatchId, BatchRef, CallId};
use afn::seam::{StoreExt as _, Webhook};
use afn::submit::batch::BatchOptions;
use afn::{layout, limits};
use async_trait::async_trait;

use super::script::{Script, answers, h, ms, s};
use super::world::{Running, World};

/// Refuses so many posts, then takes each after so long.
struct Receiver {
    refuses: usize,
    answers_after: Duration,
    posts: Mutex<Vec<(Duration, String, String)>>,
    begun: tokio::time::Instant,
}

impl Receiver {
    fn new(refuses: usize, answers_after: Duration) -> Arc<Receiver> {
        Arc::new(Receiver {
            refuses,
            answers_after,
            posts: Mutex::default(),
            begun: tokio::time::Instant::now(),
        })
    }

    fn posts(&self) -> Vec<(Duration, String, String)> {
        self.posts.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Webhook for Receiver {
    async fn post(&self, url: &str, delivery: &str, body: &str) -> Result<String, String> {
        assert_eq!(url, URL);
        let count = {
            let mut posts = self.posts.lock().expect("no panic");
            posts.push((self.begun.elapsed(), delivery.to_owned(), body.to_owned()));
            posts.len()
        };
        if count <= self.refuses {
            return Err("503 Service Unavailable".to_owned());
        }
        tokio::time::sleep(self.answers_after).await;
        Ok("204 No Content".to_owned())
    }
}

const URL: &str = "https://hooks.example/done?token=secret";

struct Field {
    world: World,
    receiver: Arc<Receiver>,
}

impl Field {
    async fn new(receiver: Arc<Receiver>) -> Field {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        world.publish_for("g", None, 1, s(1), s(300)).await;
        Field { world, receiver }
    }

    async fn batch(&self) -> BatchId {
        let options = BatchOptions {
            on_complete: Some(URL.to_owned()),
            then: Some(Then { app: self.world.app.clone(), route: "/g".parse().expect("a route") }),
            ..BatchOptions::default()
        };
        self.world.batch_of("f", 4, 4, options).await
    }

    fn worker(&self, name: &str) -> Running {
        let mut config = self.world.config(name, 2);
        config.webhook = Some(self.receiver.clone());
        self.world.start_with(config, |_| true, &Script::always(answers(ms(10))))
    }

    /// The worker drains at once, and the next one delivers. Returns the tries in all.
    async fn hand_over(&self, worker: Running, batch: BatchId) -> u32 {
        let begun = self.world.elapsed();
        worker.drain().await;
        assert!(self.world.elapsed() - begun < s(5), "{:?}", self.world.elapsed() - begun);
        let _next = self.worker("next");
        self.world.fired(batch, h(1)).await.expect("it fires");
        let webhook = self.fired(batch).await.webhook.expect("it was asked for");
        assert!(webhook.delivered);
        webhook.tries
    }

    /// The follow-ups of a batch; the call had its one execution.
    async fn fired(&self, batch: BatchId) -> Fired {
        assert_eq!(self.world.attempts(CallId::following(batch)), [1]);
        let of = BatchRef::new(&self.world.app, batch);
        self.world.deps.store.read_fact(&of).await.expect("it has fired")
    }
}

/// The tries are messages: between them the worker has nothing of the batch, and other batches go on.
#[tokio::test(start_paused = true)]
async fn a_webhook_is_tried_again_by_delayed_messages() {
    let field = Field::new(Receiver::new(3, ms(0))).await;
    let _worker = field.worker("w");
    let batch = field.batch().await;
    field.world.fired(batch, h(1)).await.expect("it fires");
    let fired = field.fired(batch).await;
    assert_eq!(fired.then, Some(CallId::following(batch)));
    let answer = "204 No Content".to_owned();
    assert_eq!(fired.webhook, Some(layout::batch::Webhook { delivered: true, tries: 4, answer }));
    let posts = field.receiver.posts();
    assert!(posts.iter().all(|(_, delivery, body)| *delivery == batch.to_string() && *body == posts[0].2));
    let waits: Vec<u64> = posts.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
    assert!(
        waits.len() == 3 && waits[0] >= 1 && waits[1] >= 2 && waits[2] >= 4 && waits[2] < 30,
        "{waits:?}"
    );
    let told = |event: &Event| {
        matches!(event, Event::RequestRepeated { what, why }
            if what.ends_with("to https://hooks.example/done?…") && why.starts_with("503"))
    };
    assert_eq!(field.world.said(told), 3);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_nobody_takes_ends_after_its_tries() {
    let field = Field::new(Receiver::new(usize::MAX, ms(0))).await;
    let _worker = field.worker("w");
    let batch = field.batch().await;
    let fired_after = field.world.fired(batch, h(1)).await.expect("it fires");
    assert!(fired_after < s(900), "{fired_after:?}");
    let fired = field.fired(batch).await.webhook.expect("it was asked for");
    let tries = limits::WEBHOOK_TRIES_MAX;
    assert_eq!((fired.delivered, fired.tries, &*fired.answer), (false, tries, "503 Service Unavailable"));
    assert_eq!(field.receiver.posts().len(), tries as usize);
}

/// A receiver that does not answer keeps no worker from draining; the next worker posts again, and that counts as the first try.
#[tokio::test(start_paused = true)]
async fn a_try_ends_when_its_worker_drains() {
    let field = Field::new(Receiver::new(0, s(20))).await;
    let worker = field.worker("w");
    let batch = field.batch().await;
    field.world.over(batch, h(1)).await.expect("it ends");
    while field.receiver.posts().is_empty() {
        tokio::time::sleep(ms(50)).await;
    }
    assert_eq!(field.hand_over(worker, batch).await, 1);
    assert_eq!(field.receiver.posts().len(), 2);
}

/// Between two tries no worker holds the batch.
#[tokio::test(start_paused = true)]
async fn a_worker_drains_between_two_tries() {
    let field = Field::new(Receiver::new(8, ms(0))).await;
    let worker = field.worker("w");
    let batch = field.batch().await;
    while field.receiver.posts().len() < 6 {
        tokio::time::sleep(ms(250)).await;
    }
    assert_eq!(field.hand_over(worker, batch).await, 9);
}
