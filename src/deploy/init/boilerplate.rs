//! The code that a new function begins with, for each runtime.

use std::path::Path;

use crate::deploy::runtime::Runtime;
use crate::error::{Error, Result};
use crate::model::Format;

/// What a runtime's boilerplate is made of.
pub struct Boilerplate {
    /// The one that a person opens first comes first. If any of them exists, none is written.
    pub files: Vec<(&'static str, &'static str)>,
    /// Empty for a Dockerfile, which has its own.
    pub entrypoint: String,
    /// Where it is not the runtime's default.
    pub format: Option<Format>,
}

const GO_MOD: &str = "module func\n\ngo 1.18\n";
const GO_MOD_FDK: &str = "module func\n\ngo 1.18\n\nrequire github.com/fnproject/fdk-go v0.0.53\n";
const CARGO_TOML: &str = "[package]\nname = \"func\"\nversion = \"0.0.1\"\nedition = \"2024\"\n\n[dependencies]\n\n\
    # Not part of any workspace that it may lie in.\n[workspace]\n";

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../templates/", $file))
    };
}

/// `fdk`: on Fn's official FDK, instead of a copy of the contract's server in the function's folder.
pub fn boilerplate(runtime: Runtime, fdk: bool, dir: &Path) -> Result<Boilerplate> {
    let files = match (runtime, fdk) {
        (Runtime::Docker, false) if dir.join("Dockerfile").is_file() => Vec::new(),
        (Runtime::Docker, false) => {
            return Err(Error::invalid(format!("runtime `docker` needs a Dockerfile in {}", dir.display()))
                .with_hint("write one that ends in an ENTRYPOINT, then run `afn init` again"));
        }
        (Runtime::Go, false) => {
            vec![
                ("func.go", template!("go/func.go")),
                ("serve.go", template!("go/serve.go")),
                ("go.mod", GO_MOD),
            ]
        }
        (Runtime::Go, true) => vec![("func.go", template!("go-fdk/func.go")), ("go.mod", GO_MOD_FDK)],
        (Runtime::Node, false) => {
            vec![("func.js", template!("node/func.js")), ("serve.js", template!("node/serve.js"))]
        }
        (Runtime::Python, false) => {
            vec![("func.py", template!("python/func.py")), ("serve.py", template!("python/serve.py"))]
        }
        (Runtime::Python, true) => {
            vec![("func.py", template!("python-fdk/func.py")), ("requirements.txt", "fdk>=0.1.100\n")]
        }
        (Runtime::Rust, false) => vec![
            ("src/main.rs", template!("rust/main.rs")),
            ("src/serve.rs", template!("rust/serve.rs")),
            ("Cargo.toml", CARGO_TOML),
            (".dockerignore", "target\n"),
        ],
        (Runtime::Shell, false) => vec![("func.sh", template!("shell/func.sh"))],
        (Runtime::Docker | Runtime::Node | Runtime::Rust | Runtime::Shell, true) => {
            return Err(Error::invalid(format!(
                "there is no boilerplate on Fn's FDK for `{}`",
                runtime.name()
            ))
            .with_hint("there is for go and python; without `--fdk`, for every runtime"));
        }
    };
    // Other Rust functions read stdin.
    let format = (runtime == Runtime::Rust).then_some(Format::HttpStream);
    Ok(Boilerplate { files, entrypoint: runtime.command().join(" "), format })
}
