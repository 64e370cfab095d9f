//! What is to be deployed, before anything is done: files read and checked, functions found.

use std::path::{Path, PathBuf};

use super::func_yaml::{self, AppFile, FuncFile};
use crate::error::{Error, Result};
use crate::model::AppName;

/// Folders that hold what others wrote.
const NOT_LOOKED_INTO: [&str; 4] = ["node_modules", "target", "vendor", "venv"];

pub struct Plan {
    pub app: AppName,
    pub app_file: Option<AppFile>,
    pub functions: Vec<FuncFile>,
}

impl Plan {
    /// Reads all there is to read, so that a slip in the last file is found before the first function is deployed.
    pub fn make(dir: &Path, all: bool, app: Option<&AppName>) -> Result<Plan> {
        let functions = if all { below(dir)? } else { vec![FuncFile::load(dir)?] };
        let app_file = match AppFile::load(dir)? {
            Some(file) => Some(file),
            None if all => None,
            // A function's folder lies in its app's.
            None => AppFile::load(&dir.join(".."))?,
        };
        let named = app_file.as_ref().and_then(|file| file.name.clone());
        let app = app.cloned().or_else(|| named.clone()).ok_or_else(|| {
            Error::invalid("there is no app to deploy to")
                .hint("`--app NAME` names one, or `name:` in an app.yaml")
        })?;
        // Another app's config is not this one's.
        let app_file = app_file.filter(|_| named.is_none_or(|named| named == app));
        Ok(Plan { app, app_file, functions })
    }
}

/// Every function in a folder and below, by path.
fn below(dir: &Path) -> Result<Vec<FuncFile>> {
    let mut folders = Vec::new();
    folders_with_functions(dir, &mut folders)?;
    folders.sort();
    let functions: Vec<FuncFile> =
        folders.iter().map(|folder| FuncFile::load(folder)).collect::<Result<_>>()?;
    if functions.is_empty() {
        return Err(Error::not_found(format!("no func.yaml in {} or below", dir.display()))
            .hint("`afn init --runtime shell NAME` makes a function"));
    }
    for (index, file) in functions.iter().enumerate() {
        if let Some(first) = functions[..index].iter().find(|first| first.name == file.name) {
            return Err(Error::conflict(format!(
                "{} and {} are both named `{}`",
                first.path.display(),
                file.path.display(),
                file.name
            )));
        }
    }
    Ok(functions)
}

fn folders_with_functions(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |error| Error::invalid(format!("cannot read {}: {error}", dir.display()));
    if func_yaml::find(dir).is_ok() {
        found.push(dir.to_owned());
    }
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links are not followed: they may lead back.
        let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
        if is_folder && !name.starts_with('.') && !NOT_LOOKED_INTO.contains(&&*name) {
            folders_with_functions(&entry.path(), found)?;
        }
    }
    Ok(())
}
