//! Which functions a deploy is for: their files, read and checked before anything is changed.

use std::path::{Path, PathBuf};

use super::cannot_read;
use super::func_yaml::{self, AppFile, FuncFile};
use crate::error::{Error, Result};
use crate::model::AppName;

/// Folders of dependencies and build output, which are not searched.
const SKIPPED: [&str; 4] = ["node_modules", "target", "vendor", "venv"];

pub struct Selection {
    pub app: AppName,
    pub app_file: Option<AppFile>,
    pub functions: Vec<FuncFile>,
}

impl Selection {
    /// Reads all files, so that a mistake in the last one is found before the first function is deployed.
    pub fn read(dir: &Path, all: bool, app: Option<&AppName>) -> Result<Selection> {
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
                .with_hint("`--app NAME` names one, or `name:` in an app.yaml")
        })?;
        // Another app's config is not this one's.
        let app_file = app_file.filter(|_| named.is_none_or(|named| named == app));
        Ok(Selection { app, app_file, functions })
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
            .with_hint("`afn init --runtime shell NAME` makes a function"));
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
    if func_yaml::find(dir).is_ok() {
        found.push(dir.to_owned());
    }
    for entry in std::fs::read_dir(dir).map_err(cannot_read(dir))? {
        let entry = entry.map_err(cannot_read(dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links are not followed: they may lead back.
        let is_folder = entry.file_type().map_err(cannot_read(dir))?.is_dir();
        if is_folder && !name.starts_with('.') && !SKIPPED.contains(&&*name) {
            folders_with_functions(&entry.path(), found)?;
        }
    }
    Ok(())
}
