//! Rust, without a crate.

use super::Boilerplate;
use crate::model::Format;

pub fn boilerplate() -> Boilerplate {
    let manifest = "[package]\nname = \"func\"\nversion = \"0.0.1\"\nedition = \"2024\"\n\n[dependencies]\n\n\
                    # Not part of any workspace that it may lie in.\n[workspace]\n";
    Boilerplate {
        files: vec![
            ("src/main.rs", include_str!("../../../templates/rust/main.rs").to_owned()),
            ("src/serve.rs", include_str!("../../../templates/rust/serve.rs").to_owned()),
            ("Cargo.toml", manifest.to_owned()),
            (".dockerignore", "target\n".to_owned()),
        ],
        entrypoint: "./func",
        // Other Rust functions read stdin.
        format: Some(Format::HttpStream),
    }
}
