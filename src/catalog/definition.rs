//! How a definition is created and changed: by compare-and-swap, with a fresh nonce in every body.
//!
//! The nonce is the identity of a write. A write whose answer was lost and that is asked for again finds itself in the
//! way; reading what stands and comparing nonces tells one's own write from a rival's.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::object;
use crate::limits;
use crate::model::{App, Function, Nonce};
use crate::seam::store::{ETag, PutObject};
use crate::seam::{RngExt as _, StoreError, StoreExt as _};

/// A body that may be changed.
pub(super) trait Definition: Serialize + DeserializeOwned + Send + Sync {
    fn nonce(&self) -> Nonce;
    fn set_nonce(&mut self, nonce: Nonce);
}

macro_rules! definition {
    ($($body:ty),+) => {$(
        impl Definition for $body {
            fn nonce(&self) -> Nonce {
                self.nonce
            }

            fn set_nonce(&mut self, nonce: Nonce) {
                self.nonce = nonce;
            }
        }
    )+};
}

definition!(App, Function, object::RouteTarget);

/// What stands after an attempt to create.
pub(super) enum Created<T> {
    /// What was asked for.
    Own,
    /// Somebody else's.
    Other(Standing<T>),
}

/// A definition as it was read.
pub(super) struct Standing<T> {
    pub body: T,
    pub etag: ETag,
}

impl Catalog {
    pub(super) async fn read<T: Definition>(&self, key: &str) -> Result<Option<Standing<T>>> {
        match self.seams.store.find(key).await? {
            Some(object) => {
                Ok(Some(Standing { body: object::decode(key, &object.body)?, etag: object.info.etag }))
            }
            None => Ok(None),
        }
    }

    pub(super) async fn create<T: Definition>(&self, key: &str, body: &T) -> Result<Created<T>> {
        for tries in 1..=limits::DEFINITION_TRIES_MAX {
            match self.seams.store.put(key, put(PutObject::create(object::encode(body)))).await {
                Ok(_) => return Ok(Created::Own),
                Err(StoreError::Exists) => {}
                Err(error) => return Err(error.into()),
            }
            match self.read::<T>(key).await? {
                Some(standing) if standing.body.nonce() == body.nonce() => return Ok(Created::Own),
                Some(standing) => return Ok(Created::Other(standing)),
                // Deleted between the two requests.
                None => self.give_way(tries).await,
            }
        }
        Err(contended(key))
    }

    /// Applies `change` to what stands and writes it back, until nobody came between. `None` when there is nothing.
    ///
    /// `change` may be applied more than once, each time to what stands then. When the answer to a write was lost *and*
    /// a rival wrote on top of it, it is applied again after the rival's, as if it had come last: so a change says what
    /// the definition should become, never by how much.
    pub(super) async fn change<T: Definition>(
        &self,
        key: &str,
        change: impl Fn(&mut T) -> Result<()>,
    ) -> Result<Option<T>> {
        for tries in 1..=limits::DEFINITION_TRIES_MAX {
            let Some(Standing { mut body, etag }) = self.read::<T>(key).await? else { return Ok(None) };
            change(&mut body)?;
            if self.replace(key, &mut body, etag).await? {
                return Ok(Some(body));
            }
            self.give_way(tries).await;
        }
        Err(contended(key))
    }

    /// Puts `body`, with a fresh nonce, in the place of what was read. False when it no longer stands.
    pub(super) async fn replace<T: Definition>(&self, key: &str, body: &mut T, etag: ETag) -> Result<bool> {
        body.set_nonce(self.seams.nonce());
        match self.seams.store.put(key, put(PutObject::replace(object::encode(body), etag))).await {
            Ok(_) => Ok(true),
            Err(StoreError::Changed) => {
                Ok(self.read::<T>(key).await?.is_some_and(|standing| standing.body.nonce() == body.nonce()))
            }
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove(&self, key: String) -> Result<()> {
        Ok(self.seams.store.delete(&[key]).await?)
    }

    async fn give_way(&self, tries: u32) {
        let most = limits::REQUEST_BACKOFF_MS_MIN.saturating_mul(u64::from(tries));
        let wait = self.seams.rng.below(most.min(limits::REQUEST_BACKOFF_MS_MAX));
        self.seams.clock.sleep(Duration::from_millis(wait)).await;
    }
}

fn put(object: PutObject) -> PutObject {
    object.content_type("application/json")
}

fn contended(key: &str) -> Error {
    Error::conflict(format!(
        "`{key}` was changed by somebody else {} times in a row while it was to be changed here",
        limits::DEFINITION_TRIES_MAX
    ))
    .hint("try again when nobody else deploys or configures it")
}
