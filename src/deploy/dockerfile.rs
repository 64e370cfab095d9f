//! The Dockerfile of a function that has none of its own.

use super::func_yaml::FuncFile;
use crate::error::{Error, Result};

/// The Dockerfile for a function's runtime.
pub fn for_runtime(file: &FuncFile) -> Result<String> {
    let runtime = file.runtime.as_deref().unwrap_or("none");
    Err(Error::invalid(format!(
        "{} has no Dockerfile beside it, and none can be made for runtime {runtime}",
        file.path.display()
    ))
    .hint("write a Dockerfile into the function's folder"))
}
