//! `afn deploy`, and its steps one by one, as Fn has them: `afn build`, `afn push`, `afn bump`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;
use serde_json::json;

use crate::cli::format::bytes;
use crate::cli::parse::{self, Pair};
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::cli::view::{Values, version_record};
use crate::context::env;
use crate::deploy::bump::{self, Part};
use crate::deploy::dry_run::{self, Listing};
use crate::deploy::ignore::Contents;
use crate::deploy::{DeployRequest, Deployed, FuncFile, ImageOptions, Progress, Step, Way, deploy, image};
use crate::embedded::{Engine, builder};
use crate::error::{Error, Result};
use crate::executor::docker::Builder;
use crate::model::{AppName, Config};

#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The function's folder; with --all, the folder that holds several.
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// The app to publish in; it is made if there is none. By default the one that app.yaml names.
    #[arg(long, value_name = "APP")]
    pub app: Option<AppName>,

    /// Do not push the image: the workers run on this machine.
    #[arg(long, visible_alias = "skip-push")]
    pub local: bool,

    /// Publish the folder itself, although Docker is there: workers run it as a child process, not in a container.
    #[arg(long)]
    pub no_image: bool,

    /// Deploy every function below the folder.
    #[arg(long)]
    pub all: bool,

    /// Keep the version in func.yaml as it is.
    #[arg(long)]
    pub no_bump: bool,

    /// List the files that would be sent, and those that would not because they mostly hold secrets; change nothing.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub build: BuildFlags,

    /// The function's folder.
    #[arg(long, short, value_name = "PATH", conflicts_with = "path")]
    pub working_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct BuildFlags {
    /// Build every layer again, with fresh downloads. Slower.
    #[arg(long)]
    pub no_cache: bool,

    /// A build argument for the Dockerfile. Repeatable.
    #[arg(long = "build-arg", value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub build_args: Vec<Pair>,

    #[command(flatten)]
    pub registry: RegistryFlag,
}

#[derive(Debug, Clone, Default, Args)]
pub struct RegistryFlag {
    /// The first part of the image's name, like registry.example.com/team.
    #[arg(long, env = env::REGISTRY.name, hide_env = true, value_name = "REGISTRY")]
    pub registry: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    #[command(flatten)]
    pub build: BuildFlags,
}

#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    #[command(flatten)]
    pub registry: RegistryFlag,
}

#[derive(Debug, Clone, Args)]
pub struct BumpArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Raise the first number, and begin the others at 0.
    #[arg(long, conflicts_with = "minor")]
    pub major: bool,

    /// Raise the second number, and begin the third at 0.
    #[arg(long)]
    pub minor: bool,
}

/// The last lines of a build's log are shown when the build fails.
const LOG_TAIL: usize = 30;

pub async fn run(session: &Session, args: DeployArgs) -> Result<()> {
    let engine = session.open().await?;
    let dir = args.path.or(args.working_dir).unwrap_or_else(|| PathBuf::from("."));
    let builder = builder(&session.env);
    let steps = Steps::new(&session.printer);
    let progress = |step: Step<'_>| steps.on(step);
    let request = DeployRequest {
        all: args.all,
        app: args.app,
        bump: !args.no_bump,
        way: if args.no_image { Way::Archive } else { Way::Auto },
        image: image_options(args.build, !args.local),
        ..request(&engine, &dir, &builder, &progress)
    };
    if args.dry_run {
        return print_listings(&session.printer, &dry_run::list(&request).await?);
    }
    let deployed = steps.with_log_tail(deploy(&engine.catalog, &request).await)?;
    let line =
        |one: &Deployed| format!("{} {} deployed, version {}", one.app, one.function.route, one.version.id);
    let lines: Vec<String> = deployed.iter().map(line).collect();
    let record = |one: &Deployed| version_record(&one.app, &one.function, &one.version, Values::Masked);
    let records: Vec<_> = deployed.iter().map(record).collect();
    session.printer.done_all(lines, &json!({ "deployed": records }))
}

/// Deploys one folder for this machine, as its archive unless an image is wanted.
pub async fn deploy_folder(
    session: &Session,
    engine: &Engine,
    dir: &Path,
    app: AppName,
    as_image: bool,
    config: Config,
) -> Result<Deployed> {
    let builder = builder(&session.env);
    let steps = Steps::new(&session.printer);
    let progress = |step: Step<'_>| steps.on(step);
    let way = if as_image { Way::Image } else { Way::Archive };
    let request = DeployRequest { app: Some(app), way, config, ..request(engine, dir, &builder, &progress) };
    let deployed = steps.with_log_tail(deploy(&engine.catalog, &request).await)?;
    deployed.into_iter().next().ok_or_else(|| Error::internal("a deploy of one function deployed none"))
}

fn request<'a>(
    engine: &Engine,
    dir: &'a Path,
    builder: &'a Result<Builder, String>,
    progress: &'a Progress<'a>,
) -> DeployRequest<'a> {
    DeployRequest {
        dir,
        all: false,
        app: None,
        bump: false,
        way: Way::Auto,
        image: ImageOptions::default(),
        config: Config::new(),
        builder: builder.as_ref().map(|builder| builder as _).map_err(Clone::clone),
        now: engine.deps.now(),
        progress,
    }
}

pub async fn build(session: &Session, args: BuildArgs) -> Result<()> {
    let builder = builder(&session.env).map_err(no_docker)?;
    let file = FuncFile::load(&args.path)?;
    let steps = Steps::new(&session.printer);
    let options = image_options(args.build, false);
    let built = image::build(&builder, &file, &file.version, &options, &|step| steps.on(step)).await;
    let built = steps.with_log_tail(built)?;
    let record =
        json!({ "image": built.reference, "digest": built.digest, "os": built.os, "arch": built.arch });
    session.printer.done(format!("Function {} built successfully.", built.reference), &record)
}

