//! `app.yaml`: name and config of the app that the functions below its folder belong to.

use std::path::{Path, PathBuf};

use super::{field, read, tree};
use crate::error::Result;
use crate::model::app::check_config;
use crate::model::{AppName, Config};

const FILE_NAMES: [&str; 3] = ["app.yaml", "app.yml", "app.json"];

const KEYS: [&str; 4] = ["name", "config", "annotations", "syslog_url"];

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
        for field in field::root(&file, &root)? {
            field.check_known(&KEYS)?;
            match field.key {
                "name" => app.name = Some(field.parsed()?),
                "config" => {
                    app.config = field.environment()?;
                    check_config(&app.config).map_err(|error| field.placed(error))?;
                }
                "annotations" => {
                    let fields = field.fields("a map")?;
                    app.annotations = fields.iter().map(|field| (field.key.to_owned(), field.json())).collect();
                }
                _ => app.warnings.push(format!(
                    "{}:{}: `syslog_url` has no effect here: logs lie in the store, `afn get logs` shows them",
                    field.file, field.line
                )),
            }
        }
        Ok(app)
    }
}
