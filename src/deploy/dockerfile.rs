//! The Dockerfile of a function that has none: what its runtime, its `build_image` and its `run_image` say. Knows the
//! folder's files by name, never what is in Docker.
//!
//! The function lies in `/function`, a Python function's packages in `/python`, as in Fn's images, so that an
//! `entrypoint` written for those still works. What is compiled leaves only the program behind.

use std::path::Path;

use super::func_yaml::FuncFile;
use crate::error::{Error, Result};

/// The Dockerfile for a function's runtime.
pub fn for_runtime(file: &FuncFile) -> Result<String> {
    let runtime = file.runtime.as_deref().unwrap_or_default();
    // `python3.11`: the version picks the image.
    let family = runtime.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let version = runtime[family.len()..].trim_matches(['-', '.']);
    let plan = match family {
        "go" => go(file, version),
        "rust" => rust(file, version),
        "python" => python(file, version),
        "node" => node(file, version),
        "shell" => Plan::of(file, "busybox:1", "busybox:1", &["sh", "func.sh"]),
        _ => match &file.run_image {
            Some(image) if !file.entrypoint.is_empty() => Plan::of(file, image, image, &[]),
            _ => return Err(unknown(file)),
        },
    };
    Ok(plan.render(file))
}

fn unknown(file: &FuncFile) -> Error {
    let runtime = match file.runtime.as_deref() {
        Some("docker") => {
            return Error::invalid(format!(
                "runtime `docker` needs a Dockerfile in {}",
                file.dir().display()
            ))
            .hint("write one that ends in an ENTRYPOINT");
        }
        Some(runtime) => format!("none can be made for runtime `{runtime}`"),
        None => "without a `runtime:` none can be made".to_owned(),
    };
    Error::invalid(format!("{} has no Dockerfile beside it, and {runtime}", file.path.display())).hint(
        "write a Dockerfile, or take `runtime:` go, node, python, rust or shell, or give `run_image:` and `entrypoint:`",
    )
}

/// What a Dockerfile is made from.
struct Plan {
    build_image: String,
    run_image: String,
    /// Run in the build image, in the folder, before the function's own `build` commands.
    steps: Vec<String>,
    /// Run after them.
    last_steps: Vec<String>,
    /// What is taken over from the build image; nothing when the function is not built.
    taken: Vec<&'static str>,
    env: Vec<&'static str>,
    entrypoint: Vec<String>,
}

const FOLDER: &str = "/function";

