//! Whatever a Dockerfile says: it has to be there, and is not looked into.

use std::path::Path;

use super::Boilerplate;
use crate::error::{Error, Result};

pub fn boilerplate(dir: &Path) -> Result<Boilerplate> {
    if !dir.join("Dockerfile").is_file() {
        return Err(Error::invalid(format!("runtime `docker` needs a Dockerfile in {}", dir.display()))
            .hint("write one that ends in an ENTRYPOINT, then run `afn init` again"));
    }
    Ok(Boilerplate { files: Vec::new(), entrypoint: "", format: None })
}
