//! Building a function without Docker: with this machine's own toolchain, in the function's folder, which is then packed
//! for workers that run it as a child process.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::builder::Log;
use super::func_yaml::FuncFile;
use super::is_in_path;
use super::runtime::{Runtime, lacks_go_sum, needs_pip, npm_command};
use crate::error::{Error, Result};

/// The result of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBuild {
    /// Starts the function, in its folder.
    pub command: Vec<String>,
    /// Where it can run; `None`: on every machine with its command installed.
    pub os: Option<String>,
    pub arch: Option<String>,
}

/// How many lines of a failed build are shown with its error.
const LAST_LINES: usize = 20;
const MACH_O: [u8; 4] = [0xcf, 0xfa, 0xed, 0xfe];
/// What `pip` installs goes here, so that it is packed with the function.
const PYTHON_PACKAGES: &str = "packages";
/// What Fn's images call the function's folder.
pub const FN_FOLDER: &str = "/function/";
/// What Fn's images call the FDK's own starter.
const FN_PYTHON_STARTER: &str = "/python/bin/fdk";

/// Runs the file's own `build` commands, then what its runtime asks for.
pub async fn build(file: &FuncFile, log: &Log<'_>) -> Result<LocalBuild> {
    let dir = file.dir();
    for step in &file.build {
        run(dir, &["sh", "-c", step], log).await?;
    }
    let runtime = match &file.runtime {
        // An unknown runtime is no problem when the command that starts it is known.
        Some(name) if !file.entrypoint.is_empty() => Runtime::find(name),
        Some(name) => Some(Runtime::named(name)?),
        None => None,
    };
    let built = match runtime {
        Some(Runtime::Go) => go(dir, log).await?,
        Some(Runtime::Rust) => rust(dir, log).await?,
        Some(Runtime::Python) => python(dir, log).await?,
        Some(Runtime::Node) => node(dir, log).await?,
        Some(Runtime::Shell) => anywhere(Runtime::Shell.command()),
        Some(Runtime::Docker) => return Err(needs_docker(file)),
        None => entrypoint_alone(dir, &file.entrypoint),
    };
    let mut command = match file.entrypoint.is_empty() {
        true => built.command,
        false => entrypoint(&file.entrypoint, &built.command),
    };
    command.extend(file.cmd.iter().cloned());
    if command.is_empty() {
        return Err(no_command(file));
    }
    Ok(LocalBuild { command, ..built })
}

/// What a build leaves in the folder for the function to run with: it is packed, whatever git ignores.
pub fn built_paths(file: &FuncFile, command: &[String]) -> Vec<String> {
    let by_runtime = match file.runtime.as_deref().and_then(Runtime::find) {
        Some(Runtime::Go | Runtime::Rust) => Some("func"),
        Some(Runtime::Python) => Some(PYTHON_PACKAGES),
        Some(Runtime::Node) => Some("node_modules"),
        Some(Runtime::Shell | Runtime::Docker) | None => None,
    };
    let named = command.iter().map(|word| word.strip_prefix("./").unwrap_or(word));
    let named = named
        .filter(|word| !word.is_empty() && !word.starts_with(['/', '.']) && file.dir().join(word).exists());
    by_runtime.into_iter().chain(named).map(|path| path.trim_end_matches('/').to_owned()).collect()
}

pub fn no_command(file: &FuncFile) -> Error {
    Error::invalid(format!("{} does not say how the function is started", file.path.display()))
        .with_hint("give it a `runtime:` (go, node, python, rust, shell) or an `entrypoint:`")
}

fn needs_docker(file: &FuncFile) -> Error {
    Error::invalid(format!("function `{}` is built from its Dockerfile, which takes Docker", file.name)).with_hint(
        "start Docker (`afn doctor` looks for it), or say in func.yaml by `runtime:` or `entrypoint:` how it runs \
         without an image",
    )
}

/// A command as Fn's images have it, changed to run in the function's own folder. What the runtime puts before its own
/// command (the path of packages) is put before this one too.
fn entrypoint(words: &[String], own: &[String]) -> Vec<String> {
    let prefix = own.iter().take_while(|word| *word == "env" || word.contains('=')).cloned();
    let mut command: Vec<String> = prefix.collect();
    for word in words {
        match word.strip_prefix(FN_FOLDER) {
            Some(path) => command.push(format!("./{path}")),
            None if word == FN_PYTHON_STARTER => {
                command
                    .extend(["python3", "-c", "from fdk.scripts.fdk import main; main()"].map(str::to_owned));
            }
            None => command.push(word.clone()),
        }
    }
    command
}

fn anywhere(command: &[&str]) -> LocalBuild {
    LocalBuild { command: command.iter().map(|word| (*word).to_owned()).collect(), os: None, arch: None }
}

/// A build that runs on machines like this one.
fn here(command: &[&str]) -> LocalBuild {
    let (os, arch) = crate::model::machine();
    LocalBuild { os: Some(os.to_owned()), arch: Some(arch.to_owned()), ..anywhere(command) }
}

