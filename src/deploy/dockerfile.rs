//! The Dockerfile of a function that has none: what its runtime, its `build_image` and its `run_image` say. Knows the
//! folder's files by name, never what is in Docker.
//!
//! The function lies in `/function`, a Python function's packages in `/python`, as in Fn's images, so that an
//! `entrypoint` written for those still works. What is compiled leaves only the program behind.

use super::func_yaml::FuncFile;
use super::runtime::{Runtime, family, lacks_go_sum, needs_pip, npm_command};
use crate::error::{Error, Result};

const FOLDER: &str = "/function";

/// What a Dockerfile is made from.
#[derive(Default)]
struct Recipe {
    build_image: String,
    run_image: String,
    /// Run in the build image, in the folder, before the function's own `build` commands.
    steps: Vec<String>,
    /// Run after them.
    last_steps: Vec<String>,
    /// What is copied from the build image: the whole folder unless something is named.
    copied: Vec<&'static str>,
    env: Vec<&'static str>,
}

impl Recipe {
    /// Builds and runs in the same image.
    fn in_image(image: String) -> Recipe {
        Recipe { build_image: image.clone(), run_image: image, ..Recipe::default() }
    }

    /// Builds a program, which needs nothing else to run.
    fn program(build_image: String, build: String) -> Recipe {
        Recipe {
            build_image,
            run_image: "alpine:3".to_owned(),
            last_steps: vec![build],
            copied: vec!["/function/func"],
            ..Recipe::default()
        }
    }
}

/// The Dockerfile for a function's runtime.
pub fn for_runtime(file: &FuncFile) -> Result<String> {
    let name = file.runtime.as_deref().unwrap_or_default();
    // `python3.11`: the version picks the image.
    let version = name[family(name).len()..].trim_matches(['-', '.']);
    let dir = file.dir();
    let runtime = Runtime::find(name);
    let recipe = match runtime {
        Some(Runtime::Go) => {
            // Static, so that it runs in any image.
            let build = "CGO_ENABLED=0 go build -buildvcs=false -trimpath -o func .";
            let mut recipe = Recipe::program(image("golang", version, "1", "alpine"), build.to_owned());
            if !dir.join("go.mod").is_file() {
                recipe.steps.push("go mod init func && go mod tidy".to_owned());
            } else if lacks_go_sum(dir) {
                recipe.steps.push("go mod tidy".to_owned());
            }
            recipe
        }
        Some(Runtime::Rust) => {
            let locked = if dir.join("Cargo.lock").is_file() { " --locked" } else { "" };
            // It builds one program, whose name is not known here.
            let build = format!("cargo install{locked} --path . --root /built && mv /built/bin/* func");
            Recipe::program(image("rust", version, "1", "alpine"), build)
        }
        Some(Runtime::Python) => {
            let mut recipe = Recipe::in_image(image("python", version, "3", "slim"));
            // What a function prints is in its log even if it is killed next.
            recipe.env.push("PYTHONUNBUFFERED=1");
            if needs_pip(dir) {
                let install = "python3 -m pip install --no-cache-dir --target /python -r requirements.txt";
                recipe.steps.push(install.to_owned());
                recipe.copied = vec!["/python", FOLDER];
                recipe.env.push("PYTHONPATH=/python");
            }
            recipe
        }
        Some(Runtime::Node) => {
            let mut recipe = Recipe::in_image(image("node", version, "lts", "slim"));
            recipe.steps.extend(npm_command(dir).map(|command| format!("npm {command} --omit=dev")));
            recipe
        }
        Some(Runtime::Shell) => Recipe::in_image("busybox:1".to_owned()),
        Some(Runtime::Docker) | None => match &file.run_image {
            Some(image) if !file.entrypoint.is_empty() => Recipe::in_image(image.clone()),
            _ => return Err(unknown(file)),
        },
    };
    Ok(render(recipe, runtime, file))
}

