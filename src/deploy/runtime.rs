//! The languages that functions are written in, as far as something here knows how to begin or build one.

use crate::error::{Error, Result};
use crate::model::nearest::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Whatever a Dockerfile says.
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

    /// By the name in `func.yaml`, which may end in a version: `python3.11`.
    pub fn find(name: &str) -> Option<Runtime> {
        let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        Runtime::ALL.into_iter().find(|runtime| runtime.name() == family)
    }

    /// As [`Runtime::find`]; the error names what there is.
    pub fn named(name: &str) -> Result<Runtime> {
        Runtime::find(name).ok_or_else(|| {
            let known = Runtime::ALL.map(Runtime::name);
            let meant = nearest(name, known).map(|meant| format!("`{meant}`? ")).unwrap_or_default();
            Error::invalid(format!("runtime `{name}` is unknown")).hint(format!(
                "{meant}known: {}; for any other, write a Dockerfile and take `docker`",
                known.join(", ")
            ))
        })
    }
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
