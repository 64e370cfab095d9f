//! Every key of the layout, built and parsed. Persisted, keep stable.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;
use crate::model::{
    AppName, AttemptId, BatchId, CallId, DeliveryId, Digest, FunctionName, MessageId, Nonce, Route, VersionId,
};

/// What stands for an object. Prefixes of lists are made by the functions below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Definition of an app.
    App(AppName),
    /// Definition: which function a route leads to.
    Route(AppName, Route),
    /// Definition: config, type, current version of a function.
    Function(AppName, FunctionName),
    /// Fact: one deploy.
    Version(AppName, FunctionName, VersionId),
    /// Fact: a function's folder.
    Archive(AppName, Digest),
    /// Fact: idempotency key → call, request digest.
    Idempotency(AppName, Digest),
    /// Fact: body of a call as sent.
    Payload(AppName, CallId),
    /// Fact: a call that has run for a while, or is about to run after a lost delivery.
    Started(AppName, CallId, DeliveryId),
    /// Fact: the `started` beside it says nothing about the call, its worker was sick.
    Void(AppName, CallId, DeliveryId),
    /// Fact: no worker was found that can run the call.
    Unsuited(AppName, CallId, MessageId),
    /// Fact: answer of one attempt.
    Result(AppName, CallId, AttemptId),
    /// Fact: stdout and stderr of one attempt.
    Log(AppName, CallId, AttemptId),
    /// Fact: the outcome.
    Status(AppName, CallId),
    /// Fact: which app a batch belongs to; its first object.
    Pointer(BatchId),
    /// Fact: function, version, source, chunking.
    Batch(AppName, BatchId),
    /// Fact: one chunk, named by its last number.
    Chunk(AppName, BatchId, u64),
    /// Fact: a payload too big for its chunk, by number.
    Input(AppName, BatchId, u64),
    /// Fact: which calls belong.
    Sealed(AppName, BatchId),
    /// Fact: part of the log of the chunk that ends with the first number.
    Part(AppName, BatchId, u64, u64),
    /// Fact: a result over the inline limit, by number and attempt.
    BatchResult(AppName, BatchId, u64, AttemptId),
    /// Fact: calls of a chunk about to run, by delivery and group.
    Mark(AppName, BatchId, u64, DeliveryId, u32),
    /// Fact: the marks of this delivery say nothing, its worker was sick.
    MarkVoid(AppName, BatchId, u64, DeliveryId),
    /// Fact: cancel was asked for.
    Cancelled(AppName, BatchId),
    /// Fact: counts and times; stays as tombstone.
    Summary(AppName, BatchId),
    /// Fact: a batch made from this one's failures, from 1.
    Retry(AppName, BatchId, u32),
    /// Fact: follow-ups done; stays.
    Fired(AppName, BatchId),
    /// Fact: who looks after the lost in this hour since the epoch.
    Reconciled(u64),
    /// Written and deleted at once, to read the store's clock and to see whether it takes writes.
    Probe(Nonce),
}

/// A route is one path segment of its key: its slashes are encoded with everything else that is not plain.
const ROUTE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Under which all apps lie.
pub fn apps() -> String {
    "apps/".to_owned()
}

pub fn app(app: &AppName) -> String {
    format!("apps/{app}/")
}

pub fn routes(app: &AppName) -> String {
    format!("apps/{app}/routes/")
}

pub fn functions(app: &AppName) -> String {
    format!("apps/{app}/functions/")
}

pub fn versions(app: &AppName, function: &FunctionName) -> String {
    format!("apps/{app}/functions/{function}/versions/")
}

pub fn calls(app: &AppName) -> String {
    format!("apps/{app}/calls/")
}

/// Under which all that belongs to one call lies.
pub fn call(app: &AppName, call: CallId) -> String {
    format!("apps/{app}/calls/{call}/")
}

pub fn unsuited(app: &AppName, call: CallId) -> String {
    format!("apps/{app}/calls/{call}/unsuited/")
}

/// Pointers of all batches, of every app.
pub fn pointers() -> String {
    "batches/".to_owned()
}

pub fn batches(app: &AppName) -> String {
    format!("apps/{app}/batches/")
}

/// Under which all that belongs to one batch lies.
pub fn batch(app: &AppName, batch: BatchId) -> String {
    format!("apps/{app}/batches/{batch}/")
}

/// The chunks of a batch, in the order of their numbers.
pub fn chunks(app: &AppName, batch: BatchId) -> String {
    format!("apps/{app}/batches/{batch}/payloads/")
}

