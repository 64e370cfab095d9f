//! The id of a store, and a queue that writes it into every message: two contexts that share a queue by mistake can then
//! tell whose a message is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::event::{Event, Listener};
use crate::layout::object::StoreIdentity;
use crate::layout::origin;
use crate::model::StoreId;
use crate::seam::queue::{Depth, EntryAnswers, Outgoing, Queue, QueueResult, Receipt, Received};

use crate::seam::{Clock, Created, Rng, RngExt as _, Store, StoreExt as _};

/// The id of the store; written now, and `true`, if it has none yet. Costs one request, three where the id is new.
pub async fn find_or_create(
    store: &dyn Store,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<(StoreId, bool), Error> {
    if let Some(found) = store.find_fact::<StoreIdentity>(&()).await? {
        return Ok((found.id, false));
    }
    let created_at = clock.now();
    let identity = StoreIdentity { id: StoreId::new(created_at, rng.u128()), created_at };
    let created = store.create_fact(&(), &identity).await;
    match created.map_err(|error| error.context("write the id of the store"))? {
        Created::New => Ok((identity.id, true)),
        Created::Existing(stands) => Ok((stands.id, false)),
    }
}

/// The id of one store, asked for when a message is first sent.
pub struct Origin {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    events: Arc<dyn Listener>,
    id: OnceCell<StoreId>,
}

impl Origin {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        events: Arc<dyn Listener>,
    ) -> Arc<Origin> {
        Arc::new(Origin { store, clock, rng, events, id: OnceCell::new() })
    }

    /// None if it cannot be read or written, for lack of a permission, say. Messages without it work as well, unless two
    /// contexts share a queue.
    async fn id(&self) -> Option<StoreId> {
        let asked = self.id.get_or_try_init(|| async {
            find_or_create(&*self.store, &*self.clock, &*self.rng).await.map(|(id, _)| id)
        });
        asked
            .await
            .copied()
            .inspect_err(|error| {
                let what = "read or write the object `store`, the id of the store".to_owned();
                self.events.on(Event::RequestFailed { what, why: error.to_string() });
            })
            .ok()
    }
}

/// Stamps what is sent; all else is the inner queue's.
pub struct StampQueue {
    inner: Arc<dyn Queue>,
    origin: Arc<Origin>,
}

impl StampQueue {
    pub fn new(inner: Arc<dyn Queue>, origin: Arc<Origin>) -> StampQueue {
        StampQueue { inner, origin }
    }
}

#[async_trait]
impl Queue for StampQueue {
    async fn send(&self, mut messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        if let Some(id) = self.origin.id().await {
            for message in &mut messages {
                message.body = origin::stamp(std::mem::take(&mut message.body), id);
            }
        }
        self.inner.send(messages).await
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        self.inner.receive(max, wait, visibility).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        self.inner.extend(receipt, visibility).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        self.inner.delete(receipts).await
    }

    async fn depth(&self) -> QueueResult<Depth> {
        self.inner.depth().await
    }

    fn prefer(&self, group: &str) {
        self.inner.prefer(group);
    }
}