impl Plan {
    fn of(file: &FuncFile, build_image: &str, run_image: &str, entrypoint: &[&str]) -> Plan {
        Plan {
            build_image: file.build_image.clone().unwrap_or_else(|| build_image.to_owned()),
            run_image: file.run_image.clone().unwrap_or_else(|| run_image.to_owned()),
            steps: Vec::new(),
            last_steps: Vec::new(),
            taken: Vec::new(),
            env: Vec::new(),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn render(self, file: &FuncFile) -> String {
        let mut lines = Vec::new();
        let steps: Vec<&String> = self.steps.iter().chain(&file.build).chain(&self.last_steps).collect();
        let is_built = !steps.is_empty();
        if is_built {
            lines.push(format!("FROM {} AS build", self.build_image));
            lines.push(format!("WORKDIR {FOLDER}"));
            lines.push("COPY . .".to_owned());
            lines.extend(steps.iter().map(|step| format!("RUN {step}")));
            lines.push(String::new());
        }
        lines.push(format!("FROM {}", self.run_image));
        lines.push(format!("WORKDIR {FOLDER}"));
        if !is_built {
            lines.push("COPY . .".to_owned());
        } else if self.taken.is_empty() {
            lines.push(format!("COPY --from=build {FOLDER} {FOLDER}"));
        } else {
            lines.extend(self.taken.iter().map(|path| format!("COPY --from=build {path} {path}")));
        }
        lines.extend(self.env.iter().map(|env| format!("ENV {env}")));
        let entrypoint = if file.entrypoint.is_empty() { &self.entrypoint } else { &file.entrypoint };
        lines.push(format!("ENTRYPOINT {}", words(entrypoint)));
        if !file.cmd.is_empty() {
            lines.push(format!("CMD {}", words(&file.cmd)));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Docker reads JSON here.
fn words(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}

/// `golang:1.22-alpine`, or the newest of a major version.
fn image(name: &str, version: &str, newest: &str, variant: &str) -> String {
    let version = if version.is_empty() { newest } else { version };
    format!("{name}:{version}-{variant}")
}

fn go(file: &FuncFile, version: &str) -> Plan {
    let mut plan = Plan::of(file, &image("golang", version, "1", "alpine"), "alpine:3", &["./func"]);
    let dir = file.dir();
    let module = read(dir, "go.mod");
    if module.is_none() {
        plan.steps.push("go mod init func && go mod tidy".to_owned());
    } else if module.is_some_and(|module| module.contains("require")) && read(dir, "go.sum").is_none() {
        plan.steps.push("go mod tidy".to_owned());
    }
    // Static, so that it runs in any image.
    plan.last_steps.push("CGO_ENABLED=0 go build -buildvcs=false -trimpath -o func .".to_owned());
    plan.taken.push("/function/func");
    plan
}

fn rust(file: &FuncFile, version: &str) -> Plan {
    let mut plan = Plan::of(file, &image("rust", version, "1", "alpine"), "alpine:3", &["./func"]);
    let locked = if file.dir().join("Cargo.lock").is_file() { " --locked" } else { "" };
    // Whatever the program is called, there is one.
    let install = format!("cargo install{locked} --path . --root /built && mv /built/bin/* func");
    plan.last_steps.push(install);
    plan.taken.push("/function/func");
    plan
}

fn python(file: &FuncFile, version: &str) -> Plan {
    let slim = image("python", version, "3", "slim");
    let mut plan = Plan::of(file, &slim, &slim, &["python3", "func.py"]);
    // What a function prints is in its log even if it is killed next.
    plan.env.push("PYTHONUNBUFFERED=1");
    let requirements = read(file.dir(), "requirements.txt").unwrap_or_default();
    let asks = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if requirements.lines().any(asks) {
        let install = "python3 -m pip install --no-cache-dir --target /python -r requirements.txt";
        plan.steps.push(install.to_owned());
        plan.taken = vec!["/python", FOLDER];
        plan.env.push("PYTHONPATH=/python");
    }
    plan
}

fn node(file: &FuncFile, version: &str) -> Plan {
    let slim = image("node", version, "lts", "slim");
    let mut plan = Plan::of(file, &slim, &slim, &["node", "func.js"]);
    let package = read(file.dir(), "package.json");
    let package = package.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let dependencies = package.as_ref().and_then(|package| package.get("dependencies")?.as_object());
    if dependencies.is_some_and(|dependencies| !dependencies.is_empty()) {
        let locked = file.dir().join("package-lock.json").is_file();
        plan.steps.push(format!("npm {} --omit=dev", if locked { "ci" } else { "install" }));
    }
    plan
}

fn read(dir: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(dir.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(yaml: &str, files: &[(&str, &str)]) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        for_runtime(&FuncFile::parse(&dir.path().join("func.yaml"), &format!("name: f\n{yaml}"))?)
    }

    #[test]
    fn go_leaves_a_static_program_behind() {
        let text = made("runtime: go\n", &[("go.mod", "module func\n\ngo 1.18\n")]).unwrap();
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
        let text = made("runtime: go\n", &[("go.mod", "require x v1\n")]).unwrap();
        assert!(text.contains("RUN go mod tidy\n"), "{text}");
        let text = made("runtime: go1.22\n", &[]).unwrap();
        assert!(text.contains("FROM golang:1.22-alpine AS build"), "{text}");
        assert!(text.contains("RUN go mod init func && go mod tidy\n"), "{text}");
    }

    #[test]
    fn python_takes_packages_only_if_it_asks_for_some() {
        let text = made("runtime: python\n", &[("requirements.txt", "# none\n")]).unwrap();
        let expected = "\
FROM python:3-slim
WORKDIR /function
COPY . .
ENV PYTHONUNBUFFERED=1
ENTRYPOINT [\"python3\",\"func.py\"]
";
        assert_eq!(text, expected);
        let fdk = "runtime: python3.11\nentrypoint: /python/bin/fdk /function/func.py handler\n";
        let text = made(fdk, &[("requirements.txt", "fdk>=0.1.100\n")]).unwrap();
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
        assert_eq!(made(yaml, &[]).unwrap(), expected);
    }

    #[test]
    fn node_and_rust_keep_to_their_lock_files() {
        let package = ("package.json", r#"{"dependencies": {"x": "1"}}"#);
        let text = made("runtime: node20\n", &[package, ("package-lock.json", "{}")]).unwrap();
        assert!(text.starts_with("FROM node:20-slim AS build\n"), "{text}");
        assert!(text.contains("RUN npm ci --omit=dev\n"), "{text}");
        let text = made("runtime: node\n", &[("package.json", "{}")]).unwrap();
        assert!(text.starts_with("FROM node:lts-slim\n"), "{text}");
        let text = made("runtime: rust\n", &[("Cargo.lock", "")]).unwrap();
        assert!(text.contains("cargo install --locked --path . --root /built"), "{text}");
    }

    #[test]
    fn what_is_unknown_needs_an_image_and_a_command() {
        let text = made("runtime: zig\nrun_image: my/zig:1\nentrypoint: ./go\n", &[]).unwrap();
        assert_eq!(text, "FROM my/zig:1\nWORKDIR /function\nCOPY . .\nENTRYPOINT [\"./go\"]\n");
        let error = made("runtime: zig\nentrypoint: ./go\n", &[]).unwrap_err();
        assert!(error.message().ends_with("and none can be made for runtime `zig`"), "{error}");
        assert!(error.hint_text().unwrap().contains("run_image"));
        let error = made("runtime: docker\n", &[]).unwrap_err();
        assert!(error.message().starts_with("runtime `docker` needs a Dockerfile in "), "{error}");
    }
}