/// The logs of a batch's chunks.
pub fn outcomes(app: &AppName, batch: BatchId) -> String {
    format!("apps/{app}/batches/{batch}/outcomes/")
}

/// The log of one chunk.
pub fn log(app: &AppName, batch: BatchId, last: u64) -> String {
    format!("apps/{app}/batches/{batch}/outcomes/{}/", Number(last))
}

pub fn marks(app: &AppName, batch: BatchId, last: u64) -> String {
    format!("apps/{app}/batches/{batch}/marks/{}/", Number(last))
}

pub fn retries(app: &AppName, batch: BatchId) -> String {
    format!("apps/{app}/batches/{batch}/retries/")
}

pub fn keys(app: &AppName) -> String {
    format!("apps/{app}/keys/")
}

pub fn reconciled() -> String {
    "reconciled/".to_owned()
}

pub fn logs(app: &AppName, call: CallId) -> String {
    format!("apps/{app}/calls/{call}/log/")
}

pub fn started(app: &AppName, call: CallId) -> String {
    format!("apps/{app}/calls/{call}/started/")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::App(app) => write!(f, "apps/{app}/app"),
            Key::Route(app, route) => {
                write!(f, "apps/{app}/routes/{}", utf8_percent_encode(route.as_str(), ROUTE))
            }
            Key::Function(app, function) => write!(f, "apps/{app}/functions/{function}/current"),
            Key::Version(app, function, version) => {
                write!(f, "apps/{app}/functions/{function}/versions/{version}")
            }
            Key::Archive(app, digest) => write!(f, "apps/{app}/archives/{digest}"),
            Key::Idempotency(app, digest) => write!(f, "apps/{app}/keys/{digest}"),
            Key::Payload(app, call) => write!(f, "apps/{app}/calls/{call}/payload"),
            Key::Started(app, call, delivery) => write!(f, "apps/{app}/calls/{call}/started/{delivery}"),
            Key::Void(app, call, delivery) => write!(f, "apps/{app}/calls/{call}/started/{delivery}.void"),
            Key::Unsuited(app, call, message) => write!(f, "apps/{app}/calls/{call}/unsuited/{message}"),
            Key::Result(app, call, attempt) => write!(f, "apps/{app}/calls/{call}/result/{attempt}"),
            Key::Log(app, call, attempt) => write!(f, "apps/{app}/calls/{call}/log/{attempt}"),
            Key::Status(app, call) => write!(f, "apps/{app}/calls/{call}/status"),
            Key::Pointer(batch) => write!(f, "batches/{batch}"),
            Key::Batch(app, batch) => write!(f, "apps/{app}/batches/{batch}/batch"),
            Key::Chunk(app, batch, last) => {
                write!(f, "apps/{app}/batches/{batch}/payloads/{}.parquet", Number(*last))
            }
            Key::Input(app, batch, number) => {
                write!(f, "apps/{app}/batches/{batch}/inputs/{}", Number(*number))
            }
            Key::Sealed(app, batch) => write!(f, "apps/{app}/batches/{batch}/sealed"),
            Key::Part(app, batch, last, part) => {
                write!(f, "apps/{app}/batches/{batch}/outcomes/{}/{part:06}.parquet", Number(*last))
            }
            Key::BatchResult(app, batch, number, attempt) => {
                write!(f, "apps/{app}/batches/{batch}/results/{}-{attempt}", Number(*number))
            }
            Key::Mark(app, batch, last, delivery, group) => {
                write!(f, "apps/{app}/batches/{batch}/marks/{}/{delivery}.{group}", Number(*last))
            }
            Key::MarkVoid(app, batch, last, delivery) => {
                write!(f, "apps/{app}/batches/{batch}/marks/{}/{delivery}.void", Number(*last))
            }
            Key::Cancelled(app, batch) => write!(f, "apps/{app}/batches/{batch}/cancelled"),
            Key::Summary(app, batch) => write!(f, "apps/{app}/batches/{batch}/summary"),
            Key::Retry(app, batch, number) => write!(f, "apps/{app}/batches/{batch}/retries/{number}"),
            Key::Fired(app, batch) => write!(f, "apps/{app}/batches/{batch}/fired"),
            Key::Reconciled(hour) => write!(f, "reconciled/{hour:08}"),
            Key::Probe(nonce) => write!(f, "probes/{nonce}"),
        }
    }
}

