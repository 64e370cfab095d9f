//! What planted bugs do that takes more than an expression.

use crate::layout::batch::{Chunking, Sealed};
use crate::layout::part::Row;
use crate::model::{DeliveryId, MessageId, Time};
use crate::outcomes::{Log, Logs};
use crate::seam::StoreError;
use crate::seam::store::{ByteRange, ETag, PutObject, Store};

/// Puts an object over what is there.
pub async fn overwrite(
    store: &dyn Store,
    key: &crate::layout::Key,
    object: PutObject,
) -> Result<ETag, StoreError> {
    match store.put(key, object.clone()).await {
        Err(StoreError::Exists) => {
            let there = store.get(key, ByteRange::Whole(u64::MAX)).await?;
            store.put(key, PutObject::replace(object.body, there.info.etag)).await
        }
        put => put,
    }
}

/// A delivery without its message's id.
pub fn of_no_message(delivery: DeliveryId) -> DeliveryId {
    DeliveryId { message: MessageId::new(Time(0), 0), ..delivery }
}

/// A prefix that ends with a message's id and a dot, without these.
pub fn of_all_messages(prefix: String) -> String {
    prefix.rsplit_once('/').map_or(prefix.clone(), |(folder, _)| format!("{folder}/"))
}

/// Other chunks than those that are stored.
pub fn cut_otherwise<T>(chunking: Chunking) -> (Vec<T>, Chunking) {
    (Vec::new(), Chunking { calls_min: chunking.calls_min + 1, ..chunking })
}

/// Whether the last part is of the writer of these rows.
pub fn is_of_same_writer(log: &Log, rows: &[Row]) -> bool {
    log.worker() == rows.first().map(|row| &*row.worker)
}

/// A seal of all that is stored by now.
pub fn seal_what_is_stored(logs: &Logs) -> Option<Sealed> {
    let (_, last, _) = logs.ranges().last()?;
    Some(Sealed { last, missing: Vec::new(), at: Time(0), by: String::new() })
}
