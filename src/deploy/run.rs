//! A deploy from beginning to end.
//!
//! First all that can be known is found out: files, app, route, expected config, whether the function can be built at all.
//! Then `func.yaml` gets its new version, since the file is part of what is built; then the version is built, stored and
//! published. A deploy that ends before it publishes, by an error or because nobody waits for it any more, puts
//! `func.yaml` back. From the publishing on it stays: the version may be there, even if no answer says so.

use std::path::Path;

use tokio::task::spawn_blocking;

use super::builder::ImageBuilder;
use super::bump::{Bump, Part};
use super::func_yaml::FuncFile;
use super::image::{self, ImageOptions};
use super::local_build;
use super::pack::pack;
use super::plan::Plan;
use super::runtime::Runtime;
use super::startable;
use super::step::{Progress, Step};
use crate::catalog::{Catalog, Publish, version_id};
use crate::error::{Code, Error, Result};
use crate::model::{AppName, Config, Function, Route, Source, Time, Version};

pub struct DeployRequest<'a> {
    /// The function's folder; with `all`, the folder that holds several.
    pub dir: &'a Path,
    pub all: bool,
    /// By default the one that `app.yaml` names.
    pub app: Option<AppName>,
    /// Whether the version in `func.yaml` is raised.
    pub bump: bool,
    pub way: Way,
    pub image: ImageOptions,
    /// What builds images here, or why nothing does.
    pub builder: Result<&'a dyn ImageBuilder, String>,
    pub now: Time,
    pub progress: &'a Progress<'a>,
}

/// In what form a function is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// As an image where images can be built, else as its folder.
    #[default]
    Auto,
    /// As an image, for workers that have Docker.
    Image,
    /// As its folder, for workers that run functions as child processes.
    Archive,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub app: AppName,
    pub function: Function,
    pub version: Version,
}

/// Deploys one function, or all below a folder one after another; the first that fails ends it.
pub async fn deploy(catalog: &Catalog, request: &DeployRequest<'_>) -> Result<Vec<Deployed>> {
    let plan = Plan::make(request.dir, request.all, request.app.as_ref())?;
    let warnings = plan.functions.iter().flat_map(|file| &file.warnings);
    for warning in plan.app_file.iter().flat_map(|file| &file.warnings).chain(warnings) {
        (request.progress)(Step::Warning(warning));
    }
    let mut ready = Vec::new();
    for file in &plan.functions {
        let route = file.route()?;
        catalog.check_route(&plan.app, &route, &file.name).await?;
        check_expected(catalog, &plan, file).await?;
        let bump = if request.bump { Some(Bump::plan(&file.path, Part::Patch)?) } else { None };
        ready.push(Ready { file, route, form: startable(request, file).await?, bump });
    }
    apply_app_file(catalog, request, &plan).await?;
    let mut deployed = Vec::new();
    for ready in ready {
        let name = ready.file.name.clone();
        let one = deploy_one(catalog, request, &plan.app, ready).await;
        // Among several functions an error has to say which one's it is.
        deployed.push(one.map_err(|error| if request.all { error.context(name) } else { error })?);
    }
    Ok(deployed)
}

/// A function that all is known of.
struct Ready<'a> {
    file: &'a FuncFile,
    route: Route,
    form: Form<'a>,
    bump: Option<Bump>,
}

/// How a function is going to be built.
#[derive(Clone, Copy)]
enum Form<'a> {
    Image(&'a dyn ImageBuilder),
    Archive,
}

/// Refuses what cannot be started, in the form that the function is going to have.
async fn startable<'a>(request: &DeployRequest<'a>, file: &FuncFile) -> Result<Form<'a>> {
    startable::check(file)?;
    let form = form(request, file).await?;
    if let Form::Archive = form {
        startable::check_folder(file)?;
    }
    Ok(form)
}

async fn form<'a>(request: &DeployRequest<'a>, file: &FuncFile) -> Result<Form<'a>> {
    if request.way == Way::Archive {
        return Ok(Form::Archive);
    }
    let builder = match &request.builder {
        Ok(builder) => builder.available().await.map(|()| *builder),
        Err(why) => Err(why.clone()),
    };
    match builder {
        Ok(builder) => match image::dockerfile(file) {
            Ok(_) => {
                request.image.reference(&file.name, &file.version)?;
                Ok(Form::Image(builder))
            }
            // No image can be made of it, and what is said of it is enough to run the folder.
            Err(_) if request.way == Way::Auto && says_how(file) => Ok(Form::Archive),
            Err(error) => Err(error),
        },
        Err(why) if request.way == Way::Image || needs_image(file)? => {
            Err(Error::invalid(format!("function `{}` has to be built as an image: {why}", file.name)).hint(
                "start Docker (`afn doctor` looks for it); or say in func.yaml how the function runs without an image, \
                 by `runtime:` (go, node, python, rust, shell) or `entrypoint:`, and deploy its folder",
            ))
        }
        Err(_) => Ok(Form::Archive),
    }
}

