//! How words on the command line become values. A type of the model parses itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::error::{Error, Result as Parsed};
use crate::layout::batch::{MaxFailures, Then};
use crate::limits;
use crate::model::webhook::check_webhook_url;
use crate::model::{BatchId, CallId, FunctionName, Route, Time};
use crate::results::export::RowForm;
use crate::results::{attempts, export};
use crate::seam::Clock as _;
use crate::seam::clock::SystemClock;

/// `90`, `90s`, `1h 30m`: a bare number is seconds, as in func.yaml.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration like 30s, 1500ms or 1h30m"))
}

/// `2026-11-24T10:00:00Z`, `2026-11-24` (its first moment, in UTC), `2h` (two hours ago)
pub fn time(text: &str) -> Result<Time, String> {
    let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    let ago = || humantime::parse_duration(text).map(|ago| SystemClock.now().minus_ms(limits::ms(ago)));
    time.or_else(|_| ago()).map_err(|_| {
        format!(
            "`{text}` is not a time like 2026-11-24T10:00:00Z, a day like 2026-11-24, or a while ago like 2h"
        )
    })
}

/// How long a lease is: whole seconds, as queues count them.
pub fn visibility(text: &str) -> Result<Duration, String> {
    let visibility = duration(text)?;
    let (min, max) = (limits::VISIBILITY_MIN.as_secs(), limits::VISIBILITY_MAX.as_secs());
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

impl FromStr for FunctionRef {
    type Err = Error;

    fn from_str(text: &str) -> Parsed<FunctionRef> {
        match text.parse() {
            Ok(name) if !text.starts_with('/') => Ok(FunctionRef::Name(name)),
            _ => Route::lenient(text).map(FunctionRef::Route),
        }
    }
}

/// A call or batch by its id, or the newest one: `last`, `l`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<Id> {
    Newest,
    Id(Id),
}

impl<Id: FromStr> FromStr for Reference<Id> {
    type Err = Id::Err;

    fn from_str(text: &str) -> Result<Reference<Id>, Id::Err> {
        match text {
            "last" | "l" => Ok(Reference::Newest),
            id => id.parse().map(Reference::Id),
        }
    }
}

/// A call, or all calls of a batch: the form of the id differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOrBatch {
    Call(Reference<CallId>),
    Batch(BatchId),
}

impl FromStr for CallOrBatch {
    type Err = Error;

    fn from_str(text: &str) -> Parsed<CallOrBatch> {
        match text.parse() {
            Ok(batch) => Ok(CallOrBatch::Batch(batch)),
            Err(_) => text.parse().map(CallOrBatch::Call),
        }
    }
}

pub fn attempt(text: &str) -> Parsed<attempts::Which> {
    match text.parse() {
        Ok(0) => Err(Error::invalid("attempts are counted from 1")),
        Ok(number) => Ok(attempts::Which::Number(number)),
        Err(_) => text.parse().map(attempts::Which::Id),
    }
}

/// What `--output` names. Commands that write files take the name of one too; `text` and `json` are formats there as
/// well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    #[default]
    Text,
    Json,
    To(Destination),
}

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `-`
    Stdout,
    /// Absolute: a resume may run in another folder. A slash at the end makes it a folder.
    File(PathBuf),
}

impl Output {
    /// For commands that write no file.
    pub fn format() -> impl TypedValueParser<Value = Output> {
        PossibleValuesParser::new([
            PossibleValue::new("text").help("For people"),
            PossibleValue::new("json")
                .help("For programs: one JSON document; an error is the last line on stderr"),
        ])
        .map(|text| if text == "json" { Output::Json } else { Output::Text })
    }

    pub fn into_destination(self) -> Option<Destination> {
        match self {
            Output::Text | Output::Json => None,
            Output::To(destination) => Some(destination),
        }
    }
}

impl FromStr for Output {
    type Err = Error;

    fn from_str(text: &str) -> Parsed<Output> {
        match text {
            "" => Err(Error::invalid("it names no file")),
            "text" => Ok(Output::Text),
            "json" => Ok(Output::Json),
            "-" => Ok(Output::To(Destination::Stdout)),
            path => absolute(path.as_ref()).map(|path| Output::To(Destination::File(path))),
        }
    }
}

