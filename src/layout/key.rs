//! Every key of the layout, built and parsed. Persisted, keep stable.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Error;
use crate::model::{
    AppName, AttemptId, CallId, DeliveryId, Digest, FunctionName, MessageId, Nonce, Route, VersionId,
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

pub fn keys(app: &AppName) -> String {
    format!("apps/{app}/keys/")
}

pub fn reconciled() -> String {
    "reconciled/".to_owned()
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
            Key::Reconciled(hour) => write!(f, "reconciled/{hour:08}"),
            Key::Probe(nonce) => write!(f, "probes/{nonce}"),
        }
    }
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
            ["reconciled", hour] => Key::Reconciled(hour.parse().map_err(|_| unknown())?),
            ["probes", nonce] => Key::Probe(nonce.parse()?),
            _ => return Err(unknown()),
        };
        // One spelling per key: whatever parses is written back the same.
        if key.to_string() == text { Ok(key) } else { Err(unknown()) }
    }
}
