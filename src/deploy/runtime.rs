//! The languages for which functions can be created or built here.

use std::fs::read_to_string;
use std::path::Path;

use crate::error::{Error, Result};
use crate::model::nearest::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Any language, by its own Dockerfile.
    Docker,
    Go,
    Node,
    Python,
    Rust,
    Shell,
}

impl Runtime {
    pub const ALL: [Runtime; 6] =
        [Runtime::Docker, Runtime::Go, Runtime::Node, Runtime::Python, Runtime::Rust, Runtime::Shell];

    pub fn name(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Go => "go",
            Runtime::Node => "node",
            Runtime::Python => "python",
            Runtime::Rust => "rust",
            Runtime::Shell => "shell",
        }
    }

    /// What starts a function that names no entrypoint, in its folder; nothing where only its Dockerfile knows.
    pub fn command(self) -> &'static [&'static str] {
        match self {
            Runtime::Docker => &[],
            Runtime::Go | Runtime::Rust => &["./func"],
            Runtime::Node => &["node", "func.js"],
            Runtime::Python => &["python3", "func.py"],
            Runtime::Shell => &["sh", "func.sh"],
        }
    }

    /// By the name in `func.yaml`, which may end in a version: `python3.11`.
    pub fn find(name: &str) -> Option<Runtime> {
        Runtime::ALL.into_iter().find(|runtime| runtime.name() == family(name))
    }

    /// As [`Runtime::find`]; the error names what there is.
    pub fn named(name: &str) -> Result<Runtime> {
        Runtime::find(name).ok_or_else(|| {
            let known = Runtime::ALL.map(Runtime::name);
            let meant = nearest(name, known).map(|meant| format!("`{meant}`? ")).unwrap_or_default();
            Error::invalid(format!("runtime `{name}` is unknown")).with_hint(format!(
                "{meant}known: {}; for any other, write a Dockerfile and take `docker`",
                known.join(", ")
            ))
        })
    }
}

/// A runtime's name without its version.
pub fn family(runtime: &str) -> &str {
    runtime.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
}

/// Whether a Go module requires others without recorded checksums.
pub fn lacks_go_sum(dir: &Path) -> bool {
    let module = read_to_string(dir.join("go.mod")).unwrap_or_default();
    module.contains("require") && !dir.join("go.sum").exists()
}

/// Whether a Python function requires packages.
pub fn needs_pip(dir: &Path) -> bool {
    let requirements = read_to_string(dir.join("requirements.txt")).unwrap_or_default();
    requirements.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// How `npm` installs what a Node.js function depends on; `None` when it depends on nothing.
pub fn npm_command(dir: &Path) -> Option<&'static str> {
    let package = std::fs::read(dir.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
    let dependencies = package.get("dependencies")?.as_object()?;
    let locked = dir.join("package-lock.json").is_file();
    (!dependencies.is_empty()).then_some(if locked { "ci" } else { "install" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_end_in_a_version() {
        for (name, runtime) in [
            ("go", Some(Runtime::Go)),
            ("python3.11", Some(Runtime::Python)),
            ("node-20", Some(Runtime::Node)),
            ("docker", Some(Runtime::Docker)),
            ("java", None),
            ("", None),
        ] {
            assert_eq!(Runtime::find(name), runtime, "{name}");
        }
    }

    #[test]
    fn an_unknown_one_is_told_what_there_is() {
        let error = Runtime::named("pyhton").unwrap_err();
        assert_eq!(error.message(), "runtime `pyhton` is unknown");
        assert_eq!(
            error.hint_text(),
            Some(
                "`python`? known: docker, go, node, python, rust, shell; for any other, write a Dockerfile and take \
                 `docker`"
            )
        );
        assert!(Runtime::named("java").unwrap_err().hint_text().unwrap().starts_with("known: docker"));
    }
}
