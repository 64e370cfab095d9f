//! Ids: ULIDs minted from the injected clock and randomness. Of the 80 free bits the top one tells a batch (1) from a
//! single call (0, as in Fn's own ids); a batch's calls carry its first 88 bits and their number in the last 40.
//! Persisted, keep stable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::time::Time;
use crate::error::Error;

const NUMBER_BITS: u32 = 40;
const NUMBER_MASK: u128 = (1 << NUMBER_BITS) - 1;
const BATCH_FLAG: u128 = 1 << 79;

/// The highest number that a call of a batch can have.
pub const NUMBER_MAX: u64 = NUMBER_MASK as u64;

fn parse(what: &str, text: &str) -> Result<Ulid, Error> {
    let canonical = Ulid::from_string(text).ok().filter(|ulid| ulid.to_text() == text);
    canonical.ok_or_else(|| {
        Error::invalid(format!("`{text}` is not a {what}"))
            .hint("an id has 26 characters, like 01BVJ5T7CA07WGE00000000000")
    })
}

trait ToText {
    fn to_text(&self) -> String;
}

impl ToText for Ulid {
    fn to_text(&self) -> String {
        let mut buffer = [0; ulid::ULID_LEN];
        self.array_to_str(&mut buffer).to_owned()
    }
}

macro_rules! ulid_newtype {
    ($name:ident, $what:literal) => {
        impl $name {
            pub fn time(&self) -> Time {
                Time(self.0.timestamp_ms())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<$name, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

/// One call: single, or number *n* of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallId(Ulid);

ulid_newtype!(CallId, "call id");

impl CallId {
    /// The id of a single call, from 80 random bits of which one is spent on the flag.
    pub fn single(now: Time, random: u128) -> CallId {
        CallId(Ulid::from_parts(now.0, random & (BATCH_FLAG - 1)))
    }

    /// The id of the one call that follows a batch: its time, and bits of its digest, so that whoever finishes the batch
    /// sends the same call.
    pub fn following(batch: BatchId) -> CallId {
        let digest: [u8; 32] = Sha256::digest(batch.to_string().as_bytes()).into();
        let random = digest.iter().take(16).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        CallId::single(batch.time(), random)
    }

    pub fn batch(&self) -> Option<BatchId> {
        let random = self.0.random();
        (random & BATCH_FLAG != 0)
            .then(|| BatchId(Ulid::from_parts(self.0.timestamp_ms(), random & !NUMBER_MASK)))
    }

    /// A call's place in its batch, from 1.
    pub fn number(&self) -> Option<u64> {
        self.batch().map(|_| (self.0.random() & NUMBER_MASK) as u64)
    }
}

/// The whole id, whose order is that of its text.
impl From<CallId> for u128 {
    fn from(id: CallId) -> u128 {
        id.0.0
    }
}

impl FromStr for CallId {
    type Err = Error;

    fn from_str(text: &str) -> Result<CallId, Error> {
        let id = CallId(parse("call id", text)?);
        match id.number() {
            Some(0) => Err(Error::invalid(format!("`{text}` is the id of a batch, not of a call"))
                .hint("a call's id ends in its number")),
            _ => Ok(id),
        }
    }
}

/// A batch: the common prefix of its call ids, then forty zero bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(Ulid);

ulid_newtype!(BatchId, "batch id");

impl BatchId {
    pub fn new(now: Time, random: u128) -> BatchId {
        let random = (random & (BATCH_FLAG - 1)) | BATCH_FLAG;
        BatchId(Ulid::from_parts(now.0, random & !NUMBER_MASK))
    }

    /// The id below this one, as a cursor of lists of calls: a batch's own id is none of a call.
    pub fn cursor(&self) -> CallId {
        CallId(Ulid(self.0.0 - 1))
    }

    /// The id of call `number`, which counts from 1.
    pub fn call(&self, number: u64) -> CallId {
        assert!(
            (1..=NUMBER_MAX).contains(&number),
            "a call's number lies in 1 to {NUMBER_MAX}, not {number}"
        );
        CallId(Ulid(self.0.0 | u128::from(number)))
    }
}

/// The whole id, whose order is that of its text.
impl From<BatchId> for u128 {
    fn from(id: BatchId) -> u128 {
        id.0.0
    }
}

impl FromStr for BatchId {
    type Err = Error;

    fn from_str(text: &str) -> Result<BatchId, Error> {
        let ulid = parse("batch id", text)?;
        let random = ulid.random();
        if random & BATCH_FLAG != 0 && random & NUMBER_MASK == 0 {
            Ok(BatchId(ulid))
        } else {
            Err(Error::invalid(format!("`{text}` is the id of a call, not of a batch")))
        }
    }
}

/// Minted by whoever sends a message, so that two messages to one call can be told apart (N8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Ulid);

ulid_newtype!(MessageId, "message id");

impl MessageId {
    pub fn new(now: Time, random: u128) -> MessageId {
        MessageId(Ulid::from_parts(now.0, random & (BATCH_FLAG * 2 - 1)))
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<MessageId, Error> {
        parse("message id", text).map(MessageId)
    }
}

/// One delivery of a message: `{message}.{delivery}`, deliveries counted from 1 by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId {
    pub message: MessageId,
    pub delivery: u32,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.delivery)
    }
}

impl FromStr for DeliveryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeliveryId, Error> {
        let parts = text
            .split_once('.')
            .and_then(|(message, delivery)| Some((message.parse().ok()?, count(delivery)?)));
        let (message, delivery) =
            parts.ok_or_else(|| Error::invalid(format!("`{text}` is not a delivery like MESSAGE.1")))?;
        Ok(DeliveryId { message, delivery })
    }
}

/// One execution of a call: `{message}.{delivery}.{try}`; no two executions ever share one (N8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptId {
    pub delivery: DeliveryId,
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.delivery, self.attempt)
    }
}

impl FromStr for AttemptId {
    type Err = Error;

    fn from_str(text: &str) -> Result<AttemptId, Error> {
        let parts = text
            .rsplit_once('.')
            .and_then(|(delivery, attempt)| Some((delivery.parse().ok()?, count(attempt)?)));
        let (delivery, attempt) =
            parts.ok_or_else(|| Error::invalid(format!("`{text}` is not an attempt like MESSAGE.1.1")))?;
        Ok(AttemptId { delivery, attempt })
    }
}

macro_rules! string_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<$name, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}

string_conversions!(DeliveryId, AttemptId);

/// Counts start at 1 and are written without leading zeros, so that every id has one spelling.
fn count(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number >= 1 && number.to_string() == text).then_some(number)
}

/// A fresh value in every body that compare-and-swap may rewrite, so that an ETag never comes back, and in every
/// object of whose write the answer may be lost, so that one's own is told from a rival's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(u64);

impl Nonce {
    pub fn new(random: u64) -> Nonce {
        Nonce(random)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Nonce {
    type Err = Error;

    fn from_str(text: &str) -> Result<Nonce, Error> {
        let value = u64::from_str_radix(text, 16).ok().map(Nonce).filter(|nonce| nonce.to_string() == text);
        value.ok_or_else(|| Error::invalid(format!("`{text}` is not a nonce of 16 hex digits")))
    }
}

string_conversions!(Nonce);
