//! `afn build`, `afn push`, `afn bump`: the steps of a deploy one by one, as Fn has them.

use serde_json::json;

use super::deploy::{Steps, image_options};
use crate::cli::args::{BuildArgs, BuildFlags, BumpArgs, PushArgs};
use crate::cli::executors;
use crate::cli::session::Session;
use crate::deploy::bump::{self, Part};
use crate::deploy::{FuncFile, image};
use crate::error::{Error, Result};

pub async fn build(session: &Session, args: BuildArgs) -> Result<()> {
    let builder = executors::builder(session).map_err(no_docker)?;
    let file = FuncFile::load(&args.path)?;
    let steps = Steps::new(&session.printer);
    let options = image_options(args.build, false);
    let built = image::build(&builder, &file, &file.version, &options, &|step| steps.on(step)).await;
    let built = steps.told(built)?;
    let record =
        json!({ "image": built.reference, "digest": built.digest, "os": built.os, "arch": built.arch });
    session.printer.done(format!("Function {} built successfully.", built.reference), &record)
}

pub async fn push(session: &Session, args: PushArgs) -> Result<()> {
    let builder = executors::builder(session).map_err(no_docker)?;
    let file = FuncFile::load(&args.path)?;
    let steps = Steps::new(&session.printer);
    let options = image_options(BuildFlags { registry: args.registry, ..BuildFlags::default() }, true);
    let pushed = image::push(&builder, &file, &file.version, &options, &|step| steps.on(step)).await;
    steps.told(pushed)?;
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
    Error::unreachable(why).hint("`afn doctor` looks for Docker; `afn deploy --local` does without it")
}
