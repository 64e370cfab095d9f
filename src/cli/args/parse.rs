//! How words on the command line become values.

use std::str::FromStr;
use std::time::Duration;

use super::Output;
use crate::error::Error;
use crate::layout::batch::{MaxFailures, Then};
use crate::limits;
use crate::model::{BatchId, CallId, FunctionName, Route, Time};
use crate::results::attempts;

/// A value of the model, with its hint behind the message: clap prints one line.
pub fn model<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| with_hint(&error))
}

fn with_hint(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message().to_owned(),
    }
}

/// `90`, `90s`, `1h 30m`: a bare number is seconds, as in func.yaml.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration like 30s, 1500ms or 1h30m"))
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Time),
    Ago(Duration),
}

impl When {
    pub fn time(self, now: Time) -> Time {
        match self {
            When::At(time) => time,
            When::Ago(ago) => now.minus_ms(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// `2026-11-24T10:00:00Z`, `2026-11-24` (its first moment, in UTC), `2h` (two hours ago)
pub fn when(text: &str) -> Result<When, String> {
    let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    let ago = || humantime::parse_duration(text).map(When::Ago);
    time.map(When::At).or_else(|_| ago()).map_err(|_| {
        format!(
            "`{text}` is not a time like 2026-11-24T10:00:00Z, a day like 2026-11-24, or a while ago like 2h"
        )
    })
}

/// How long a lease is: whole seconds, as queues count them.
pub fn visibility(text: &str) -> Result<Duration, String> {
    let visibility = duration(text)?;
    let (min, max) = (limits::VISIBILITY_MS_MIN / 1_000, limits::VISIBILITY_MS_MAX / 1_000);
    if visibility.subsec_nanos() > 0 || !(min..=max).contains(&visibility.as_secs()) {
        return Err(format!("`{text}` is not {min} to {max} whole seconds"));
    }
    Ok(visibility)
}

/// How a function is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionRef {
    /// `/asyncfn`
    Route(Route),
    /// `asyncfn`: the function of that name, or the route without its slash.
    Name(FunctionName),
}

pub fn function(text: &str) -> Result<FunctionRef, String> {
    if let (false, Ok(name)) = (text.starts_with('/'), text.parse()) {
        return Ok(FunctionRef::Name(name));
    }
    Route::lenient(text).map(FunctionRef::Route).map_err(|error| with_hint(&error))
}

/// Which call of an app is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Newest,
    Call(CallId),
}

pub fn call(text: &str) -> Result<Which, String> {
    match text {
        "last" | "l" => Ok(Which::Newest),
        id => model(id).map(Which::Call),
    }
}

pub fn attempt(text: &str) -> Result<attempts::Which, String> {
    match text.parse() {
        Ok(0) => Err("attempts are counted from 1".to_owned()),
        Ok(number) => Ok(attempts::Which::Number(number)),
        Err(_) => model(text).map(attempts::Which::Id),
    }
}

/// A call, or all calls of a batch: their ids look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOrBatch {
    Call(Which),
    Batch(BatchId),
}

pub fn call_or_batch(text: &str) -> Result<CallOrBatch, String> {
    match text.parse() {
        Ok(batch) => Ok(CallOrBatch::Batch(batch)),
        Err(_) => call(text).map(CallOrBatch::Call),
    }
}

/// Which batch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRef {
    Newest,
    Batch(BatchId),
}

pub fn batch(text: &str) -> Result<BatchRef, String> {
    match text {
        "last" | "l" => Ok(BatchRef::Newest),
        id => model(id).map(BatchRef::Batch),
    }
}

/// A format, or a file.
pub fn output(text: &str) -> Result<Output, String> {
    match text {
        "" => Err("it names no file".to_owned()),
        text => Ok(Output::of(text)),
    }
}

/// `100`, `5%`
pub fn max_failures(text: &str) -> Result<MaxFailures, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => {
            percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(MaxFailures::Percent)
        }
        None => text.parse().ok().filter(|count| *count > 0).map(MaxFailures::Count),
    };
    parsed.ok_or_else(|| format!("`{text}` is not a count like 100, from 1, or a share like 5%"))
}

/// `asyncapp/notify`: an app and a route.
pub fn then(text: &str) -> Result<Then, String> {
    let (app, route) = text.split_once('/').ok_or_else(|| format!("`{text}` is not APP/ROUTE"))?;
    Ok(Then { app: model(app)?, route: model(&format!("/{route}"))? })
}

