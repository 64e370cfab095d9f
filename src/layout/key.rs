//! Every key of the layout, built and parsed. Persisted, keep stable.

use std::fmt::{self, Display, Write};
use std::str::FromStr;
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;
use crate::model::{
    AppName, AttemptId, BatchId, CallId, DeliveryId, Digest, FunctionName, MarkId, MessageId, Nonce, PanicId,
    Route, VersionId, WatermarksId,
};

/// How a field is written in a key.
trait Codec<T> {
    fn write(value: &T) -> impl Display;
    fn read(text: &str) -> Option<T>;
}

/// As the field's own text.
struct Text;

impl<T: Display + FromStr> Codec<T> for Text {
    fn write(value: &T) -> impl Display {
        value
    }

    fn read(text: &str) -> Option<T> {
        text.parse().ok()
    }
}

/// A number as the last eight characters of its call's id: fixed width, so that keys sort as numbers do.
struct Number;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const NUMBER_DIGITS: usize = 8;

impl Codec<u64> for Number {
    fn write(number: &u64) -> impl Display {
        let digit = move |place| DIGITS[(number >> (5 * place)) as usize & 31] as char;
        fmt::from_fn(move |f| (0..NUMBER_DIGITS).rev().try_for_each(|place| f.write_char(digit(place))))
    }

    fn read(text: &str) -> Option<u64> {
        let mut digits = text.bytes().map(|byte| DIGITS.iter().position(|digit| *digit == byte));
        let number = digits.try_fold(0, |number, digit| Some(number << 5 | digit? as u64));
        number.filter(|number| text.len() == NUMBER_DIGITS && *number > 0)
    }
}

/// A decimal count, padded to a width.
struct Padded<const WIDTH: usize, const MAX: u64>;

impl<const WIDTH: usize, const MAX: u64> Codec<u64> for Padded<WIDTH, MAX> {
    fn write(count: &u64) -> impl Display {
        fmt::from_fn(move |f| write!(f, "{count:0WIDTH$}"))
    }

    fn read(text: &str) -> Option<u64> {
        text.parse().ok().filter(|count| *count <= MAX)
    }
}

/// A route as one segment: its slashes are encoded with everything else that is not plain.
struct Encoded;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl Codec<Route> for Encoded {
    fn write(route: &Route) -> impl Display {
        utf8_percent_encode(route.as_str(), ENCODED)
    }

    fn read(text: &str) -> Option<Route> {
        percent_decode_str(text).decode_utf8().ok()?.parse().ok()
    }
}

/// A pattern taken apart, once: its segments, and of each what stands before, between and behind its fields. A segment without
/// a field is one literal.
type Shape = Vec<Vec<&'static str>>;

fn shape(pattern: &'static str) -> Shape {
    let literals = |segment: &'static str| segment.split(['{', '}']).step_by(2).collect();
    pattern.split('/').map(literals).collect()
}

/// The fields of a text that is made after a pattern.
fn fields<'t>(shape: &Shape, segments: &[&'t str]) -> Option<Vec<&'t str>> {
    let is_other = |(literals, segment): (&Vec<&str>, &&str)| literals.len() == 1 && literals[0] != *segment;
    // Lists are parsed key by key, so most patterns are ruled out here.
    if shape.len() != segments.len() || shape.iter().zip(segments).any(is_other) {
        return None;
    }
    let mut fields = Vec::new();
    for (literals, segment) in shape.iter().zip(segments) {
        let (first, others) = literals.split_first()?;
        let mut rest = segment.strip_prefix(first)?;
        for literal in others {
            let end = if literal.is_empty() { rest.len() } else { rest.find(literal)? };
            fields.push(&rest[..end]);
            rest = &rest[end + literal.len()..];
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(fields)
}

macro_rules! codec {
    () => {
        Text
    };
    ($codec:ty) => {
        $codec
    };
}

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident $(($($field:ident: $type:ty $(as $codec:ty)?),+))? = $pattern:literal;)+) => {
        /// Names an object. The functions below make the prefixes of lists.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $($(#[$doc])* $key $(($($type),+))?,)+
            /// A key as a list gave it. It may not belong to this layout: a record of a source's bucket, for example.
            Text(String),
        }

        impl Display for Key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Key::$key $(($($field),+))? => {
                        $($(let $field = <codec!($($codec)?) as Codec<$type>>::write($field);)+)?
                        write!(f, $pattern)
                    })+
                    Key::Text(text) => f.write_str(text),
                }
            }
        }

        static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| vec![$(shape($pattern)),+]);

        impl FromStr for Key {
            type Err = Error;

            fn from_str(text: &str) -> Result<Key, Error> {
                let segments: Vec<&str> = text.split('/').collect();
                let mut shapes = SHAPES.iter();
                $(let key = |shape| {
                    let mut fields = fields(shape, &segments)?.into_iter();
                    $($(let $field = <codec!($($codec)?) as Codec<$type>>::read(fields.next()?)?;)+)?
                    fields.next().is_none().then_some(Key::$key $(($($field),+))?)
                };
                // A key has one spelling: what is parsed is written back the same.
                if let Some(key) = shapes.next().and_then(key).filter(|key| key.to_string() == text) {
                    return Ok(key);
                })+
                Err(Error::internal(format!("`{text}` is not a key of this layout")))
            }
        }
    };
}

