//! From the way people name batches to their ids.

use super::receipt::Receipts;
use crate::cli::args::BatchRef;
use crate::cli::session::{Engine, Session};
use crate::error::{Error, Result};
use crate::model::BatchId;

pub fn batch(session: &Session, engine: &Engine, which: BatchRef) -> Result<BatchId> {
    let context = engine.context.name.as_str();
    match which {
        BatchRef::Batch(batch) => Ok(batch),
        BatchRef::Newest => match Receipts::of(session)?.newest(context)? {
            Some(receipt) => Ok(receipt.batch),
            None => Err(Error::not_found(format!("no batch was submitted from here in context {context}"))
                .hint("`afn batch list APP` lists the batches of an app")),
        },
    }
}
