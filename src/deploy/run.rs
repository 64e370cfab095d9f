//! A deploy from beginning to end.
//!
//! First everything is checked: files, app, route, expected config, whether the function can be built at all. Then
//! `func.yaml` gets its new version, since the file is part of what is built; then the version is built, stored and
//! published. A deploy that ends before it publishes, by an error or because its future is dropped, restores
//! `func.yaml`. Once it publishes, the file stays: the version may be in the store even when the answer is lost.

use tokio::task::spawn_blocking;

use super::builder::ImageBuilder;
use super::bump::{Bump, Part};
use super::form::Form;
use super::func_yaml::FuncFile;
use super::ignore::{Contents, Ignore};
use super::image;
use super::local_build;
use super::pack::{contents, pack_entries};
use super::request::DeployRequest;
use super::selection::Selection;
use super::step::{Progress, Step};
use crate::catalog::{Catalog, Publish, version_id};
use crate::error::{Error, Result, if_found};
use crate::model::{AppName, Config, Function, Route, Source, Version};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub app: AppName,
    pub function: Function,
    pub version: Version,
}

/// Deploys one function, or all below a folder one after another; the first that fails ends it.
pub async fn deploy(catalog: &Catalog, request: &DeployRequest<'_>) -> Result<Vec<Deployed>> {
    let selection = Selection::read(request.dir, request.all, request.app.as_ref())?;
    let warnings = selection.functions.iter().flat_map(|file| &file.warnings);
    for warning in selection.app_file.iter().flat_map(|file| &file.warnings).chain(warnings) {
        (request.progress)(Step::Warning(warning));
    }
    let mut ready = Vec::new();
    for file in &selection.functions {
        let route = file.route()?;
        catalog.check_route(&selection.app, &route, &file.name).await?;
        check_expected(catalog, &selection, file, &request.config).await?;
        let bump = if request.bump { Some(Bump::plan(&file.path, Part::Patch)?) } else { None };
        ready.push(Ready { file, route, form: Form::of_startable(request, file).await?, bump });
    }
    apply_app_file(catalog, request, &selection).await?;
    let mut deployed = Vec::new();
    for ready in ready {
        let name = ready.file.name.clone();
        let one = deploy_one(catalog, request, &selection.app, ready).await;
        // Among several functions an error has to say which one's it is.
        deployed.push(one.map_err(|error| if request.all { error.context(name) } else { error })?);
    }
    Ok(deployed)
}

/// A function with all that is needed to deploy it.
struct Ready<'a> {
    file: &'a FuncFile,
    route: Route,
    form: Form<'a>,
    bump: Option<Bump>,
}

/// Config that a function requires must be in its file, in its app's, or set before.
async fn check_expected(
    catalog: &Catalog,
    selection: &Selection,
    file: &FuncFile,
    given: &Config,
) -> Result<()> {
    let missing = |known: &Config| {
        let mut required = file.expects.iter().filter(|expected| expected.required);
        required.find(|expected| !known.contains_key(&expected.name)).map(|expected| &expected.name)
    };
    let mut known: Config = file.config.clone();
    known.extend(given.clone());
    if missing(&known).is_none() {
        return Ok(());
    }
    let app = &selection.app;
    known.extend(selection.app_file.iter().flat_map(|file| file.config.clone()));
    known.extend(if_found(catalog.app(app).await)?.into_iter().flat_map(|app| app.config));
    let function = if_found(catalog.function(app, &file.name).await)?;
    known.extend(function.into_iter().flat_map(|function| function.config));
    let Some(name) = missing(&known) else { return Ok(()) };
    Err(Error::invalid(format!("function `{}` expects config `{name}`, which nothing sets", file.name))
        .with_hint(format!("`afn config app {app} {name} VALUE` sets it, or `config:` in func.yaml")))
}

async fn apply_app_file(catalog: &Catalog, request: &DeployRequest<'_>, selection: &Selection) -> Result<()> {
    catalog.ensure_app(&selection.app).await?;
    let progress = request.progress;
    let Some(file) = &selection.app_file else { return Ok(()) };
    if file.config.is_empty() && file.annotations.is_empty() {
        return Ok(());
    }
    let app = catalog
        .update_app(&selection.app, |app| {
            app.config.extend(file.config.clone());
            app.annotations.extend(file.annotations.clone());
            Ok(())
        })
        .await?;
    report_kept_config(progress, &selection.app, None, &app.config, &file.config);
    Ok(())
}

