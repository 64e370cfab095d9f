//! In which form a function is deployed, and whether it can be started in that form, as far as its file and its folder
//! show. Both are decided before anything is changed.

use std::path::Path;

use super::builder::ImageBuilder;
use super::dockerfile::for_runtime;
use super::func_yaml::{FuncFile, error_at};
use super::image;
use super::local_build;
use super::request::{DeployRequest, Way};
use super::runtime::Runtime;
use crate::error::{Error, Result};

/// Programs that run a script, which is their first argument.
const INTERPRETERS: [&str; 8] = ["sh", "bash", "dash", "python", "python3", "node", "perl", "ruby"];

/// How a function is going to be built.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    Image(&'a dyn ImageBuilder),
    Archive,
}

impl<'a> Form<'a> {
    /// The form for a deploy. Refuses a function that cannot be started in it.
    pub async fn of_startable(request: &DeployRequest<'a>, file: &FuncFile) -> Result<Form<'a>> {
        check_startable(file)?;
        let form = Form::of(request, file).await?;
        if let Form::Archive = form {
            check_local_build(file)?;
        }
        Ok(form)
    }

    pub async fn of(request: &DeployRequest<'a>, file: &FuncFile) -> Result<Form<'a>> {
        if request.way == Way::Archive {
            return Ok(Form::Archive);
        }
        let builder = match &request.builder {
            Ok(builder) => builder.available().await.map(|()| *builder),
            Err(why) => Err(why.clone()),
        };
        match builder {
            Ok(builder) => match image::dockerfile(file) {
                Ok(_) => {
                    request.image.reference(&file.name, &file.version)?;
                    Ok(Form::Image(builder))
                }
                // No image can be made of it, but its file has enough to run the folder.
                Err(_) if request.way == Way::Auto && has_command(file) => Ok(Form::Archive),
                Err(error) => Err(error),
            },
            Err(why) if request.way == Way::Image || needs_image(file)? => {
                Err(Error::invalid(format!("function `{}` has to be built as an image: {why}", file.name)).with_hint(
                    "start Docker (`afn doctor` looks for it); or say in func.yaml how the function runs without an image, \
                     by `runtime:` (go, node, python, rust, shell) or `entrypoint:`, and deploy its folder",
                ))
            }
            Err(_) => Ok(Form::Archive),
        }
    }
}

/// Whether only a Dockerfile shows how to run the function, or its runtime exists in images only.
fn needs_image(file: &FuncFile) -> Result<bool> {
    Ok(match file.runtime.as_deref().map(Runtime::find) {
        Some(Some(runtime)) => runtime == Runtime::Docker,
        Some(None) => !has_command(file),
        None => !has_command(file) && image::own_dockerfile(file.dir())?.is_some(),
    })
}

fn has_command(file: &FuncFile) -> bool {
    !file.entrypoint.is_empty() || !file.cmd.is_empty()
}

/// Before it is known whether the function becomes an image or an archive.
fn check_startable(file: &FuncFile) -> Result<()> {
    if image::own_dockerfile(file.dir())?.is_some() {
        return Ok(());
    }
    match file.runtime.as_deref().map(Runtime::named) {
        Some(Ok(Runtime::Docker)) => for_runtime(file).map(drop),
        Some(Err(error)) if !has_command(file) => {
            Err(error.context(format!("{}:{}", file.path.display(), file.runtime_line)))
        }
        None if !has_command(file) => Err(local_build::no_command(file)),
        Some(_) | None => check_script(file),
    }
}

/// Before the folder itself is built on this machine.
fn check_local_build(file: &FuncFile) -> Result<()> {
    match file.runtime.as_deref().and_then(Runtime::find) {
        Some(Runtime::Go) => local_build::installed("go"),
        Some(Runtime::Rust) => local_build::installed("cargo"),
        _ => check_script(file),
    }
}

/// A script that starts the function has to exist, unless a build may make it.
fn check_script(file: &FuncFile) -> Result<()> {
    if !file.build.is_empty() {
        return Ok(());
    }
    let own = file.runtime.as_deref().and_then(Runtime::find).map_or(&[][..], Runtime::command);
    let given: Vec<&str> = file.entrypoint.iter().chain(&file.cmd).map(String::as_str).collect();
    let words = if file.entrypoint.is_empty() && own.len() > 1 { own } else { &given };
    let Some(script) = script_in(words) else { return Ok(()) };
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
    .with_hint("write it, or name the command that starts the function by `entrypoint:`"))
}

/// The script in the function's folder that a command runs.
fn script_in<'a>(words: &[&'a str]) -> Option<&'a str> {
    let [interpreter, script, ..] = words else { return None };
    let script = script.strip_prefix(local_build::FN_FOLDER).unwrap_or(script);
    let is_path = !script.starts_with(['-', '/']) && !script.is_empty();
    let name = Path::new(interpreter).file_name()?.to_str()?;
    (INTERPRETERS.contains(&name) && is_path).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(yaml: &str, files: &[&str]) -> Option<Error> {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        check_startable(&FuncFile::parse(&dir.path().join("func.yaml"), yaml).unwrap()).err()
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
