//! Beginning a function: a folder with a `func.yaml` and, where there is no code yet, boilerplate that runs as it is. It
//! needs no download: it speaks the contract with its language's standard library alone. With `fdk` it is written on
//! Fn's official FDK instead.

mod docker;
mod go;
mod node;
mod python;
mod rust;
mod shell;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::func_yaml::{self, FuncFile};
use super::runtime::Runtime;
use crate::error::{Error, Result};
use crate::model::{Config, Format, FunctionName, Kind};

/// What is to be begun. What is `None` or empty is left to its default and not written down.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// Made when it is missing.
    pub dir: PathBuf,
    pub name: FunctionName,
    /// Without it, it is told from the files that are there.
    pub runtime: Option<String>,
    pub version: Option<String>,
    pub entrypoint: Option<String>,
    pub cmd: Option<String>,
    pub kind: Option<Kind>,
    pub format: Option<Format>,
    pub memory_mib: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub idle_timeout_ms: Option<u64>,
    pub config: Config,
    pub annotations: BTreeMap<String, serde_json::Value>,
    /// Replace a `func.yaml` that exists.
    pub force: bool,
    pub fdk: bool,
}

impl InitRequest {
    pub fn new(dir: impl Into<PathBuf>, name: FunctionName) -> InitRequest {
        InitRequest {
            dir: dir.into(),
            name,
            runtime: None,
            version: None,
            entrypoint: None,
            cmd: None,
            kind: None,
            format: None,
            memory_mib: None,
            timeout_ms: None,
            idle_timeout_ms: None,
            config: Config::new(),
            annotations: BTreeMap::new(),
            force: false,
            fdk: false,
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub runtime: String,
    /// Boilerplate, in the order of reading; empty when there was code already.
    pub boilerplate: Vec<String>,
    /// Its path.
    pub func_file: PathBuf,
}

/// What a runtime's boilerplate is made of.
struct Boilerplate {
    /// The one that a person opens first comes first. If any is there already, none is written.
    files: Vec<(&'static str, String)>,
    entrypoint: &'static str,
    /// Where the runtime's default is another.
    format: Option<Format>,
}

/// Makes the folder and what belongs in it. Nothing that exists is overwritten, but `func.yaml` if `force` says so.
pub fn init(request: &InitRequest) -> Result<Created> {
    let dir = &request.dir;
    let existing = func_yaml::find(dir).ok();
    if let Some(existing) = existing.as_ref().filter(|_| !request.force) {
        return Err(Error::conflict(format!("{} exists already", existing.display()))
            .hint("`--force` writes it anew; the code stays as it is"));
    }
    let name = match &request.runtime {
        Some(name) => name.clone(),
        None => detect(dir)?.name().to_owned(),
    };
    let runtime = Runtime::named(&name)?;
    let boilerplate = boilerplate(runtime, request)?;

    // Checked by the reader itself, before anything is written.
    let func_file = existing.unwrap_or_else(|| dir.join(func_yaml::FILE_NAMES[0]));
    let text = match func_file.extension().is_some_and(|extension| extension == "json") {
        true => yaml::render_json(request, &name, &boilerplate),
        false => yaml::render(request, &name, &boilerplate),
    };
    FuncFile::parse(&func_file, &text)?;

    fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
    let mut written = Vec::new();
    if !boilerplate.files.iter().any(|(file, _)| dir.join(file).exists()) {
        for (file, text) in &boilerplate.files {
            create(&dir.join(file), text)?;
            written.push((*file).to_owned());
        }
    }
    fs::write(&func_file, text).map_err(|error| cannot_write(&func_file, &error))?;
    Ok(Created { runtime: name, boilerplate: written, func_file })
}

fn boilerplate(runtime: Runtime, request: &InitRequest) -> Result<Boilerplate> {
    match (runtime, request.fdk) {
        (Runtime::Docker, false) => docker::boilerplate(&request.dir),
        (Runtime::Go, fdk) => Ok(go::boilerplate(fdk)),
        (Runtime::Node, false) => Ok(node::boilerplate()),
        (Runtime::Python, fdk) => Ok(python::boilerplate(fdk)),
        (Runtime::Rust, false) => Ok(rust::boilerplate()),
        (Runtime::Shell, false) => Ok(shell::boilerplate()),
        (Runtime::Docker | Runtime::Node | Runtime::Rust | Runtime::Shell, true) => {
            Err(Error::invalid(format!("there is no boilerplate on Fn's FDK for `{}`", runtime.name()))
                .hint("there is for go and python; without `--fdk`, for every runtime"))
        }
    }
}

/// By the files that each runtime's functions begin with; a Dockerfile says more than any of them.
fn detect(dir: &Path) -> Result<Runtime> {
    const SIGNS: [(Runtime, &[&str]); 6] = [
        (Runtime::Docker, &["Dockerfile"]),
        (Runtime::Go, &["func.go", "go.mod"]),
        (Runtime::Python, &["func.py", "requirements.txt"]),
        (Runtime::Node, &["func.js", "package.json"]),
        (Runtime::Rust, &["Cargo.toml"]),
        (Runtime::Shell, &["func.sh"]),
    ];
    let is_there = |files: &[&str]| files.iter().any(|file| dir.join(file).is_file());
    let found = SIGNS.iter().find(|(_, files)| is_there(files));
    found.map(|(runtime, _)| *runtime).ok_or_else(|| {
        Error::invalid(format!("nothing in {} tells the function's runtime", dir.display()))
            .hint(format!("`--runtime` names one: {}", Runtime::ALL.map(Runtime::name).join(", ")))
    })
}

fn create(path: &Path, text: &str) -> Result<()> {
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("cannot write {}: {error}", path.display()))
}