/// `http://…` or `https://…`
pub fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a URL like https://example.com/done")),
    }
}

/// `KEY=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// `Name: value`, as in HTTP; Fn's `Name=value` is taken too.
pub fn header(text: &str) -> Result<Pair, String> {
    let Some(at) = text.find([':', '=']) else {
        return Err(format!("`{text}` is not a header like Name: value"));
    };
    let (name, value) = (text[..at].trim(), text[at + 1..].trim());
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("`{name}` cannot be the name of a header"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the value of header `{name}` has a control character"));
    }
    Ok(Pair { key: name.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn a_moment_is_a_time_a_day_or_a_while_ago() {
        let now: Time = "2026-11-24T10:00:00Z".parse().unwrap();
        let told = |text: &str| when(text).map(|when| when.time(now).to_string());
        assert_eq!(told("2026-11-24T09:30:00Z").unwrap(), "2026-11-24T09:30:00.000Z");
        assert_eq!(told("2026-11-23").unwrap(), "2026-11-23T00:00:00.000Z");
        assert_eq!(told("1h 30m").unwrap(), "2026-11-24T08:30:00.000Z");
        for wrong in ["yesterday", "2026-13-01", "90", ""] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_is_a_number_of_seconds_within_bounds() {
        assert_eq!(visibility("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(visibility("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["2s", "3500ms", "3601s", "soon"] {
            assert!(visibility(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_slash_makes_a_route() {
        assert_eq!(function("asyncfn"), Ok(FunctionRef::Name("asyncfn".parse().unwrap())));
        assert_eq!(function("/asyncfn"), Ok(FunctionRef::Route("/asyncfn".parse().unwrap())));
        assert_eq!(function("greet/hello"), Ok(FunctionRef::Route("/greet/hello".parse().unwrap())));
        assert!(function("/a b").is_err());
    }

    #[test]
    fn headers_are_split_at_the_first_separator() {
        assert_eq!(header("X-When: 12:30"), Ok(Pair { key: "X-When".into(), value: "12:30".into() }));
        assert_eq!(header("X-A=b"), Ok(Pair { key: "X-A".into(), value: "b".into() }));
        assert!(header("no separator").is_err());
        assert!(header("bad name: x").is_err());
        assert!(header("X: a\nb").is_err());
    }

    #[test]
    fn what_a_batch_is_told_is_checked() {
        assert_eq!(max_failures("5%"), Ok(MaxFailures::Percent(5)));
        assert_eq!(max_failures("100"), Ok(MaxFailures::Count(100)));
        for wrong in ["0", "0%", "101%", "many", "-1"] {
            assert!(max_failures(wrong).is_err(), "{wrong}");
        }
        assert_eq!(then("a/b/c").unwrap().route.as_str(), "/b/c");
        assert!(then("a").is_err());
        assert!(url("https://example.com/x").is_ok());
        assert!(url("example.com").is_err());
    }

    #[test]
    fn an_attempt_has_a_number_and_a_name() {
        assert_eq!(attempt("2"), Ok(attempts::Which::Number(2)));
        let id = "01M3250V000000000000000007.1.2";
        assert_eq!(attempt(id), Ok(attempts::Which::Id(id.parse().unwrap())));
        assert!(attempt("0").is_err() && attempt("last").is_err());
    }

    #[test]
    fn a_batch_is_told_from_a_call() {
        let batch: BatchId = "01BVJ5T7CAG000000000000000".parse().unwrap();
        assert_eq!(call_or_batch(&batch.to_string()), Ok(CallOrBatch::Batch(batch)));
        let of_batch = batch.call(7);
        assert_eq!(call_or_batch(&of_batch.to_string()), Ok(CallOrBatch::Call(Which::Call(of_batch))));
        assert_eq!(call_or_batch("last"), Ok(CallOrBatch::Call(Which::Newest)));
        assert!(call_or_batch("x").is_err());
    }

    #[test]
    fn an_output_is_a_format_or_a_file() {
        assert_eq!(output("json"), Ok(Output::Json));
        assert_eq!(output("./json"), Ok(Output::File("./json".into())));
        assert!(output("").is_err());
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        assert_eq!(pair("A=b=c"), Ok(Pair { key: "A".into(), value: "b=c".into() }));
        assert!(pair("=x").is_err());
        assert!(pair("x").is_err());
    }
}
