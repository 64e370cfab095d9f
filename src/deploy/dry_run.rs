//! Which files a deploy would include, before anything is built, stored or written.

use serde::Serialize;

use super::form::Form;
use super::ignore::{EntryKind, Ignore};
use super::local_build::built_paths;
use super::pack::contents;
use super::request::DeployRequest;
use super::selection::Selection;
use crate::error::Result;
use crate::model::{AppName, FunctionName};

/// The files of one function. What a build makes is listed only if it was built before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    pub app: AppName,
    pub function: FunctionName,
    /// Into an image, or as an archive.
    pub image: bool,
    pub files: Vec<ListedFile>,
    /// Left out because they mostly hold secrets.
    pub withheld: Vec<String>,
    /// Among the files, although they mostly hold secrets: an ignore file names them with `!`.
    pub permitted: Vec<String>,
    pub ignored_by_git: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedFile {
    pub path: String,
    /// Folders and links have none.
    pub bytes: Option<u64>,
}

/// One listing for each function of a deploy.
pub async fn list(request: &DeployRequest<'_>) -> Result<Vec<Listing>> {
    let selection = Selection::read(request.dir, request.all, request.app.as_ref())?;
    let mut listings = Vec::new();
    for file in &selection.functions {
        let image = matches!(Form::of(request, file).await?, Form::Image(_));
        let dir = file.dir();
        let command: Vec<String> = file.entrypoint.iter().chain(&file.cmd).cloned().collect();
        let contents = match image {
            true => Ignore::load(dir)?.walk(dir)?,
            false => contents(dir, &built_paths(file, &command))?,
        };
        let files = contents.entries.into_iter().map(|entry| {
            let bytes = (entry.kind == EntryKind::File).then(|| entry.bytes(dir));
            ListedFile { path: entry.path, bytes }
        });
        listings.push(Listing {
            app: selection.app.clone(),
            function: file.name.clone(),
            image,
            files: files.collect(),
            withheld: contents.withheld,
            permitted: contents.permitted,
            ignored_by_git: contents.ignored_by_git,
        });
    }
    Ok(listings)
}