/// Whether nothing but a Dockerfile says how to run the function, or its runtime is one that only images bring.
fn needs_image(file: &FuncFile) -> Result<bool> {
    Ok(match file.runtime.as_deref().map(Runtime::find) {
        Some(Some(Runtime::Docker)) => true,
        Some(Some(_)) => false,
        Some(None) => !says_how(file),
        None => !says_how(file) && image::own_dockerfile(file.dir())?.is_some(),
    })
}

fn says_how(file: &FuncFile) -> bool {
    !file.entrypoint.is_empty() || !file.cmd.is_empty()
}

/// Config that a function cannot do without is in its file, its app's, or was set before.
async fn check_expected(catalog: &Catalog, plan: &Plan, file: &FuncFile) -> Result<()> {
    if file.expects.iter().all(|expected| !expected.required || file.config.contains_key(&expected.name)) {
        return Ok(());
    }
    let mut known: Config = file.config.clone();
    known.extend(plan.app_file.iter().flat_map(|file| file.config.clone()));
    known.extend(if_found(catalog.app(&plan.app).await)?.into_iter().flat_map(|app| app.config));
    let function = if_found(catalog.function(&plan.app, &file.name).await)?;
    known.extend(function.into_iter().flat_map(|function| function.config));
    let missing =
        file.expects.iter().find(|expected| expected.required && !known.contains_key(&expected.name));
    match missing {
        None => Ok(()),
        Some(missing) => Err(Error::invalid(format!(
            "function `{}` expects config `{}`, which nothing sets",
            file.name, missing.name
        ))
        .hint(format!(
            "`afn config app {} {} VALUE` sets it, or `config:` in func.yaml",
            plan.app, missing.name
        ))),
    }
}

fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn apply_app_file(catalog: &Catalog, request: &DeployRequest<'_>, plan: &Plan) -> Result<()> {
    catalog.ensure_app(&plan.app).await?;
    let progress = request.progress;
    let Some(file) = &plan.app_file else { return Ok(()) };
    if file.config.is_empty() && file.annotations.is_empty() {
        return Ok(());
    }
    let app = catalog
        .update_app(&plan.app, |app| {
            app.config.extend(file.config.clone());
            app.annotations.extend(file.annotations.clone());
            Ok(())
        })
        .await?;
    tell_kept(progress, &plan.app, None, &app.config, &file.config);
    Ok(())
}

/// A deploy adds config and takes none away: what is set by hand, a secret above all, stands in no file. What was taken
/// out of the file stays as well, and is told.
fn tell_kept(progress: &Progress<'_>, app: &AppName, route: Option<&Route>, stands: &Config, file: &Config) {
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
    let raised = Raised::write(bump)?;
    if raised.0.is_some() {
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
    raised.keep();
    let publish = Publish {
        name: file.name.clone(),
        route,
        kind: file.kind,
        config: Some(file.config.clone()),
        annotations: file.annotations.clone(),
        version: version.clone(),
    };
    let function = catalog.publish(app, publish).await?;
    tell_kept(progress, app, Some(&function.route), &function.config, &file.config);
    Ok(Deployed { app: app.clone(), function, version })
}

async fn build_image(
    request: &DeployRequest<'_>,
    file: &FuncFile,
    label: &str,
    builder: &dyn ImageBuilder,
) -> Result<Version> {
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
    let dir = file.dir().to_owned();
    let packed = spawn_blocking(move || pack(&dir)).await;
    let packed = packed.map_err(|error| Error::internal(format!("packing was cut off: {error}")))??;
    let bytes = packed.len() as u64;
    (request.progress)(Step::Packed { bytes });
    let sha256 = catalog.put_archive(app, packed).await?;
    let version = new_version(request, file, label, Source::Archive { sha256, bytes })?;
    Ok(Version { os: built.os, arch: built.arch, command: built.command, ..version })
}

fn new_version(request: &DeployRequest<'_>, file: &FuncFile, label: &str, source: Source) -> Result<Version> {
    Ok(Version {
        runtime: file.runtime.clone(),
        format: file.format,
        content_type: file.content_type.clone(),
        ..Version::new(label, source, file.limits.clone(), request.now)?
    })
}

/// A new version in `func.yaml`, which goes back to the old one unless it is kept.
struct Raised(Option<Bump>);

impl Raised {
    fn write(bump: Option<Bump>) -> Result<Raised> {
        if let Some(bump) = &bump {
            bump.write()?;
        }
        Ok(Raised(bump))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(bump) = self.0.take() {
            // A skipped version number is no harm, and the error that led here is the one to be told.
            let _ = bump.undo();
        }
    }
}
