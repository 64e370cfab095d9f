//! Building a function in its own folder, so that the folder can be deployed without an image.

use std::fs::File;
use std::io::Read as _;

use super::func_yaml::FuncFile;
use crate::error::{Error, Result};

/// How a built folder is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBuild {
    /// Run in the folder.
    pub command: Vec<String>,
    /// As Docker and Go spell them; `None` when it runs anywhere.
    pub os: Option<String>,
    pub arch: Option<String>,
}

/// Builds in the folder. What the build says goes to `log`, line by line.
pub async fn build(file: &FuncFile, _log: &(dyn Fn(&str) + Send + Sync)) -> Result<LocalBuild> {
    let command: Vec<String> = file.entrypoint.iter().chain(&file.cmd).cloned().collect();
    let Some(program) = command.first() else {
        return Err(Error::invalid(format!("{} does not say how the function is run", file.path.display()))
            .hint("add `entrypoint: ./func`"));
    };
    let mut magic = [0; 4];
    let native = File::open(file.dir().join(program))
        .is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && &magic == b"\x7fELF";
    let (os, arch) =
        if native { (Some("linux".to_owned()), Some(machine().to_owned())) } else { (None, None) };
    Ok(LocalBuild { command, os, arch })
}

/// This machine's architecture, as Docker and Go spell it.
fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