/// A number as the last eight characters of its call's id: fixed width, so that keys sort as numbers do.
struct Number(u64);

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const NUMBER_DIGITS: u32 = 8;

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..NUMBER_DIGITS).rev() {
            let digit = DIGITS[(self.0 >> (5 * place)) as usize & 31];
            write!(f, "{}", digit as char)?;
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<u64> {
    if text.len() != NUMBER_DIGITS as usize {
        return None;
    }
    let digits = text.bytes().map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    digits.into_iter().try_fold(0, |number, digit| Some(number << 5 | digit? as u64))
}

fn batch_key(app: AppName, batch: BatchId, rest: &[&str]) -> Option<Key> {
    Some(match *rest {
        ["batch"] => Key::Batch(app, batch),
        ["payloads", chunk] => Key::Chunk(app, batch, number(chunk.strip_suffix(".parquet")?)?),
        ["inputs", input] => Key::Input(app, batch, number(input)?),
        ["sealed"] => Key::Sealed(app, batch),
        ["outcomes", chunk, part] => {
            Key::Part(app, batch, number(chunk)?, part.strip_suffix(".parquet")?.parse().ok()?)
        }
        ["results", result] => {
            let (call, attempt) = result.split_once('-')?;
            Key::BatchResult(app, batch, number(call)?, attempt.parse().ok()?)
        }
        ["marks", chunk, mark] => match mark.strip_suffix(".void") {
            Some(delivery) => Key::MarkVoid(app, batch, number(chunk)?, delivery.parse().ok()?),
            None => {
                let (delivery, group) = mark.rsplit_once('.')?;
                Key::Mark(app, batch, number(chunk)?, delivery.parse().ok()?, group.parse().ok()?)
            }
        },
        ["cancelled"] => Key::Cancelled(app, batch),
        ["summary"] => Key::Summary(app, batch),
        ["retries", retry] => Key::Retry(app, batch, retry.parse().ok()?),
        ["fired"] => Key::Fired(app, batch),
        _ => return None,
    })
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Key, Error> {
        let unknown = || Error::internal(format!("`{text}` is not a key of this layout"));
        let parts: Vec<&str> = text.split('/').collect();
        let key = match parts[..] {
            ["apps", app, "app"] => Key::App(app.parse()?),
            ["apps", app, "routes", route] => {
                let route = percent_decode_str(route).decode_utf8().map_err(|_| unknown())?;
                Key::Route(app.parse()?, route.parse()?)
            }
            ["apps", app, "functions", function, "current"] => Key::Function(app.parse()?, function.parse()?),
            ["apps", app, "functions", function, "versions", version] => {
                Key::Version(app.parse()?, function.parse()?, version.parse()?)
            }
            ["apps", app, "archives", digest] => Key::Archive(app.parse()?, digest.parse()?),
            ["apps", app, "keys", digest] => Key::Idempotency(app.parse()?, digest.parse()?),
            ["apps", app, "calls", call, "payload"] => Key::Payload(app.parse()?, call.parse()?),
            ["apps", app, "calls", call, "status"] => Key::Status(app.parse()?, call.parse()?),
            ["apps", app, "calls", call, "started", delivery] => match delivery.strip_suffix(".void") {
                Some(delivery) => Key::Void(app.parse()?, call.parse()?, delivery.parse()?),
                None => Key::Started(app.parse()?, call.parse()?, delivery.parse()?),
            },
            ["apps", app, "calls", call, "unsuited", message] => {
                Key::Unsuited(app.parse()?, call.parse()?, message.parse()?)
            }
            ["apps", app, "calls", call, "result", attempt] => {
                Key::Result(app.parse()?, call.parse()?, attempt.parse()?)
            }
            ["apps", app, "calls", call, "log", attempt] => {
                Key::Log(app.parse()?, call.parse()?, attempt.parse()?)
            }
            ["batches", batch] => Key::Pointer(batch.parse()?),
            ["apps", app, "batches", batch, ref rest @ ..] => {
                batch_key(app.parse()?, batch.parse()?, rest).ok_or_else(unknown)?
            }
            ["reconciled", hour] => Key::Reconciled(hour.parse().map_err(|_| unknown())?),
            ["probes", nonce] => Key::Probe(nonce.parse()?),
            _ => return Err(unknown()),
        };
        // One spelling per key: whatever parses is written back the same.
        if key.to_string() == text { Ok(key) } else { Err(unknown()) }
    }
}