pub async fn push(session: &Session, args: PushArgs) -> Result<()> {
    let builder = builder(&session.env).map_err(no_docker)?;
    let file = FuncFile::load(&args.path)?;
    let steps = Steps::new(&session.printer);
    let options = image_options(BuildFlags { registry: args.registry, ..BuildFlags::default() }, true);
    let pushed = image::push(&builder, &file, &file.version, &options, &|step| steps.on(step)).await;
    steps.with_log_tail(pushed)?;
    let reference = options.reference(&file.name, &file.version)?;
    session.printer.done(format!("Function {reference} pushed successfully."), &json!({ "image": reference }))
}

pub fn bump(session: &Session, args: BumpArgs) -> Result<()> {
    let part = match (args.major, args.minor) {
        (true, _) => Part::Major,
        (false, true) => Part::Minor,
        (false, false) => Part::Patch,
    };
    let version = bump::bump(&args.path, part)?;
    session.printer.done(format!("Bumped to version {version}"), &json!({ "version": version }))
}

fn no_docker(why: String) -> Error {
    Error::unreachable(why).with_hint("`afn doctor` looks for Docker; `afn deploy --local` does without it")
}

/// Prints which files would be sent, and which would not.
fn print_listings(printer: &Printer, listings: &[Listing]) -> Result<()> {
    if printer.is_json() {
        return printer.json(&json!({ "would_deploy": listings }));
    }
    for listing in listings {
        let total: u64 = listing.files.iter().filter_map(|file| file.bytes).sum();
        let form = if listing.image { "an image" } else { "a folder" };
        printer.note(format!(
            "{} {} would be sent as {form}, {}:",
            listing.app,
            listing.function,
            bytes(total)
        ));
        for file in &listing.files {
            let size = file.bytes.map(|size| format!("  {}", bytes(size))).unwrap_or_default();
            printer.line(format!("{}{size}", file.path))?;
        }
        print_left_out(printer, &listing.withheld, &listing.permitted, &listing.ignored_by_git);
    }
    Ok(())
}

fn print_left_out(printer: &Printer, secrets: &[String], permitted: &[String], ignored_by_git: &[String]) {
    if !permitted.is_empty() {
        printer.note(format!(
            "these files are sent although they mostly hold secrets, since a `!` in an ignore file names them: {}",
            permitted.join(", ")
        ));
    }
    if !secrets.is_empty() {
        printer.warning(format!(
            "these files are not sent, since they mostly hold secrets: {}; a line `!NAME` in .dockerignore (without an image: .afnignore, if there is one) sends one",
            secrets.join(", ")
        ));
    }
    if !ignored_by_git.is_empty() {
        printer.detail(format!(
            "these files are not sent because of .gitignore, which a .dockerignore (without an image: or an .afnignore) replaces: {}",
            ignored_by_git.join(", ")
        ));
    }
}

fn image_options(flags: BuildFlags, push: bool) -> ImageOptions {
    ImageOptions {
        registry: flags.registry.registry,
        push,
        no_cache: flags.no_cache,
        build_args: flags.build_args.into_iter().collect(),
    }
}

/// Prints the steps of a deploy. The log of a build is printed with `--verbose`, else its last lines when it fails.
struct Steps<'a> {
    printer: &'a Printer,
    tail: Mutex<VecDeque<String>>,
}

impl<'a> Steps<'a> {
    fn new(printer: &'a Printer) -> Steps<'a> {
        Steps { printer, tail: Mutex::default() }
    }

    fn on(&self, step: Step<'_>) {
        let printer = self.printer;
        match step {
            Step::Warning(warning) => printer.warning(warning),
            Step::Deploying { function, app, route } => {
                printer.note(format!("Deploying {function} to app: {app} at path: {route}"));
            }
            Step::Bumped { version } => printer.note(format!("Bumped to version {version}")),
            Step::BuildingImage { image } => printer.note(format!("Building image {image}")),
            Step::PushingImage { image } => printer.note(format!("Pushing image {image}")),
            Step::BuildingFolder { function } => printer.note(format!("Building {function} in its folder")),
            Step::Log(line) => self.log(line),
            Step::LeftOut(Contents { withheld, permitted, ignored_by_git, .. }) => {
                print_left_out(printer, withheld, permitted, ignored_by_git);
            }
            Step::Packed { bytes: count } => printer.detail(format!("the folder packed: {}", bytes(count))),
            Step::ConfigKept { app, route, keys } => {
                let (owner, file, noun) = match route {
                    Some(route) => (format!("{app} {route}"), "func.yaml", "function"),
                    None => (app.to_string(), "app.yaml", "app"),
                };
                printer.hint(format!(
                    "{owner} keeps config that is not in {file}: {}; `afn unset config {noun} {owner} KEY` removes it",
                    keys.join(", ")
                ));
            }
            Step::Updating { route, image } => {
                let with = image.map_or("its folder".to_owned(), |image| format!("image {image}"));
                printer.note(format!("Updating route {route} using {with}..."));
            }
        }
    }

    fn log(&self, line: &str) {
        self.printer.detail(line);
        let mut tail = self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if tail.len() == LOG_TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    }

    /// Prints the last lines of a failed build's log, unless all of them were printed before.
    fn with_log_tail<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() && !self.printer.is_verbose {
            let tail = self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            tail.iter().for_each(|line| self.printer.note(line));
        }
        result
    }
}
