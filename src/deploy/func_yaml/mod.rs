//! `func.yaml`: what a function is, as its author says it. Knows no store and no builder.
//!
//! Fn's keys are read in both of Fn's forms, the one of 2018 (`path`, `format`, `cpus`, `headers`) and
//! `schema_version: 20180708` (`triggers`). What an unknown key means nobody can tell, so it is an error, with the
//! nearest known one. Fn's keys that have no meaning here are taken and answered with a warning, so that a function
//! written for Fn deploys as it is: `tests`, `headers`, `signing_details`, `deploy`. Fn's older formats (`json`, `http`,
//! `cloudevent`) are refused: they are ways to speak to the function that nothing here speaks, and a function taken for
//! another format than its own fails in ways that are hard to read.

mod app_yaml;
mod field;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use field::Field;

pub use app_yaml::AppFile;
pub use field::json;
pub use tree::{Node, Value, error_at, parse as parse_tree};

use crate::error::{Error, Result};
use crate::limits;
use crate::model::app::check_config;
use crate::model::{Config, Format, FunctionName, Kind, Limits, Route};

/// The names that are looked for in a function's folder, in this order.
pub const FILE_NAMES: [&str; 3] = ["func.yaml", "func.yml", "func.json"];

/// What a function is called when it does not say.
pub const VERSION_DEFAULT: &str = "0.0.1";

const SCHEMA_VERSION: u64 = 20_180_708;
const LABEL_BYTES_MAX: usize = 64;

const KEYS: [&str; 33] = [
    "schema_version",
    "name",
    "version",
    "runtime",
    "entrypoint",
    "cmd",
    "build",
    "build_image",
    "run_image",
    "content_type",
    "type",
    "format",
    "path",
    "triggers",
    "config",
    "annotations",
    "expects",
    "memory",
    "cpus",
    "timeout",
    "idle_timeout",
    "max_attempts",
    "retry_backoff",
    "network",
    "tmpfs_size",
    "batch",
    "headers",
    "tests",
    "signing_details",
    "deploy",
    "shape",
    "syslog_url",
    "image",
];

/// A function as its file describes it, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct FuncFile {
    pub path: PathBuf,
    /// The folder's name when the file has none.
    pub name: FunctionName,
    /// The version's label.
    pub version: String,
    pub runtime: Option<String>,
    /// Where that stands, for errors; 0 when it does not.
    pub runtime_line: usize,
    pub entrypoint: Vec<String>,
    pub entrypoint_line: usize,
    pub cmd: Vec<String>,
    /// Commands that build the function, before it is packed.
    pub build: Vec<String>,
    pub build_image: Option<String>,
    pub run_image: Option<String>,
    pub content_type: Option<String>,
    pub kind: Kind,
    pub format: Format,
    /// `path`, or the source of its one trigger.
    pub route: Option<Route>,
    pub config: Config,
    pub annotations: BTreeMap<String, serde_json::Value>,
    /// Config that must be there when the function is deployed.
    pub expects: Vec<Expected>,
    pub limits: Limits,
    pub batch: BatchInput,
    /// What is in the file and has no effect, with its place.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub name: String,
    pub required: bool,
}

/// What a batch of this function is run on, unless it is told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchInput {
    pub input: Option<String>,
}

impl FuncFile {
    /// Reads the file of a function's folder.
    pub fn load(dir: &Path) -> Result<FuncFile> {
        let path = find(dir)?;
        let text = read(&path)?;
        FuncFile::parse(&path, &text)
    }

    /// `path` names the file in errors; its folder names a function that has no name of its own.
    pub fn parse(path: &Path, text: &str) -> Result<FuncFile> {
        let file = path.display().to_string();
        let root = tree::parse(&file, text)?;
        let fields = field::root(&file, &root)?;
        for field in &fields {
            field.check_known(&KEYS)?;
        }
        let mut draft = Draft::default();
        for field in &fields {
            draft.take(*field)?;
        }
        draft.finish(path)
    }

    /// Where it answers: what the file says, or else `/` and its name. Fn takes the folder's name for that; the
    /// function's name is the same unless somebody changed one of them, and does not depend on where a checkout lies.
    pub fn route(&self) -> Result<Route> {
        match &self.route {
            Some(route) => Ok(route.clone()),
            None => format!("/{}", self.name).parse(),
        }
    }

