//! Reads calls and batches: their state, results, lists, and why they do not progress. Reads the store and the depth of the
//! queues, writes nothing, and knows neither printing nor HTTP.

pub mod attempts;
pub mod batch;
pub mod body;
pub mod call;
pub mod cost;
pub mod export;
#[cfg(test)]
mod fixture;
pub mod list;
mod newest;
pub mod open;
mod pages;
pub mod panics;
pub mod reasons;
pub mod report;
pub mod rows;
pub mod unsuited;
mod view;
pub mod wait;
pub mod wanted;
pub mod why;
mod window;

use crate::error::{Code, Error};
use crate::seam::StoreError;

pub use batch::BatchView;
pub use view::CallView;

/// Adds the key to an error.
fn reading(key: &impl std::fmt::Display) -> impl Fn(StoreError) -> Error {
    move |error| {
        let error = Error::from(error);
        match error.code() {
            Code::NotFound => Error::not_found(format!("there is no object `{key}`")),
            _ => error.context(format!("read `{key}`")),
        }
    }
}
