//! `func.yaml`, the author's description of a function. Knows no store and no builder.
//!
//! Fn's keys are read in both of Fn's forms, the one of 2018 (`path`, `format`, `cpus`, `headers`) and
//! `schema_version: 20180708` (`triggers`). The meaning of an unknown key cannot be guessed, so it is an error, with the
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

use super::runtime::family;

pub use app_yaml::AppFile;
pub use field::json;
pub use tree::{Node, Value, error_at, parse as parse_tree};

use crate::error::{Error, Result};
use crate::model::{Config, Format, FunctionName, Kind, Limits, Route};

/// The names that are looked for in a function's folder, in this order.
pub const FILE_NAMES: [&str; 3] = ["func.yaml", "func.yml", "func.json"];

/// The version of a function whose file has none.
pub const VERSION_DEFAULT: &str = "0.0.1";

const SCHEMA_VERSION: u64 = 20_180_708;
const LABEL: &str = "a version like 0.0.1: up to 64 letters, digits, `.`, `-` and `_`";
const LABEL_BYTES_MAX: usize = 64;

const KEYS: &str = "schema_version name version runtime entrypoint cmd build build_image run_image content_type type \
    format path triggers config annotations expects memory cpus timeout idle_timeout max_attempts retry_backoff network \
    tmpfs_size batch headers tests signing_details deploy shape syslog_url image";

/// A function as its file describes it, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct FuncFile {
    pub path: PathBuf,
    /// The folder's name when the file has none.
    pub name: FunctionName,
    /// The version's label.
    pub version: String,
    pub runtime: Option<String>,
    /// Its line, for errors; 0 without a runtime.
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
    /// The default input of a batch of this function.
    pub batch_input: Option<String>,
    /// Keys of the file that have no effect, with their lines.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub name: String,
    pub required: bool,
}

impl FuncFile {
    /// Reads the file of a function's folder.
    pub fn load(dir: &Path) -> Result<FuncFile> {
        let path = find(dir)?;
        let text = read(&path)?;
        FuncFile::parse(&path, &text)
    }

    /// `path` names the file in errors; its folder names a function without a `name`.
    pub fn parse(path: &Path, text: &str) -> Result<FuncFile> {
        let file = path.display().to_string();
        let root = tree::parse(&file, text)?;
        let fields = field::root(&file, &root, KEYS)?;
        let given = |key: &str| fields.iter().find(|field| field.key == key);
        let name = given("name").map_or_else(|| folder_name(path), Field::parsed)?;
        let mut function = FuncFile::new(path, name);
        for field in &fields {
            function.set(field)?;
        }
        if given("format").is_none() {
            function.format = default_format(function.runtime.as_deref());
        }
        Ok(function)
    }

    /// A function of whose file nothing but the name is known.
    fn new(path: &Path, name: FunctionName) -> FuncFile {
        FuncFile {
            path: path.to_owned(),
            name,
            version: VERSION_DEFAULT.to_owned(),
            runtime: None,
            runtime_line: 0,
            entrypoint: Vec::new(),
            entrypoint_line: 0,
            cmd: Vec::new(),
            build: Vec::new(),
            build_image: None,
            run_image: None,
            content_type: None,
            kind: Kind::default(),
            format: Format::Default,
            route: None,
            config: Config::new(),
            annotations: BTreeMap::new(),
            expects: Vec::new(),
            limits: Limits::default(),
            batch_input: None,
            warnings: Vec::new(),
        }
    }

    fn set(&mut self, field: &Field<'_>) -> Result<()> {
        match field.key {
            "schema_version" if field.whole("20180708")? == SCHEMA_VERSION => {}
            "schema_version" => return Err(field.expected("20180708")),
            "name" => {}
            "version" => self.version = label(field)?,
            "runtime" => (self.runtime, self.runtime_line) = (Some(field.text()?), field.line),
            "entrypoint" => (self.entrypoint, self.entrypoint_line) = (field.command()?, field.line),
            "cmd" => self.cmd = field.command()?,
            "build" => self.build = field.texts()?,
            "build_image" => self.build_image = Some(field.text()?),
            "run_image" => self.run_image = Some(field.text()?),
            "content_type" => self.content_type = Some(content_type(field)?),
            "type" => self.kind = field.parsed()?,
            "format" => self.format = format(field)?,
            "path" => self.route = Some(field.route()?),
            // `path` wins, wherever it is in the file.
            "triggers" => self.route = self.route.take().or(trigger(field)?),
            "config" => self.config = field.config()?,
            "annotations" => self.annotations = field.annotations()?,
            "expects" => self.expects = expects(field)?,
            "batch" => {
                for field in field.known_fields("input")? {
                    self.batch_input = Some(field.text()?);
                }
            }
            "headers" => self.warn(field, "a result keeps its content type and no other header"),
            "tests" => self.warn(field, "there is no `test` command"),
            "signing_details" | "deploy" | "shape" => self.warn(field, "it is for Oracle's cloud"),
            "syslog_url" => self.warn(field, "logs lie in the store, `afn get logs` shows them"),
            "image" => {
                return Err(field.error("`image` is not supported: every deploy builds").with_hint(
                    "write a Dockerfile of one line, `FROM IMAGE`, beside func.yaml and set `runtime: docker`",
                ));
            }
            _ => return self.set_limit(field),
        }
        Ok(())
    }

