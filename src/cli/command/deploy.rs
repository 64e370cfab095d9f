//! `afn deploy`

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::json;

use crate::cli::args::{BuildFlags, DeployArgs};
use crate::cli::call_view::bytes;
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::cli::{executors, json, traits};
use crate::deploy::{DeployRequest, ImageOptions, Step, Way, deploy};
use crate::error::Result;

/// What is shown of a build's log when the build fails.
const LOG_TAIL: usize = 30;

pub async fn run(session: &Session, args: DeployArgs) -> Result<()> {
    let engine = session.open().await?;
    let builder = executors::builder(session);
    let dir = args.path.or(args.working_dir).unwrap_or_else(|| PathBuf::from("."));
    let steps = Steps::new(&session.printer);
    let request = DeployRequest {
        dir: &dir,
        all: args.all,
        app: args.app,
        bump: !args.no_bump,
        way: if args.no_image { Way::Archive } else { Way::Auto },
        image: image_options(args.build, !args.local),
        builder: builder.as_ref().map(|builder| builder as _).map_err(Clone::clone),
        now: engine.seams.now(),
        progress: &|step| steps.on(step),
    };
    let deployed = steps.told(deploy(&engine.catalog, &request).await)?;
    if session.printer.is_json() {
        let deployed: Vec<_> =
            deployed.iter().map(|one| json::deployed(&one.app, &one.function, &one.version)).collect();
        return session.printer.json(&json!({ "deployed": deployed }));
    }
    for one in deployed {
        let route = &one.function.route;
        session.printer.done(format!("{} {route} deployed, version {}", one.app, one.version.id), &())?;
    }
    Ok(())
}

pub fn image_options(flags: BuildFlags, push: bool) -> ImageOptions {
    ImageOptions {
        registry: flags.registry,
        push,
        no_cache: flags.no_cache,
        build_args: traits::config(&flags.build_args),
    }
}

/// Tells steps to people. What a builder says is shown with `--verbose`, else its end when it fails.
pub struct Steps<'a> {
    printer: &'a Printer,
    tail: Mutex<VecDeque<String>>,
}

impl<'a> Steps<'a> {
    pub fn new(printer: &'a Printer) -> Steps<'a> {
        Steps { printer, tail: Mutex::default() }
    }

    pub fn on(&self, step: Step<'_>) {
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
            Step::Updating { route, image: Some(image) } => {
                printer.note(format!("Updating route {route} using image {image}..."));
            }
            Step::Updating { route, image: None } => {
                printer.note(format!("Updating route {route} using its folder..."));
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

    /// Shows how the log of a failed build ended, unless all of it was shown.
    pub fn told<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() && !self.printer.is_verbose() {
            let tail = self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            tail.iter().for_each(|line| self.printer.note(line));
        }
        result
    }
}
