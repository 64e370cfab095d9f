//! `afn init`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::define::annotations;
use crate::cli::options::FunctionFlags;
use crate::cli::session::Session;
use crate::deploy::init::{Created, InitRequest, init};
use crate::error::{Error, Result};
use crate::limits::ms;
use crate::model::FunctionName;

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The function's name and the folder to make; without it, the current folder.
    #[arg(value_name = "FUNCTION_NAME")]
    pub folder: Option<String>,

    /// The function's name, when it is not the folder's.
    #[arg(long)]
    pub name: Option<String>,

    /// The language: go, python, node, rust, shell, or docker; without it, it follows from the files that are there.
    #[arg(long)]
    pub runtime: Option<String>,

    /// Replace a func.yaml that exists.
    #[arg(long)]
    pub force: bool,

    /// Write boilerplate on Fn's official FDK (downloaded when the function is built), not on the standard library.
    #[arg(long)]
    pub fdk: bool,

    /// The command that starts the function.
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,

    /// Arguments of the entrypoint.
    #[arg(long, value_name = "ARGUMENTS")]
    pub cmd: Option<String>,

    /// The version to begin with; 0.0.1 by default.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,

    /// The folder that holds the function's, instead of the current one.
    #[arg(long, short, value_name = "PATH")]
    pub working_dir: Option<PathBuf>,

    #[command(flatten)]
    pub settings: FunctionFlags,
}

pub fn run(session: &Session, args: InitArgs) -> Result<()> {
    let dir = match (&args.working_dir, &args.folder) {
        (Some(base), Some(folder)) => base.join(folder),
        (Some(base), None) => base.clone(),
        (None, Some(folder)) => folder.into(),
        (None, None) => PathBuf::from("."),
    };
    let name = match (args.name, args.folder) {
        (Some(name), _) | (None, Some(name)) => name.parse()?,
        (None, None) => folder_name(&dir)?,
    };
    let request = InitRequest {
        runtime: args.runtime,
        version: args.version,
        entrypoint: args.entrypoint,
        cmd: args.cmd,
        kind: args.settings.kind,
        format: args.settings.format,
        memory_mib: args.settings.memory,
        timeout_ms: args.settings.timeout.map(ms),
        idle_timeout_ms: args.settings.idle_timeout.map(ms),
        config: args.settings.config.into_iter().collect(),
        annotations: annotations(&args.settings.annotation),
        force: args.force,
        fdk: args.fdk,
        ..InitRequest::new(&dir, name)
    };
    let created = init(&request)?;
    let record = json!({
        "folder": request.dir,
        "name": request.name,
        "runtime": created.runtime,
        "boilerplate": created.boilerplate,
        "func_file": created.func_file,
    });
    session.printer.done_all(confirmation(&request, &created), &record)?;
    let cd = match request.dir.as_path() {
        here if here == Path::new(".") => String::new(),
        dir => format!("cd {} && ", dir.display()),
    };
    session.printer.hint(format!("`{cd}afn run` tries it, `{cd}afn deploy --local --app APP` publishes it"));
    Ok(())
}

/// As Fn prints it.
fn confirmation(request: &InitRequest, created: &Created) -> Vec<String> {
    let mut lines = vec![
        format!("Creating function at: {}", request.dir.display()),
        format!("Runtime: {}", created.runtime),
    ];
    if !created.boilerplate.is_empty() {
        lines.push(format!("Function boilerplate generated: {}", created.boilerplate.join(", ")));
    }
    let func_file = created.func_file.file_name().unwrap_or_default();
    lines.push(format!("{} created.", func_file.display()));
    lines
}

/// A function in a folder that exists gets the folder's name.
fn folder_name(dir: &Path) -> Result<FunctionName> {
    let absolute = dir
        .canonicalize()
        .map_err(|error| Error::invalid(format!("cannot read {}: {error}", dir.display())))?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|error: Error| {
        error.context("name the function by its folder").with_hint("give it one with --name")
    })
}