impl Destination {
    pub fn into_path(self) -> Option<PathBuf> {
        match self {
            Destination::Stdout => None,
            Destination::File(path) => Some(path),
        }
    }

    /// Fails where a file exists that must not be replaced. To be asked before any work is done.
    pub fn check(&self, form: RowForm, force: bool) -> Parsed<()> {
        match self {
            Destination::Stdout => Ok(()),
            Destination::File(path) => export::check(path, form, force),
        }
    }
}

pub fn absolute(path: &Path) -> Parsed<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::invalid(format!("cannot find the absolute path of {}: {error}", path.display()))
    })
}

/// A file or folder of this machine, by its absolute path.
pub fn existing(text: &str) -> Parsed<PathBuf> {
    let path = absolute(Path::new(text))?;
    match path.exists() {
        true => Ok(path),
        false => Err(Error::not_found(format!("there is no {}", path.display()))),
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
pub fn then(text: &str) -> Parsed<Then> {
    let (app, route) =
        text.split_once('/').ok_or_else(|| Error::invalid(format!("`{text}` is not APP/ROUTE")))?;
    Ok(Then { app: app.parse()?, route: format!("/{route}").parse()? })
}

/// The URL of a webhook.
pub fn webhook_url(text: &str) -> Parsed<String> {
    check_webhook_url(text)?;
    Ok(text.to_owned())
}

/// A key, or the name of a header, and its value.
pub type Pair = (String, String);

/// `KEY=VALUE`
pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// `Name: value`, as in HTTP, or `Name=value`, as in Fn.
pub fn header(text: &str) -> Result<Pair, String> {
    let Some((name, value)) = text.split_once([':', '=']) else {
        return Err(format!("`{text}` is not a header like Name: value"));
    };
    let (name, value) = (name.trim(), value.trim());
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("`{name}` cannot be the name of a header"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the value of header `{name}` has a control character"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A config value: `KEY=VALUE`, `KEY=@FILE`, `KEY=-` (stdin), or `KEY` (from the environment). Every user of a machine can
/// read its command lines, so a secret needs another way in.
pub fn config(text: &str) -> Result<Pair, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, config_value(value)?),
        None => (text, environment_value(text)?),
    };
    match key.is_empty() {
        true => Err(format!("`{text}` is not KEY=VALUE, KEY=@FILE, KEY=- or KEY")),
        false => Ok((key.to_owned(), value)),
    }
}

/// `VALUE`, `@FILE`, or `-` for stdin; `@@VALUE` is a value that begins with `@`.
pub fn config_value(text: &str) -> Result<String, String> {
    match (text, text.strip_prefix('@')) {
        ("-", _) => read_config_value(&mut std::io::stdin(), "stdin"),
        (_, Some(literal)) if literal.starts_with('@') => Ok(literal.to_owned()),
        (_, Some(path)) => {
            let file = std::fs::File::open(path);
            read_config_value(&mut file.map_err(|error| format!("cannot read {path}: {error}"))?, path)
        }
        (value, None) => Ok(value.to_owned()),
    }
}

/// The value of the environment variable of this name.
pub fn environment_value(key: &str) -> Result<String, String> {
    std::env::var(key).map_err(|error| match error {
        std::env::VarError::NotPresent => {
            format!("no value is given for `{key}`, and the environment has no variable of that name")
        }
        std::env::VarError::NotUnicode(_) => format!("environment variable {key} is not UTF-8"),
    })
}

/// Without the newline at its end, which editors and `echo` add.
fn read_config_value(from: &mut impl Read, name: &str) -> Result<String, String> {
    let mut value = String::new();
    let bytes_max = limits::CONFIG_BYTES_MAX;
    let read = from.take(bytes_max + 2).read_to_string(&mut value);
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if value.len() as u64 > bytes_max + 1 {
        return Err(format!("{name} holds more than a config may, {} KiB", bytes_max / limits::KIB));
    }
    if value.ends_with('\n') {
        value.pop();
    }
    Ok(value)
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
    fn a_time_is_a_moment_a_day_or_a_while_ago() {
        let parsed = |text: &str| time(text).map(|time| time.to_string());
        assert_eq!(parsed("2026-11-24T09:30:00Z").unwrap(), "2026-11-24T09:30:00.000Z");
        assert_eq!(parsed("2026-11-23").unwrap(), "2026-11-23T00:00:00.000Z");
        let ago = SystemClock.now().since_ms(time("1h 30m").unwrap());
        assert!((5_400_000..5_460_000).contains(&ago), "{ago}");
        for wrong in ["yesterday", "2026-13-01", "90", ""] {
            assert!(parsed(wrong).is_err(), "{wrong}");
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
        let function = |text: &str| text.parse::<FunctionRef>().ok();
        assert_eq!(function("asyncfn"), Some(FunctionRef::Name("asyncfn".parse().unwrap())));
        assert_eq!(function("/asyncfn"), Some(FunctionRef::Route("/asyncfn".parse().unwrap())));
        assert_eq!(function("greet/hello"), Some(FunctionRef::Route("/greet/hello".parse().unwrap())));
        assert_eq!(function("/a b"), None);
    }

    #[test]
    fn headers_are_split_at_the_first_separator() {
        assert_eq!(header("X-When: 12:30"), Ok(("X-When".into(), "12:30".into())));
        assert_eq!(header("X-A=b"), Ok(("X-A".into(), "b".into())));
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
        assert!(webhook_url("https://example.com/x").is_ok());
        assert!(webhook_url("example.com").is_err());
    }

    #[test]
    fn an_attempt_has_a_number_and_a_name() {
        assert_eq!(attempt("2").ok(), Some(attempts::Which::Number(2)));
        let id = "01M3250V000000000000000007.1.2";
        assert_eq!(attempt(id).ok(), Some(attempts::Which::Id(id.parse().unwrap())));
        assert!(attempt("0").is_err() && attempt("last").is_err());
    }

    #[test]
    fn a_batch_is_told_from_a_call() {
        let call_or_batch = |text: &str| text.parse::<CallOrBatch>().ok();
        let batch: BatchId = "01BVJ5T7CAG000000000000000".parse().unwrap();
        assert_eq!(call_or_batch(&batch.to_string()), Some(CallOrBatch::Batch(batch)));
        let of_batch = batch.call(7);
        assert_eq!(call_or_batch(&of_batch.to_string()), Some(CallOrBatch::Call(Reference::Id(of_batch))));
        assert_eq!(call_or_batch("last"), Some(CallOrBatch::Call(Reference::Newest)));
        assert_eq!(call_or_batch("x"), None);
    }

    #[test]
    fn an_output_is_a_format_or_a_file() {
        let output = |text: &str| text.parse::<Output>().ok();
        assert_eq!(output("json"), Some(Output::Json));
        assert_eq!(output("-"), Some(Output::To(Destination::Stdout)));
        assert_eq!(output("/a/json"), Some(Output::To(Destination::File("/a/json".into()))));
        let Some(Output::To(Destination::File(folder))) = output("results/") else { panic!("a folder") };
        assert!(folder.is_absolute() && folder.to_str().unwrap().ends_with("results/"));
        assert_eq!(output(""), None);
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(pair("=x").is_err());
        assert!(pair("x").is_err());
    }

    #[test]
    fn a_value_need_not_stand_on_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "secret=1\n").unwrap();
        let value = |text: &str| config(text).map(|(_, value)| value);
        assert_eq!(value("A=b=c"), Ok("b=c".into()));
        assert_eq!(value(&format!("A=@{}", file.display())), Ok("secret=1".into()));
        assert_eq!(value("A=@@handle"), Ok("@handle".into()));
        assert_eq!(config("PATH"), Ok(("PATH".into(), std::env::var("PATH").unwrap())));
        assert!(config("=x").is_err());
        assert!(value("A=@/nowhere/at/all").unwrap_err().starts_with("cannot read /nowhere/at/all"));
        assert!(config("AFN_NO_SUCH_VARIABLE").unwrap_err().contains("`AFN_NO_SUCH_VARIABLE`"));
        std::fs::write(&file, vec![b'x'; limits::CONFIG_BYTES_MAX as usize + 2]).unwrap();
        assert!(value(&format!("A=@{}", file.display())).unwrap_err().contains("64 KiB"));
    }
}