    /// Each limit is checked when it is read, so that the error can name its line.
    fn set_limit(&mut self, field: &Field<'_>) -> Result<()> {
        let limits = &mut self.limits;
        match field.key {
            "memory" => limits.memory_mib = field.mebibytes()?,
            "cpus" => limits.cpu_millis = field.cpu_millis()?,
            "timeout" => limits.timeout_ms = field.duration_ms()?,
            "idle_timeout" => limits.idle_timeout_ms = field.duration_ms()?,
            "max_attempts" => {
                limits.attempts_max = field.whole("a number of attempts")?.try_into().unwrap_or(u32::MAX);
            }
            "retry_backoff" => limits.retry_backoff_ms = field.duration_ms()?,
            "network" => limits.network = field.flag()?,
            "tmpfs_size" => limits.tmpfs_mib = field.mebibytes()?,
            key => return Err(Error::internal(format!("key `{key}` is known and not read"))),
        }
        limits.check().map_err(|error| field.placed(error))
    }

    fn warn(&mut self, field: &Field<'_>, why: &str) {
        self.warnings.push(field.has_no_effect(why));
    }

    /// Its route: the file's, or else `/` and its name. Fn takes the folder's name for that; the
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
                .with_hint("name one that has a func.yaml; `afn init --runtime shell NAME` makes one");
        }
        Error::not_found(format!("no func.yaml in {}", dir.display())).with_hint(
            "`afn init --runtime shell NAME` makes a function; `afn deploy DIR` takes one from elsewhere",
        )
    })
}

/// Reads such a file, if it is not too large and is text.
pub fn read(path: &Path) -> Result<String> {
    let failed = |error| Error::invalid(format!("{} cannot be read: {error}", path.display()));
    tree::check_size(&path.display(), std::fs::metadata(path).map_err(failed)?.len())?;
    std::fs::read_to_string(path).map_err(failed)
}

/// `http-stream` for runtimes with an FDK, or with a boilerplate of ours that speaks it.
fn default_format(runtime: Option<&str>) -> Format {
    const STREAM: [&str; 8] = ["go", "python", "node", "java", "kotlin", "ruby", "dotnet", "csharp"];
    match runtime.is_some_and(|runtime| STREAM.contains(&family(runtime))) {
        true => Format::HttpStream,
        false => Format::Default,
    }
}

fn folder_name(path: &Path) -> Result<FunctionName> {
    // The file's own path may be relative (`func.yaml`), which names no folder.
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = full.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    folder.parse().map_err(|error: Error| {
        error
            .context(format!("{} has no `name`, and its folder's", path.display()))
            .with_hint("add `name: myfn`")
    })
}

/// A label becomes part of a version's id and of an image's tag.
fn label(field: &Field<'_>) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let text = field.text()?;
    let is_label = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(plain);
    if is_label { Ok(text) } else { Err(field.expected(LABEL)) }
}

fn content_type(field: &Field<'_>) -> Result<String> {
    let text = field.text()?;
    let is_header = text.len() <= 200 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if is_header { Ok(text) } else { Err(field.expected("a content type like `application/json`")) }
}

fn format(field: &Field<'_>) -> Result<Format> {
    let text = field.text()?;
    if let "json" | "http" | "cloudevent" = text.as_str() {
        return Err(field
            .error(format!("`format: {text}` is one of Fn's older formats, which no FDK of today speaks"))
            .with_hint(
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
                .with_hint("deploy it a second time under another name, or call it by its one route"));
        }
        for part in item.known_fields("name type source")? {
            match (part.key, part.text()?) {
                ("source", _) => route = Some(part.route()?),
                ("type", kind) if kind != "http" => return Err(part.expected("`http`")),
                _ => {}
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
    for part in field.known_fields("config")? {
        for item in part.items("a list of `name` and `required`")? {
            let mut name = None;
            let mut required = true;
            for part in item.known_fields("name required")? {
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
