//! `afn init`

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::args::InitArgs;
use crate::cli::session::Session;
use crate::cli::traits::{self, millis};
use crate::deploy::init::{Created, InitRequest, init};
use crate::error::{Error, Result};
use crate::model::FunctionName;

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
        kind: args.traits.kind,
        format: args.traits.format,
        memory_mib: args.traits.memory,
        timeout_ms: args.traits.timeout.map(millis),
        idle_timeout_ms: args.traits.idle_timeout.map(millis),
        config: traits::config(&args.traits.config),
        annotations: traits::annotations(&args.traits.annotation),
        force: args.force,
        fdk: args.fdk,
        ..InitRequest::new(&dir, name)
    };
    let created = init(&request)?;
    session.printer.done(told(&request, &created), &record(&request, &created))?;
    let cd = match request.dir.as_path() {
        here if here == Path::new(".") => String::new(),
        dir => format!("cd {} && ", dir.display()),
    };
    session.printer.hint(format!("`{cd}afn run` tries it, `{cd}afn deploy --local --app APP` publishes it"));
    Ok(())
}

/// As Fn tells it.
fn told(request: &InitRequest, created: &Created) -> String {
    let mut lines = vec![
        format!("Creating function at: {}", request.dir.display()),
        format!("Runtime: {}", created.runtime),
    ];
    if !created.boilerplate.is_empty() {
        lines.push(format!("Function boilerplate generated: {}", created.boilerplate.join(", ")));
    }
    let func_file = created.func_file.file_name().unwrap_or_default();
    lines.push(format!("{} created.", func_file.display()));
    lines.join("\n")
}

fn record(request: &InitRequest, created: &Created) -> serde_json::Value {
    json!({
        "folder": request.dir,
        "name": request.name,
        "runtime": created.runtime,
        "boilerplate": created.boilerplate,
        "func_file": created.func_file,
    })
}

/// A function in a folder that is there already is named like it.
fn folder_name(dir: &std::path::Path) -> Result<FunctionName> {
    let absolute = dir
        .canonicalize()
        .map_err(|error| Error::invalid(format!("cannot look at {}: {error}", dir.display())))?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|error: Error| {
        error.context("name the function by its folder").hint("give it one with --name")
    })
}