    /// The folder that it lies in.
    pub fn dir(&self) -> &Path {
        self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// The function's file in a folder.
pub fn find(dir: &Path) -> Result<PathBuf> {
    let found = FILE_NAMES.iter().map(|name| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        if !dir.exists() {
            return Error::not_found(format!("there is no folder {}", dir.display()))
                .hint("name one that has a func.yaml; `afn init --runtime shell NAME` makes one");
        }
        Error::not_found(format!("no func.yaml in {}", dir.display())).hint(
            "`afn init --runtime shell NAME` makes a function; `afn deploy DIR` takes one from elsewhere",
        )
    })
}

/// Reads such a file, if it is not too large and is text.
pub fn read(path: &Path) -> Result<String> {
    let failed =
        |error: std::io::Error| Error::invalid(format!("{} cannot be read: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > limits::FUNC_FILE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{} has {bytes} bytes, the most is {}",
            path.display(),
            limits::FUNC_FILE_BYTES_MAX
        )));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// What runtimes speak `http-stream`: those with an FDK or with a boilerplate of ours that does.
fn format_of(runtime: Option<&str>) -> Format {
    const STREAM: [&str; 8] = ["go", "python", "node", "java", "kotlin", "ruby", "dotnet", "csharp"];
    let speaks = |runtime: &str| {
        let family = runtime.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        STREAM.contains(&family)
    };
    if runtime.is_some_and(speaks) { Format::HttpStream } else { Format::Default }
}

#[derive(Default)]
struct Draft {
    name: Option<FunctionName>,
    version: Option<String>,
    runtime: Option<String>,
    runtime_line: usize,
    entrypoint: Vec<String>,
    entrypoint_line: usize,
    cmd: Vec<String>,
    build: Vec<String>,
    build_image: Option<String>,
    run_image: Option<String>,
    content_type: Option<String>,
    kind: Kind,
    format: Option<Format>,
    path: Option<Route>,
    trigger: Option<Route>,
    config: Config,
    annotations: BTreeMap<String, serde_json::Value>,
    expects: Vec<Expected>,
    limits: Limits,
    batch: BatchInput,
    warnings: Vec<String>,
}

impl Draft {
    fn take(&mut self, field: Field<'_>) -> Result<()> {
        match field.key {
            "schema_version" => {
                if field.whole("20180708")? != SCHEMA_VERSION {
                    return Err(field.expected("20180708"));
                }
            }
            "name" => self.name = Some(field.parsed()?),
            "version" => self.version = Some(label(&field)?),
            "runtime" => (self.runtime, self.runtime_line) = (Some(field.text()?), field.line),
            "entrypoint" => (self.entrypoint, self.entrypoint_line) = (field.command()?, field.line),
            "cmd" => self.cmd = field.command()?,
            "build" => self.build = field.texts()?,
            "build_image" => self.build_image = Some(field.text()?),
            "run_image" => self.run_image = Some(field.text()?),
            "content_type" => self.content_type = Some(content_type(&field)?),
            "type" => self.kind = field.parsed()?,
            "format" => self.format = Some(format(&field)?),
            "path" => self.path = Some(Route::lenient(&field.text()?).map_err(|error| field.placed(error))?),
            "triggers" => self.trigger = trigger(&field)?,
            "config" => {
                self.config = field.environment()?;
                check_config(&self.config).map_err(|error| field.placed(error))?;
            }
            "annotations" => {
                let fields = field.fields("a map")?;
                self.annotations = fields.iter().map(|field| (field.key.to_owned(), field.json())).collect();
            }
            "expects" => self.expects = expects(&field)?,
            "batch" => {
                for field in field.known_fields(&["input"])? {
                    self.batch.input = Some(field.text()?);
                }
            }
            "headers" => self.ignore(&field, "a result keeps its content type and no other header"),
            "tests" => self.ignore(&field, "there is no `test` command"),
            "signing_details" | "deploy" | "shape" => self.ignore(&field, "it is for Oracle's cloud"),
            "syslog_url" => self.ignore(&field, "logs lie in the store, `afn get logs` shows them"),
            "image" => {
                return Err(field.error("`image` is not supported: every deploy builds").hint(
                    "write a Dockerfile of one line, `FROM IMAGE`, beside func.yaml and set `runtime: docker`",
                ));
            }
            _ => return self.take_limit(field),
        }
        Ok(())
    }