/// A deploy adds config and removes none: what is set by hand, a secret above all, is in no file. Config that was removed
/// from the file is kept as well, and is reported.
fn report_kept_config(
    progress: &Progress<'_>,
    app: &AppName,
    route: Option<&Route>,
    stands: &Config,
    file: &Config,
) {
    let keys: Vec<&str> = stands.keys().filter(|key| !file.contains_key(*key)).map(String::as_str).collect();
    if !keys.is_empty() {
        progress(Step::ConfigKept { app, route, keys: &keys });
    }
}

async fn deploy_one(
    catalog: &Catalog,
    request: &DeployRequest<'_>,
    app: &AppName,
    Ready { file, route, form, bump }: Ready<'_>,
) -> Result<Deployed> {
    let progress = request.progress;
    progress(Step::Deploying { function: &file.name, app, route: &route });
    let label = bump.as_ref().map_or(&file.version, |bump| &bump.version).clone();
    let raised = bump.map(Bump::write).transpose()?;
    if raised.is_some() {
        progress(Step::Bumped { version: &label });
    }
    let mut version = match form {
        Form::Image(builder) => build_image(request, file, &label, builder).await?,
        Form::Archive => build_archive(catalog, request, app, file, &label).await?,
    };
    version.id = version_id(&version)?;
    let image = match &version.source {
        Source::Image { reference, .. } => Some(reference.as_str()),
        Source::Archive { .. } => None,
    };
    progress(Step::Updating { route: &route, image });
    if let Some(raised) = raised {
        raised.keep();
    }
    let mut config = file.config.clone();
    config.extend(request.config.clone());
    let publish = Publish {
        name: file.name.clone(),
        route,
        kind: file.kind,
        config: Some(config.clone()),
        annotations: file.annotations.clone(),
        version: version.clone(),
    };
    let function = catalog.publish(app, publish).await?;
    report_kept_config(progress, app, Some(&function.route), &function.config, &config);
    Ok(Deployed { app: app.clone(), function, version })
}

async fn build_image(
    request: &DeployRequest<'_>,
    file: &FuncFile,
    label: &str,
    builder: &dyn ImageBuilder,
) -> Result<Version> {
    report_left_out(request.progress, &Ignore::load(file.dir())?.walk(file.dir())?);
    let built = image::build(builder, file, label, &request.image, request.progress).await?;
    let digest = match request.image.push {
        true => image::push(builder, file, label, &request.image, request.progress).await?,
        false => built.digest,
    };
    let source = Source::Image { reference: built.reference, digest: Some(digest) };
    Ok(Version { os: Some(built.os), arch: Some(built.arch), ..new_version(request, file, label, source)? })
}

async fn build_archive(
    catalog: &Catalog,
    request: &DeployRequest<'_>,
    app: &AppName,
    file: &FuncFile,
    label: &str,
) -> Result<Version> {
    (request.progress)(Step::BuildingFolder { function: &file.name });
    let built = local_build::build(file, &|line| (request.progress)(Step::Log(line))).await?;
    let (dir, built_paths) = (file.dir().to_owned(), local_build::built_paths(file, &built.command));
    let packed = spawn_blocking(move || {
        let contents = contents(&dir, &built_paths)?;
        pack_entries(&dir, &contents.entries).map(|packed| (packed, contents))
    });
    let packed = packed.await.map_err(|error| Error::internal(format!("packing was cut off: {error}")));
    let (packed, contents) = packed??;
    report_left_out(request.progress, &contents);
    let bytes = packed.len() as u64;
    (request.progress)(Step::Packed { bytes });
    let sha256 = catalog.put_archive(app, packed).await?;
    let version = new_version(request, file, label, Source::Archive { sha256, bytes })?;
    Ok(Version { os: built.os, arch: built.arch, command: built.command, ..version })
}

fn report_left_out(progress: &Progress<'_>, contents: &Contents) {
    let Contents { withheld, permitted, ignored_by_git, .. } = contents;
    if [withheld, permitted, ignored_by_git].iter().any(|paths| !paths.is_empty()) {
        progress(Step::LeftOut(contents));
    }
}

fn new_version(request: &DeployRequest<'_>, file: &FuncFile, label: &str, source: Source) -> Result<Version> {
    Ok(Version {
        runtime: file.runtime.clone(),
        format: file.format,
        content_type: file.content_type.clone(),
        ..Version::new(label, source, file.limits.clone(), request.now)?
    })
}
