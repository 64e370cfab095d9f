//! How a definition is created and changed: by compare-and-swap, with a fresh nonce in every body.
//!
//! The nonce is the identity of a write. When the answer to a write is lost, the retry finds an object; comparing nonces
//! tells its own earlier write from a rival's.

use std::time::Duration;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::object::{RouteTarget, Settings};
use crate::layout::{Fact, Key};
use crate::limits;
use crate::model::{App, Function, Nonce};
use crate::seam::store::ETag;
use crate::seam::{Created, RngExt as _, StoreError, StoreExt as _};

/// A body that may be changed.
pub(super) trait Definition: Fact {
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

definition!(App, Function, RouteTarget, Settings);

impl Catalog {
    /// With an existing one comes the ETag that a replacement of it needs.
    pub(super) async fn create<T: Definition>(&self, id: &T::Id, body: &T) -> Result<Created<(T, ETag)>> {
        for tries in 1..=limits::DEFINITION_TRIES_MAX {
            if self.deps.store.put_fact(id, body).await? {
                return Ok(Created::New);
            }
            match self.deps.store.find_with_etag::<T>(id).await? {
                Some((current, _)) if current.nonce() == body.nonce() => return Ok(Created::New),
                Some(current) => return Ok(Created::Existing(current)),
                // Deleted between the two requests.
                None => self.give_way(tries).await,
            }
        }
        Err(contended(&T::key(id)))
    }

    /// Applies `change` to the current definition and writes it, until no rival wrote in between. `None` without a definition.
    ///
    /// `change` may be applied more than once. When the answer to a write was lost *and* a rival wrote on top of it, it is
    /// applied again after the rival's: so a change must set values, not add to them.
    pub(super) async fn change<T: Definition>(
        &self,
        id: &T::Id,
        change: impl Fn(&mut T) -> Result<()>,
    ) -> Result<Option<T>> {
        for tries in 1..=limits::DEFINITION_TRIES_MAX {
            let Some((mut body, etag)) = self.deps.store.find_with_etag::<T>(id).await? else {
                return Ok(None);
            };
            change(&mut body)?;
            if self.replace(id, &mut body, etag).await? {
                return Ok(Some(body));
            }
            self.give_way(tries).await;
        }
        Err(contended(&T::key(id)))
    }

    /// Replaces the version that has this ETag by `body` with a fresh nonce. False when another one is current.
    pub(super) async fn replace<T: Definition>(&self, id: &T::Id, body: &mut T, etag: ETag) -> Result<bool> {
        body.set_nonce(self.deps.nonce());
        match self.deps.store.replace_fact(id, body, etag).await {
            Ok(_) => Ok(true),
            Err(StoreError::Changed) => {
                let current = self.deps.store.find_fact::<T>(id).await?;
                Ok(current.is_some_and(|current| current.nonce() == body.nonce()))
            }
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove<T: Definition>(&self, id: &T::Id) -> Result<()> {
        Ok(self.deps.store.delete(&[T::key(id)]).await?)
    }

    async fn give_way(&self, tries: u32) {
        let most = limits::ms(limits::REQUEST_BACKOFF_MIN).saturating_mul(u64::from(tries));
        let wait = self.deps.rng.below(most.min(limits::ms(limits::REQUEST_BACKOFF_MAX)));
        self.deps.clock.sleep(Duration::from_millis(wait)).await;
    }
}

fn contended(key: &Key) -> Error {
    Error::conflict(format!(
        "`{key}` was changed by others {} times in a row while this change was tried",
        limits::DEFINITION_TRIES_MAX
    ))
    .with_hint("try again when no other deploy or change is running")
}