    /// Each number is checked where it stands, so that the error can name its line.
    fn take_limit(&mut self, field: Field<'_>) -> Result<()> {
        let all = &mut self.limits;
        let mut one = Limits::default();
        match field.key {
            "memory" => (one.memory_mib, all.memory_mib) = twice(field.mebibytes()?),
            "cpus" => (one.cpu_millis, all.cpu_millis) = twice(field.cpu_millis()?),
            "timeout" => (one.timeout_ms, all.timeout_ms) = twice(field.duration_ms()?),
            "idle_timeout" => (one.idle_timeout_ms, all.idle_timeout_ms) = twice(field.duration_ms()?),
            "max_attempts" => {
                let attempts = field.whole("a number of attempts")?.try_into().unwrap_or(u32::MAX);
                (one.attempts_max, all.attempts_max) = twice(attempts);
            }
            "retry_backoff" => (one.retry_backoff_ms, all.retry_backoff_ms) = twice(field.duration_ms()?),
            "network" => (one.network, all.network) = twice(field.flag()?),
            "tmpfs_size" => (one.tmpfs_mib, all.tmpfs_mib) = twice(field.mebibytes()?),
            key => return Err(Error::internal(format!("key `{key}` is known and not read"))),
        }
        one.check().map_err(|error| field.placed(error))
    }

    fn ignore(&mut self, field: &Field<'_>, why: &str) {
        self.warnings
            .push(format!("{}:{}: `{}` has no effect here: {why}", field.file, field.line, field.key));
    }

    fn finish(self, path: &Path) -> Result<FuncFile> {
        let name = match self.name {
            Some(name) => name,
            None => folder_name(path)?,
        };
        Ok(FuncFile {
            path: path.to_owned(),
            name,
            version: self.version.unwrap_or_else(|| VERSION_DEFAULT.to_owned()),
            format: self.format.unwrap_or_else(|| format_of(self.runtime.as_deref())),
            runtime: self.runtime,
            runtime_line: self.runtime_line,
            entrypoint: self.entrypoint,
            entrypoint_line: self.entrypoint_line,
            cmd: self.cmd,
            build: self.build,
            build_image: self.build_image,
            run_image: self.run_image,
            content_type: self.content_type,
            kind: self.kind,
            route: self.path.or(self.trigger),
            config: self.config,
            annotations: self.annotations,
            expects: self.expects,
            limits: self.limits,
            batch: self.batch,
            warnings: self.warnings,
        })
    }
}

fn twice<T: Copy>(value: T) -> (T, T) {
    (value, value)
}

fn folder_name(path: &Path) -> Result<FunctionName> {
    // The file's own path may be relative (`func.yaml`), which names no folder.
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = full.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    folder.parse().map_err(|error: Error| {
        error.context(format!("{} has no `name`, and its folder's", path.display())).hint("add `name: myfn`")
    })
}

/// A label becomes part of a version's id and of an image's tag.
fn label(field: &Field<'_>) -> Result<String> {
    let text = field.text()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let begins_plain = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if begins_plain && text.len() <= LABEL_BYTES_MAX && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(field.expected("a version like 0.0.1: up to 64 letters, digits, `.`, `-` and `_`"))
    }
}

fn content_type(field: &Field<'_>) -> Result<String> {
    let text = field.text()?;
    if text.len() <= 200 && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Ok(text)
    } else {
        Err(field.expected("a content type like `application/json`"))
    }
}

fn format(field: &Field<'_>) -> Result<Format> {
    let text = field.text()?;
    if let "json" | "http" | "cloudevent" = text.as_str() {
        return Err(field
            .error(format!("`format: {text}` is one of Fn's older formats, which no FDK of today speaks"))
            .hint(
                "write `format: http-stream` for a function on an FDK (its current release) or on afn's boilerplate, \
                 `format: default` for a program that reads stdin and writes stdout",
            ));
    }
    field.parsed()
}

/// The route of the one http trigger that a function may have.
fn trigger(field: &Field<'_>) -> Result<Option<Route>> {
    let mut route = None;
    for item in field.items("a list of triggers")? {
        if route.is_some() {
            return Err(item
                .error("a second trigger: a function has one route")
                .hint("deploy it a second time under another name, or call it by its one route"));
        }
        for part in item.known_fields(&["name", "type", "source"])? {
            match part.key {
                "source" => {
                    route = Some(Route::lenient(&part.text()?).map_err(|error| part.placed(error))?);
                }
                "type" if part.text()? != "http" => return Err(part.expected("`http`")),
                _ => {
                    part.text()?;
                }
            }
        }
        if route.is_none() {
            return Err(item.error("a trigger without `source: /path`"));
        }
    }
    Ok(route)
}

fn expects(field: &Field<'_>) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    for part in field.known_fields(&["config"])? {
        for item in part.items("a list of `name` and `required`")? {
            let mut name = None;
            let mut required = true;
            for part in item.known_fields(&["name", "required"])? {
                match part.key {
                    "name" => name = Some(part.text()?),
                    _ => required = part.flag()?,
                }
            }
            let name = name.ok_or_else(|| item.error("an expected config without `name`"))?;
            expected.push(Expected { name, required });
        }
    }
    Ok(expected)
}
