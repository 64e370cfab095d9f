//! Deploying: from a folder with a `func.yaml` to a published version. Knows the catalog, and whatever builds images by
//! its seam alone; reports [`Step`]s and prints nothing.

pub mod builder;
pub mod bump;
pub mod command;
pub mod dockerfile;
pub mod dry_run;
mod form;
pub mod func_yaml;
mod git;
pub mod ignore;
pub mod image;
pub mod init;
pub mod local_build;
pub mod pack;
pub mod pattern;
mod request;
mod run;
pub mod runtime;
pub mod secrets;
mod selection;
mod step;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

pub use builder::{BuildRequest, BuiltImage, ImageBuilder, Log};
pub use func_yaml::{AppFile, FuncFile};
pub use image::ImageOptions;
pub use request::{DeployRequest, Way};
pub use run::{Deployed, deploy};
pub use step::{Progress, Step};

/// The text of a file; `None` when it does not exist.
fn read_optional(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(cannot_read(path)),
    }
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::invalid(format!("cannot read {}: {error}", path.display()))
}

/// Whether a program without a path can be found by its name.
fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !program.is_empty() && std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
