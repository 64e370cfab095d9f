//! Creating a function: a folder with a `func.yaml` and, where there is no code yet, boilerplate that runs as it is. It
//! needs no download: it speaks the contract with its language's standard library alone. With `fdk` it is written on
//! Fn's official FDK instead.

mod boilerplate;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use self::boilerplate::boilerplate;
use super::func_yaml::{self, FuncFile};
use super::runtime::Runtime;
use crate::error::{Error, Result};
use crate::model::{Config, Format, FunctionName, Kind};

/// The function to create. What is `None` or empty keeps its default and is not written to `func.yaml`.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// Created when it does not exist.
    pub dir: PathBuf,
    pub name: FunctionName,
    /// `None`: it is detected from the files that exist.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub runtime: String,
    /// Boilerplate, in the order of reading; empty when there was code already.
    pub boilerplate: Vec<String>,
    pub func_file: PathBuf,
}

/// Makes the folder and its files. Nothing that exists is overwritten, except `func.yaml` with `force`.
pub fn init(request: &InitRequest) -> Result<Created> {
    let dir = &request.dir;
    let existing = func_yaml::find(dir).ok();
    if let Some(existing) = existing.as_ref().filter(|_| !request.force) {
        return Err(Error::conflict(format!("{} exists already", existing.display()))
            .with_hint("`--force` writes it anew; the code stays as it is"));
    }
    let name = match &request.runtime {
        Some(name) => name.clone(),
        None => detect(dir)?.name().to_owned(),
    };
    let runtime = Runtime::named(&name)?;
    let boilerplate = boilerplate(runtime, request.fdk, dir)?;

    // Checked by the reader of such files, before anything is written.
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

/// Detects the runtime by the files that its functions begin with. A Dockerfile wins over all others.
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
            .with_hint(format!("`--runtime` names one: {}", Runtime::ALL.map(Runtime::name).join(", ")))
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
