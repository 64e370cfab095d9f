//! `app.yaml`: name and config of the app that the functions below its folder belong to.

use std::path::{Path, PathBuf};

use super::{field, read, tree};
use crate::error::Result;
use crate::model::{AppName, Config};

const FILE_NAMES: [&str; 3] = ["app.yaml", "app.yml", "app.json"];

const KEYS: &str = "name config annotations syslog_url";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppFile {
    pub path: PathBuf,
    pub name: Option<AppName>,
    pub config: Config,
    pub annotations: std::collections::BTreeMap<String, serde_json::Value>,
    pub warnings: Vec<String>,
}

impl AppFile {
    /// `None` when the folder has none.
    pub fn load(dir: &Path) -> Result<Option<AppFile>> {
        let found = FILE_NAMES.iter().map(|name| dir.join(name)).find(|path| path.is_file());
        found.map(|path| AppFile::parse(&path, &read(&path)?)).transpose()
    }

    pub fn parse(path: &Path, text: &str) -> Result<AppFile> {
        let file = path.display().to_string();
        let mut app = AppFile { path: path.to_owned(), ..AppFile::default() };
        let root = tree::parse(&file, text)?;
        for field in field::root(&file, &root, KEYS)? {
            match field.key {
                "name" => app.name = Some(field.parsed()?),
                "config" => app.config = field.config()?,
                "annotations" => app.annotations = field.annotations()?,
                _ => {
                    app.warnings.push(field.has_no_effect("logs lie in the store, `afn get logs` shows them"))
                }
            }
        }
        Ok(app)
    }
}