fn render(recipe: Recipe, runtime: Option<Runtime>, file: &FuncFile) -> String {
    let mut lines = Vec::new();
    let steps: Vec<&String> = recipe.steps.iter().chain(&file.build).chain(&recipe.last_steps).collect();
    if !steps.is_empty() {
        lines.push(format!("FROM {} AS build", file.build_image.as_ref().unwrap_or(&recipe.build_image)));
        lines.push(format!("WORKDIR {FOLDER}"));
        lines.push("COPY . .".to_owned());
        lines.extend(steps.iter().map(|step| format!("RUN {step}")));
        lines.push(String::new());
    }
    lines.push(format!("FROM {}", file.run_image.as_ref().unwrap_or(&recipe.run_image)));
    lines.push(format!("WORKDIR {FOLDER}"));
    if steps.is_empty() {
        lines.push("COPY . .".to_owned());
    } else {
        let copied = if recipe.copied.is_empty() { &[FOLDER][..] } else { &recipe.copied };
        lines.extend(copied.iter().map(|path| format!("COPY --from=build {path} {path}")));
    }
    lines.extend(recipe.env.iter().map(|env| format!("ENV {env}")));
    let entrypoint = match file.entrypoint.is_empty() {
        true => words(runtime.map_or(&[], Runtime::command)),
        false => words(&file.entrypoint),
    };
    lines.push(format!("ENTRYPOINT {entrypoint}"));
    if !file.cmd.is_empty() {
        lines.push(format!("CMD {}", words(&file.cmd)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn unknown(file: &FuncFile) -> Error {
    let runtime = match file.runtime.as_deref() {
        Some("docker") => {
            return Error::invalid(format!(
                "runtime `docker` needs a Dockerfile in {}",
                file.dir().display()
            ))
            .with_hint("write one that ends in an ENTRYPOINT");
        }
        Some(runtime) => format!("none can be made for runtime `{runtime}`"),
        None => "without a `runtime:` none can be made".to_owned(),
    };
    Error::invalid(format!("{} has no Dockerfile beside it, and {runtime}", file.path.display())).with_hint(
        "write a Dockerfile, or take `runtime:` go, node, python, rust or shell, or give `run_image:` and `entrypoint:`",
    )
}

/// Docker reads JSON here.
fn words<T: Clone + Into<serde_json::Value>>(words: &[T]) -> String {
    serde_json::Value::from(words).to_string()
}

/// `golang:1.22-alpine`, or the newest of a major version.
fn image(name: &str, version: &str, newest: &str, variant: &str) -> String {
    let version = if version.is_empty() { newest } else { version };
    format!("{name}:{version}-{variant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dockerfile(yaml: &str, files: &[(&str, &str)]) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        for_runtime(&FuncFile::parse(&dir.path().join("func.yaml"), &format!("name: f\n{yaml}"))?)
    }

    #[test]
    fn go_leaves_a_static_program_behind() {
        let text = dockerfile("runtime: go\n", &[("go.mod", "module func\n\ngo 1.18\n")]).unwrap();
        let expected = "\
FROM golang:1-alpine AS build
WORKDIR /function
COPY . .
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -o func .

FROM alpine:3
WORKDIR /function
COPY --from=build /function/func /function/func
ENTRYPOINT [\"./func\"]
";
        assert_eq!(text, expected);
        let text = dockerfile("runtime: go\n", &[("go.mod", "require x v1\n")]).unwrap();
        assert!(text.contains("RUN go mod tidy\n"), "{text}");
        let text = dockerfile("runtime: go1.22\n", &[]).unwrap();
        assert!(text.contains("FROM golang:1.22-alpine AS build"), "{text}");
        assert!(text.contains("RUN go mod init func && go mod tidy\n"), "{text}");
    }

    #[test]
    fn python_takes_packages_only_if_it_asks_for_some() {
        let text = dockerfile("runtime: python\n", &[("requirements.txt", "# none\n")]).unwrap();
        let expected = "\
FROM python:3-slim
WORKDIR /function
COPY . .
ENV PYTHONUNBUFFERED=1
ENTRYPOINT [\"python3\",\"func.py\"]
";
        assert_eq!(text, expected);
        let fdk = "runtime: python3.11\nentrypoint: /python/bin/fdk /function/func.py handler\n";
        let text = dockerfile(fdk, &[("requirements.txt", "fdk>=0.1.100\n")]).unwrap();
        let expected = "\
FROM python:3.11-slim AS build
WORKDIR /function
COPY . .
RUN python3 -m pip install --no-cache-dir --target /python -r requirements.txt

FROM python:3.11-slim
WORKDIR /function
COPY --from=build /python /python
COPY --from=build /function /function
ENV PYTHONUNBUFFERED=1
ENV PYTHONPATH=/python
ENTRYPOINT [\"/python/bin/fdk\",\"/function/func.py\",\"handler\"]
";
        assert_eq!(text, expected);
    }

    #[test]
    fn images_and_commands_are_the_functions_to_choose() {
        let yaml = "runtime: shell\nbuild_image: alpine:3\nrun_image: my/base:2\nbuild: [make, make check]\n\
                    entrypoint: sh -c \"a b\"\ncmd: --loud\n";
        let expected = "\
FROM alpine:3 AS build
WORKDIR /function
COPY . .
RUN make
RUN make check

FROM my/base:2
WORKDIR /function
COPY --from=build /function /function
ENTRYPOINT [\"sh\",\"-c\",\"a b\"]
CMD [\"--loud\"]
";
        assert_eq!(dockerfile(yaml, &[]).unwrap(), expected);
    }

    #[test]
    fn node_and_rust_keep_to_their_lock_files() {
        let package = ("package.json", r#"{"dependencies": {"x": "1"}}"#);
        let text = dockerfile("runtime: node20\n", &[package, ("package-lock.json", "{}")]).unwrap();
        assert!(text.starts_with("FROM node:20-slim AS build\n"), "{text}");
        assert!(text.contains("RUN npm ci --omit=dev\n"), "{text}");
        let text = dockerfile("runtime: node\n", &[("package.json", "{}")]).unwrap();
        assert!(text.starts_with("FROM node:lts-slim\n"), "{text}");
        let text = dockerfile("runtime: rust\n", &[("Cargo.lock", "")]).unwrap();
        assert!(text.contains("cargo install --locked --path . --root /built"), "{text}");
    }

    #[test]
    fn what_is_unknown_needs_an_image_and_a_command() {
        let text = dockerfile("runtime: zig\nrun_image: my/zig:1\nentrypoint: ./go\n", &[]).unwrap();
        assert_eq!(text, "FROM my/zig:1\nWORKDIR /function\nCOPY . .\nENTRYPOINT [\"./go\"]\n");
        let error = dockerfile("runtime: zig\nentrypoint: ./go\n", &[]).unwrap_err();
        assert!(error.message().ends_with("and none can be made for runtime `zig`"), "{error}");
        assert!(error.hint_text().unwrap().contains("run_image"));
        let error = dockerfile("runtime: docker\n", &[]).unwrap_err();
        assert!(error.message().starts_with("runtime `docker` needs a Dockerfile in "), "{error}");
    }
}
