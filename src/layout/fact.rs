//! The JSON bodies that are persisted, each with its key: facts, and definitions: of the catalog, and of how a batch runs.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Key;
use super::batch::{Batch, Cancelled, Deleted, Dispatched, Fired, Mark, Pointer, Retry, Sealed, Summary};
use super::control::{Control, Shares};
use super::envelope;
use super::object::{
    self, IdempotencyKey, Reconciled, RouteTarget, Settings, Started, StoreIdentity, TaskPanic, Unsuited,
};
use super::watermarks::Watermarks;
use crate::error::Result;
use crate::limits;
use crate::model::{
    App, AppName, BatchId, BatchRef, CallRef, DeliveryId, Digest, Function, FunctionName, MarkId, MessageId,
    Nonce, Outcome, PanicId, Route, Version, VersionId, WatermarksId,
};

/// A JSON body under a key that its id gives. It is written once, unless it is a definition.
pub trait Fact: Serialize + DeserializeOwned + PartialEq + Send + Sync {
    type Id: Sync;
    const CONTENT_TYPE: &'static str = "application/json";
    /// The most bytes that are written, and that a reader takes.
    const BYTES_MAX: u64 = limits::FACT_BYTES_MAX;
    /// The greatest version that is read.
    const VERSION_MAX: u32 = envelope::VERSION;

    fn key(id: &Self::Id) -> Key;

    /// The version that this body is written with. A greater one than [`envelope::VERSION`] keeps older readers from a body of
    /// which they must not ignore a part.
    fn version(&self) -> u32 {
        envelope::VERSION
    }
}

pub fn encode<T: Fact>(fact: &T) -> Bytes {
    object::encode_as(fact.version(), fact)
}

pub fn decode<T: Fact>(key: &Key, body: &[u8]) -> Result<T> {
    object::decode_up_to(T::VERSION_MAX, key, body)
}

/// A body that may be changed, by compare-and-swap. Its nonce is the identity of a write: after a lost answer it tells the own
/// write from another's.
pub trait Definition: Fact {
    /// One that cannot be read is replaced as if it were absent.
    const IS_REPLACED_UNREAD: bool = false;

    fn nonce(&self) -> Nonce;
    fn set_nonce(&mut self, nonce: Nonce);
}

macro_rules! definitions {
    ($($body:ty $({ $($constant:item)* })?),+ $(,)?) => {$(
        impl Definition for $body {
            $($($constant)*)?

            fn nonce(&self) -> Nonce {
                self.nonce
            }

            fn set_nonce(&mut self, nonce: Nonce) {
                self.nonce = nonce;
            }
        }
    )+};
}

definitions! {
    App,
    Function,
    RouteTarget,
    Settings,
    Control,
    // Nobody holds a share of one that cannot be read.
    Shares { const IS_REPLACED_UNREAD: bool = true; },
}

macro_rules! facts {
    ($($fact:ty { $id:ty } $name:pat => $key:expr $(, $bytes_max:expr)?;)+) => {$(
        impl Fact for $fact {
            type Id = $id;
            $(const BYTES_MAX: u64 = $bytes_max;)?

            fn key($name: &$id) -> Key {
                $key
            }
        }
    )+};
}

facts! {
    App { AppName } app => Key::App(app.clone());
    RouteTarget { (AppName, Route) } (app, route) => Key::Route(app.clone(), route.clone());
    Function { (AppName, FunctionName) } (app, name) => Key::Function(app.clone(), name.clone());
    Version { (AppName, FunctionName, VersionId) } (app, name, version) =>
        Key::Version(app.clone(), name.clone(), version.clone());
    IdempotencyKey { (AppName, Digest) } (app, digest) => Key::Idempotency(app.clone(), digest.clone());
    Started { (CallRef, DeliveryId) } (of, delivery) => Key::Started(of.app.clone(), of.call, *delivery);
    Unsuited { (CallRef, MessageId) } (of, message) => Key::Unsuited(of.app.clone(), of.call, *message);
    Outcome { CallRef } of => Key::Status(of.app.clone(), of.call);
    Pointer { BatchId } batch => Key::Pointer(*batch);
    Sealed { BatchRef } of => Key::Sealed(of.app.clone(), of.batch), limits::SEALED_BYTES_MAX;
    Dispatched { (BatchRef, u32) } (of, entry) => Key::Dispatched(of.app.clone(), of.batch, *entry), limits::SEALED_BYTES_MAX;
    Cancelled { BatchRef } of => Key::Cancelled(of.app.clone(), of.batch);
    Control { BatchRef } of => Key::Control(of.app.clone(), of.batch);
    Shares { BatchRef } of => Key::Shares(of.app.clone(), of.batch);
    Summary { BatchRef } of => Key::Summary(of.app.clone(), of.batch);
    Deleted { BatchRef } of => Key::Deleted(of.app.clone(), of.batch);
    Fired { BatchRef } of => Key::Fired(of.app.clone(), of.batch);
    Retry { (BatchRef, u32) } (of, number) => Key::Retry(of.app.clone(), of.batch, *number);
    Mark { (BatchRef, u64, MarkId) } (of, last, mark) => Key::Mark(of.app.clone(), of.batch, *last, *mark);
    Settings { () } () => Key::Settings;
    StoreIdentity { () } () => Key::Store;
    Reconciled { u64 } hour => Key::Reconciled(*hour);
    Watermarks { WatermarksId } id => Key::Watermarks(*id), limits::WATERMARKS_BYTES_MAX;
    TaskPanic { PanicId } panic => Key::Panic(*panic), limits::PANIC_BYTES_MAX;
}

impl Fact for Batch {
    type Id = BatchRef;
    const VERSION_MAX: u32 = Batch::FETCH_VERSION;

    fn key(of: &BatchRef) -> Key {
        Key::Batch(of.app.clone(), of.batch)
    }

    /// An afn that does not know that the payloads are elsewhere would run the calls on empty ones.
    fn version(&self) -> u32 {
        if self.fetch.is_some() { Batch::FETCH_VERSION } else { envelope::VERSION }
    }
}