keys! {
    /// Definition of an app.
    App(app: AppName) = "apps/{app}/app";
    /// Definition: which function a route leads to.
    Route(app: AppName, route: Route as Encoded) = "apps/{app}/routes/{route}";
    /// Definition: config, type, current version of a function.
    Function(app: AppName, function: FunctionName) = "apps/{app}/functions/{function}/current";
    /// Fact: one deploy.
    Version(app: AppName, function: FunctionName, version: VersionId) =
        "apps/{app}/functions/{function}/versions/{version}";
    /// Fact: a function's folder.
    Archive(app: AppName, digest: Digest) = "apps/{app}/archives/{digest}";
    /// Fact: idempotency key → call, request digest.
    Idempotency(app: AppName, digest: Digest) = "apps/{app}/keys/{digest}";
    /// Fact: body of a call as sent.
    Payload(app: AppName, call: CallId) = "apps/{app}/calls/{call}/payload";
    /// Fact: a call that has run for a while, or is about to run after its worker was lost.
    Started(app: AppName, call: CallId, delivery: DeliveryId) = "apps/{app}/calls/{call}/started/{delivery}";
    /// Fact: the `started` beside it counts against no call, its worker was not lost with it.
    Void(app: AppName, call: CallId, delivery: DeliveryId) = "apps/{app}/calls/{call}/started/{delivery}.void";
    /// Fact: no worker was found that can run the call.
    Unsuited(app: AppName, call: CallId, message: MessageId) = "apps/{app}/calls/{call}/unsuited/{message}";
    /// Fact: answer of one attempt.
    Result(app: AppName, call: CallId, attempt: AttemptId) = "apps/{app}/calls/{call}/result/{attempt}";
    /// Fact: stdout and stderr of one attempt.
    Log(app: AppName, call: CallId, attempt: AttemptId) = "apps/{app}/calls/{call}/log/{attempt}";
    /// Fact: the outcome.
    Status(app: AppName, call: CallId) = "apps/{app}/calls/{call}/status";
    /// Fact: which app a batch belongs to; its first object.
    Pointer(batch: BatchId) = "batches/{batch}";
    /// Fact: function, version, source, chunking.
    Batch(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/batch";
    /// Fact: one chunk, named by its last number.
    Chunk(app: AppName, batch: BatchId, last: u64 as Number) = "apps/{app}/batches/{batch}/payloads/{last}.parquet";
    /// Fact: a payload too big for its chunk, by number.
    Input(app: AppName, batch: BatchId, number: u64 as Number) = "apps/{app}/batches/{batch}/inputs/{number}";
    /// Fact: which calls belong.
    Sealed(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/sealed";
    /// Fact: part of the log of the chunk that ends with the first number.
    Part(app: AppName, batch: BatchId, last: u64 as Number, part: u64 as Padded<6, { u32::MAX as u64 }>) =
        "apps/{app}/batches/{batch}/outcomes/{last}/{part}.parquet";
    /// Fact: a result over the inline limit, by number and attempt.
    BatchResult(app: AppName, batch: BatchId, number: u64 as Number, attempt: AttemptId) =
        "apps/{app}/batches/{batch}/results/{number}-{attempt}";
    /// Fact: calls of a chunk about to run, or that left their message.
    Mark(app: AppName, batch: BatchId, last: u64 as Number, mark: MarkId) =
        "apps/{app}/batches/{batch}/marks/{last}/{mark}";
    /// Fact: the marks of this delivery count against no call, its worker was not lost with them.
    MarkVoid(app: AppName, batch: BatchId, last: u64 as Number, delivery: DeliveryId) =
        "apps/{app}/batches/{batch}/marks/{last}/{delivery}.void";
    /// Fact: a worker could not run calls of this batch, by the digest of the reason.
    BatchUnsuited(app: AppName, batch: BatchId, reason: Digest) = "apps/{app}/batches/{batch}/unsuited/{reason}";
    /// Fact: which chunks supervisors have put on the queue, and which they may, from 0.
    Dispatched(app: AppName, batch: BatchId, entry: u32) = "apps/{app}/batches/{batch}/dispatched/{entry}";
    /// Fact: cancel was asked for.
    Cancelled(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/cancelled";
    /// Fact: counts and times; stays as tombstone.
    Summary(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/summary";
    /// Fact: a batch made from this one's failures, from 1.
    Retry(app: AppName, batch: BatchId, number: u32) = "apps/{app}/batches/{batch}/retries/{number}";
    /// Fact: follow-ups done; stays.
    Fired(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/fired";
    /// Definition: whether a batch is paused, and its limits. Apart from the facts of the batch, which no policy lets anybody
    /// replace.
    Control(app: AppName, batch: BatchId) = "apps/{app}/controls/{batch}";
    /// Definition: which worker may run how much of a batch with limits.
    Shares(app: AppName, batch: BatchId) = "apps/{app}/shares/{batch}";
    /// Fact: its content was deleted; stays with `summary` and `fired`.
    Deleted(app: AppName, batch: BatchId) = "apps/{app}/batches/{batch}/deleted";
    /// Definition: what holds for the whole store.
    Settings = "settings";
    /// Fact: the id of the store.
    Store = "store";
    /// Fact: which worker reconciles in this interval since the epoch.
    Reconciled(interval: u64 as Padded<8, { u64::MAX }>) = "reconciled/{interval}";
    /// Fact: where a turn of upkeep has come to.
    Watermarks(id: WatermarksId) = "reconciled/watermarks/{id}";
    /// Fact: a task of a worker panicked.
    Panic(panic: PanicId) = "panics/{panic}";
    /// Written and deleted at once, to read the store's clock and to see whether it takes writes.
    Probe(nonce: Nonce) = "probes/{nonce}";
}

impl Key {
    pub fn text(text: impl Into<String>) -> Key {
        Key::Text(text.into())
    }
}

/// Whether an object of a bucket belongs to the store in it whose keys begin with `prefix`, or to a store beside that one.
pub fn is_of_store(key: &str, prefix: &str) -> bool {
    let is_below_layout = |key: &str| {
        let (first, is_folder) = key.split_once('/').map_or((key, false), |(first, _)| (first, true));
        SHAPES.iter().any(|shape| shape[0][0] == first && (shape.len() > 1) == is_folder)
    };
    let ends = key.match_indices('/').map(|(slash, _)| &key[slash + 1..]);
    key.strip_prefix(prefix).is_some_and(is_below_layout)
        // A word like `settings` alone is no sign of another store.
        || ends.chain([key]).any(|end| end.contains('/') && end.parse::<Key>().is_ok())
}

macro_rules! prefixes {
    ($($(#[$doc:meta])* $name:ident($($field:ident: $type:ty $(as $codec:ty)?),*) = $pattern:literal;)+) => {$(
        $(#[$doc])*
        pub fn $name($($field: $type),*) -> String {
            $($(let $field = <$codec as Codec<$type>>::write(&$field);)?)*
            format!($pattern)
        }
    )+};
}

prefixes! {
    apps() = "apps/";
    functions(app: &AppName) = "apps/{app}/functions/";
    archives(app: &AppName) = "apps/{app}/archives/";
    calls(app: &AppName) = "apps/{app}/calls/";
    /// All that belongs to one call.
    call(app: &AppName, call: CallId) = "apps/{app}/calls/{call}/";
    unsuited(app: &AppName, call: CallId) = "apps/{app}/calls/{call}/unsuited/";
    /// Why workers could not run calls of a batch.
    batch_unsuited(app: &AppName, batch: BatchId) = "apps/{app}/batches/{batch}/unsuited/";
    /// Pointers of all batches, of every app.
    pointers() = "batches/";
    batches(app: &AppName) = "apps/{app}/batches/";
    /// All that belongs to one batch.
    batch(app: &AppName, batch: BatchId) = "apps/{app}/batches/{batch}/";
    /// The chunks of a batch, in the order of their numbers.
    chunks(app: &AppName, batch: BatchId) = "apps/{app}/batches/{batch}/payloads/";
    dispatched(app: &AppName, batch: BatchId) = "apps/{app}/batches/{batch}/dispatched/";
    /// The logs of a batch's chunks.
    outcomes(app: &AppName, batch: BatchId) = "apps/{app}/batches/{batch}/outcomes/";
    /// The log of one chunk.
    log(app: &AppName, batch: BatchId, last: u64 as Number) = "apps/{app}/batches/{batch}/outcomes/{last}/";
    marks(app: &AppName, batch: BatchId, last: u64 as Number) = "apps/{app}/batches/{batch}/marks/{last}/";
    keys(app: &AppName) = "apps/{app}/keys/";
    reconciled() = "reconciled/";
    watermarks() = "reconciled/watermarks/";
    panics() = "panics/";
    logs(app: &AppName, call: CallId) = "apps/{app}/calls/{call}/log/";
    started(app: &AppName, call: CallId) = "apps/{app}/calls/{call}/started/";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_store_are_told_from_those_of_its_user() {
        let call = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        let payload = format!("apps/a/calls/{call}/payload");
        for (key, prefix) in [
            (&*payload, ""),
            ("apps/a/no/key/of/the/layout", ""),
            ("settings", ""),
            ("store", ""),
            ("panics/x", ""),
            ("team/apps/a/x", "team/"),
            ("team/store", "team/"),
            (&*payload, "team/"),
            (&format!("other/{payload}"), "team/"),
            (&format!("deep/er/{payload}"), ""),
        ] {
            assert!(is_of_store(key, prefix), "{key} {prefix}");
        }
        for (key, prefix) in [
            ("in/a.json", ""),
            ("apps", ""),
            ("appsx/a/app", ""),
            ("store/a.json", ""),
            ("in/settings", ""),
            ("apps/a/x", "team/"),
            ("team/in/apps", "team/"),
            ("", ""),
        ] {
            assert!(!is_of_store(key, prefix), "{key} {prefix}");
        }
    }
}
