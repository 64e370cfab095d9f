//! Whether a function can be started at all, as far as its file and its folder tell: found out before anything is
//! touched.

use std::path::Path;

use super::dockerfile::for_runtime;
use super::func_yaml::{FuncFile, error_at};
use super::image;
use super::local_build;
use super::runtime::Runtime;
use crate::error::Result;

/// What runs a script that is its first argument.
const INTERPRETERS: [&str; 8] = ["sh", "bash", "dash", "python", "python3", "node", "perl", "ruby"];

/// Before it is known whether the function becomes an image or an archive.
pub fn check(file: &FuncFile) -> Result<()> {
    let says_how = !file.entrypoint.is_empty() || !file.cmd.is_empty();
    if image::own_dockerfile(file.dir())?.is_some() {
        return Ok(());
    }
    match file.runtime.as_deref().map(|name| (Runtime::find(name), name)) {
        Some((Some(Runtime::Docker), _)) => for_runtime(file).map(drop),
        Some((None, name)) if !says_how => Runtime::named(name)
            .map(drop)
            .map_err(|error| error.context(format!("{}:{}", file.path.display(), file.runtime_line))),
        None if !says_how => Err(local_build::not_said(file)),
        Some(_) | None => script(file),
    }
}

/// Before the folder itself is built on this machine.
pub fn check_folder(file: &FuncFile) -> Result<()> {
    match file.runtime.as_deref().and_then(Runtime::find) {
        Some(Runtime::Go) => local_build::installed("go"),
        Some(Runtime::Rust) => local_build::installed("cargo"),
        _ => script(file),
    }
}

/// A script that the function is started by has to be there, unless a build may make it.
fn script(file: &FuncFile) -> Result<()> {
    if !file.build.is_empty() {
        return Ok(());
    }
    let own: &[&str] = match file.runtime.as_deref().and_then(Runtime::find) {
        Some(Runtime::Shell) => &["sh", "func.sh"],
        Some(Runtime::Python) => &["python3", "func.py"],
        Some(Runtime::Node) => &["node", "func.js"],
        _ => &[],
    };
    let said: Vec<&str> = file.entrypoint.iter().chain(&file.cmd).map(String::as_str).collect();
    let words = if file.entrypoint.is_empty() && !own.is_empty() { own } else { &said };
    let Some(script) = named_by(words) else { return Ok(()) };
    if file.dir().join(script).is_file() {
        return Ok(());
    }
    Err(error_at(
        &file.path.display().to_string(),
        file.entrypoint_line.max(file.runtime_line).max(1),
        format!(
            "the function is started by `{}`, and there is no file `{script}` beside it",
            words.join(" ")
        ),
    )
    .hint("write it, or name the command that starts the function by `entrypoint:`"))
}

/// The script in the function's folder that a command runs.
fn named_by<'a>(words: &[&'a str]) -> Option<&'a str> {
    let [interpreter, script, ..] = words else { return None };
    let script = script.strip_prefix(local_build::FN_FOLDER).unwrap_or(script);
    let is_path = !script.starts_with(['-', '/']) && !script.is_empty();
    let name = Path::new(interpreter).file_name()?.to_str()?;
    (INTERPRETERS.contains(&name) && is_path).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn refusal(yaml: &str, files: &[&str]) -> Option<Error> {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        check(&FuncFile::parse(&dir.path().join("func.yaml"), yaml).unwrap()).err()
    }

    #[test]
    fn the_script_that_starts_a_function_is_there() {
        for (yaml, files) in [
            ("name: f\nruntime: shell\n", &["func.sh"][..]),
            ("name: f\nruntime: python3.11\nentrypoint: python3 -m app\n", &[]),
            ("name: f\nruntime: python\nentrypoint: python3 /function/main.py\n", &["main.py"]),
            ("name: f\nentrypoint: sh -c 'cat'\n", &[]),
            ("name: f\nruntime: node\nbuild: [make]\n", &[]),
            ("name: f\nruntime: node\n", &["Dockerfile"]),
            ("name: f\nruntime: zig\nentrypoint: ./made\n", &[]),
        ] {
            assert!(refusal(yaml, files).is_none(), "{yaml}");
        }
        let error = refusal("name: f\nruntime: shell\n", &["func.yaml"]).unwrap();
        assert!(
            error.message().ends_with(
                "func.yaml:2: the function is started by `sh func.sh`, and there is no file `func.sh` beside it"
            ),
            "{error}"
        );
        let error = refusal("name: f\nruntime: python\nentrypoint: python3 main.py\n", &["func.py"]).unwrap();
        assert!(
            error.message().contains("func.yaml:3: ") && error.message().contains("`main.py`"),
            "{error}"
        );
    }

    #[test]
    fn what_says_nothing_of_a_start_is_refused_by_name_and_line() {
        let error = refusal("name: f\n\nruntime: pyhton\n", &[]).unwrap();
        assert!(error.message().ends_with("func.yaml:3: runtime `pyhton` is unknown"), "{error}");
        assert!(error.hint_text().unwrap().starts_with("`python`?"), "{error:?}");
        let error = refusal("name: f\n", &[]).unwrap();
        assert!(error.message().ends_with("does not say how the function is started"), "{error}");
        let error = refusal("name: f\nruntime: docker\n", &[]).unwrap();
        assert!(error.message().starts_with("runtime `docker` needs a Dockerfile"), "{error}");
    }
}