/// Without a known runtime, the first bytes of the function show whether it is a program or a script.
fn entrypoint_alone(dir: &Path, words: &[String]) -> LocalBuild {
    let mut magic = [0; 4];
    let program = words.first().and_then(|program| std::fs::File::open(dir.join(program)).ok());
    let read = program.is_some_and(|mut file| std::io::Read::read_exact(&mut file, &mut magic).is_ok());
    if read && (&magic == b"\x7fELF" || magic == MACH_O) { here(&[]) } else { anywhere(&[]) }
}

async fn go(dir: &Path, log: &Log<'_>) -> Result<LocalBuild> {
    if lacks_go_sum(dir) && !dir.join("vendor").exists() {
        run(dir, &["go", "mod", "tidy"], log).await?;
    }
    // Static, so that it starts on every machine with the same kernel.
    run(dir, &["env", "CGO_ENABLED=0", "go", "build", "-o", "func", "."], log).await?;
    Ok(here(Runtime::Go.command()))
}

async fn rust(dir: &Path, log: &Log<'_>) -> Result<LocalBuild> {
    // In the function's own target folder, whatever CARGO_TARGET_DIR says: Cargo tells packages apart by their place in
    // their workspace, and would take another function's program for this one's.
    let build =
        ["cargo", "build", "--release", "--target-dir", "target", "--message-format=json-render-diagnostics"];
    let output = run(dir, &build, log).await?;
    let executable = output.iter().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("executable")?.as_str()?.to_owned())
    });
    let executable = executable
        .ok_or_else(|| Error::invalid(format!("{} builds no program", dir.join("Cargo.toml").display())))?;
    std::fs::copy(&executable, dir.join("func"))
        .map_err(|error| Error::internal(format!("cannot copy {executable}: {error}")))?;
    Ok(here(Runtime::Rust.command()))
}

async fn python(dir: &Path, log: &Log<'_>) -> Result<LocalBuild> {
    if !needs_pip(dir) {
        return Ok(anywhere(Runtime::Python.command()));
    }
    let pip = ["env", "PIP_ROOT_USER_ACTION=ignore", "python3", "-m", "pip", "install", "--quiet"];
    let options = ["--disable-pip-version-check", "--upgrade", "--target", PYTHON_PACKAGES];
    run(dir, &[&pip[..], &options, &["-r", "requirements.txt"]].concat(), log).await?;
    // Packages may hold native code.
    let path = format!("PYTHONPATH={PYTHON_PACKAGES}");
    Ok(here(&[&["env", path.as_str()], Runtime::Python.command()].concat()))
}

async fn node(dir: &Path, log: &Log<'_>) -> Result<LocalBuild> {
    let Some(command) = npm_command(dir) else { return Ok(anywhere(Runtime::Node.command())) };
    run(dir, &["npm", command, "--omit=dev"], log).await?;
    Ok(here(Runtime::Node.command()))
}

/// Runs a toolchain; gives the lines of its stdout, which go to `log` too unless they are JSON for us.
async fn run(dir: &Path, words: &[&str], log: &Log<'_>) -> Result<Vec<String>> {
    let program =
        words.iter().find(|word| **word != "env" && !word.contains('=')).copied().unwrap_or_default();
    installed(program)?;
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |why: String| Error::invalid(format!("`{}` {why} in {}", words.join(" "), dir.display()));
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(words[0]),
        _ => failed(format!("cannot be started: {error}")),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (output, errors, exit) = tokio::join!(lines(stdout, log), lines(stderr, log), child.wait());
    let status = exit.map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    if status.success() {
        return Ok(output);
    }
    let all: Vec<&String> = output.iter().chain(&errors).filter(|line| !is_json(line)).collect();
    let last = all[all.len().saturating_sub(LAST_LINES)..]
        .iter()
        .fold(String::new(), |text, line| text + "\n" + line);
    Err(failed(format!("failed with {status}")).with_hint(format!("its output ends with:{last}")))
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, log: &Log<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let Some(pipe) = pipe else { return all };
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = pipe.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if !is_json(&text) {
            log(&text);
        }
        all.push(text);
    }
    all
}

/// A message of Cargo's, for programs and not for people.
fn is_json(line: &str) -> bool {
    line.starts_with('{') && line.ends_with('}')
}

/// Whether a program that functions are built with is installed.
pub fn installed(program: &str) -> Result<()> {
    match program.contains('/') || is_in_path(program) {
        true => Ok(()),
        false => Err(missing(program)),
    }
}

fn missing(program: &str) -> Error {
    let how = match program {
        "go" => "install Go (https://go.dev/dl)",
        "cargo" => "install Rust (https://rustup.rs)",
        "npm" => "install Node.js with npm (https://nodejs.org)",
        "python3" => "install Python 3 with pip (https://python.org)",
        _ => "install it",
    };
    Error::invalid(format!("`{program}` is not installed, and the function is built with it")).with_hint(
        format!(
            "{how}; or start Docker, which brings every toolchain; or make a function that needs none: \
         `afn init --runtime shell NAME`"
        ),
    )
}

#[cfg(test)]
mod tests;
