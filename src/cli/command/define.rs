//! `afn create …`, `update …`, `inspect …` and `delete …`: the definitions of apps and functions.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::{self, ContextArgs, CreateArgs};
use super::erase;
use crate::catalog::{Publish, merge};
use crate::cli::find;
use crate::cli::options::{AppArgs, AppOrFunction, FunctionArgs, FunctionFlags, Shown};
use crate::cli::parse::{self, Pair};
use crate::cli::session::Session;
use crate::cli::view::{Values, app_record, function_record, version_record};
use crate::error::{Error, Result};
use crate::limits::ms;
use crate::model::{App, AppName, FunctionName, Kind, Limits, Retention, Route, Source, Version};

#[derive(Debug, Subcommand)]
pub enum CreateNoun {
    /// An app.
    #[command(visible_aliases = ["apps", "a"])]
    App(AppChange),

    /// A function from an image that exists.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionImage),

    /// A context, with bucket and queues where they are missing.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(CreateArgs),
}

#[derive(Debug, Subcommand)]
pub enum DeleteNoun {
    /// An app without functions. Its calls stay until they are past their retention, unless `--with-data` is given.
    #[command(visible_aliases = ["apps", "a"])]
    App(DeleteApp),

    /// A function and its route. Accepted calls that have not begun end in `error`.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(FunctionArgs),

    /// A context. Bucket and queues stay.
    #[command(visible_aliases = ["contexts", "ctx"])]
    Context(ContextArgs),
}

#[derive(Debug, Clone, Args)]
pub struct AppChange {
    /// The app's name.
    pub app: AppName,

    /// A config value that all functions of the app inherit; an empty one removes the key. Repeatable. KEY=@FILE reads it
    /// from a file, KEY=- from stdin, KEY alone takes it from the environment.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::config)]
    pub config: Vec<Pair>,

    /// An annotation, its value JSON or plain text. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub annotation: Vec<Pair>,

    /// Keep payloads, results and logs of calls and batches so long after their end, like 30d; `never` keeps them for ever.
    /// Without it the context's retention counts, by default 14 days.
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Retention>,
}

#[derive(Debug, Clone, Args)]
pub struct DeleteApp {
    /// The app's name.
    pub app: AppName,

    /// Delete its functions with their versions, and all content of its calls and batches as well. What runs is cancelled first, and the end of
    /// its batches is waited for, so a worker has to run.
    #[arg(long)]
    pub with_data: bool,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionImage {
    /// The app to publish in; it is made if there is none.
    pub app: AppName,

    /// The route that the function answers to, like /resize.
    pub route: Route,

    /// The image, as Docker pulls it.
    pub image: String,

    /// The function's name, when it is not the route's.
    #[arg(long)]
    pub name: Option<FunctionName>,

    #[command(flatten)]
    pub settings: FunctionFlags,
}

#[derive(Debug, Clone, Args)]
pub struct FunctionChange {
    #[command(flatten)]
    pub function: FunctionArgs,

    /// Another image.
    #[arg(long, short = 'I')]
    pub image: Option<String>,

    #[command(flatten)]
    pub settings: FunctionFlags,
}

pub async fn create(session: &Session, noun: CreateNoun) -> Result<()> {
    match noun {
        CreateNoun::App(AppChange { app, config, annotation, retention }) => {
            let catalog = session.open().await?.catalog;
            let config = config.into_iter().collect();
            let mut created = catalog.create_app(&app, config, annotations(&annotation)).await?;
            if retention.is_some() {
                let change = |app: &mut App| {
                    app.retention = retention;
                    Ok(())
                };
                created = catalog.update_app(&app, change).await?;
            }
            session.printer.done(
                format!("Successfully created app:  {app}"),
                &app_record(&app, &created, Values::Masked),
            )
        }
        CreateNoun::Function(args) => create_function(session, args).await,
        CreateNoun::Context(args) => context::create(session, args).await,
    }
}

async fn create_function(session: &Session, args: FunctionImage) -> Result<()> {
    let FunctionImage { app, route, image, name, settings } = args;
    let name = name.map_or_else(|| name_of(route.as_str()), Ok)?;
    let engine = session.open().await?;
    let source = Source::Image { reference: image.clone(), digest: None };
    let version = Version::new("0.0.1", source, Limits::default(), engine.deps.now())?;
    let publish = publish(name, route, Kind::default(), version, settings)?;
    let function = engine.catalog.publish(&app, publish).await?;
    let line = format!("{} created with {image}", function.route);
    session.printer.done(line, &function_record(&app, &function, Values::Masked))
}

/// Applies the settings to a version. Those that are not given stay as they are.
fn publish(
    name: FunctionName,
    route: Route,
    kind: Kind,
    mut version: Version,
    settings: FunctionFlags,
) -> Result<Publish> {
    apply_limits(&settings, &mut version.limits)?;
    version.format = settings.format.unwrap_or(version.format);
    Ok(Publish {
        name,
        route,
        kind: settings.kind.unwrap_or(kind),
        config: Some(settings.config.into_iter().collect()),
        annotations: annotations(&settings.annotation),
        version,
    })
}

/// `/images/resize` makes `resize`.
fn name_of(route: &str) -> Result<FunctionName> {
    let last = route.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    last.parse().map_err(|error: Error| {
        error.context("name the function by its route").with_hint("give it one with --name")
    })
}

pub async fn update(session: &Session, change: AppOrFunction<AppChange, FunctionChange>) -> Result<()> {
    match change {
        AppOrFunction::App(args) => update_app(session, args).await,
        AppOrFunction::Function(args) => update_function(session, args).await,
    }
}

async fn update_app(session: &Session, args: AppChange) -> Result<()> {
    if args.config.is_empty() && args.annotation.is_empty() && args.retention.is_none() {
        return Err(nothing_to_change());
    }
    let engine = session.open().await?;
    let config = args.config.into_iter().collect();
    let annotations = annotations(&args.annotation);
    let change = |app: &mut App| {
        // As in Fn, an empty value removes its key, and so does a null.
        merge(&mut app.config, &config, String::is_empty);
        merge(&mut app.annotations, &annotations, Value::is_null);
        app.retention = args.retention.or(app.retention);
        Ok(())
    };
    let app = engine.catalog.update_app(&args.app, change).await?;
    session.printer.done(format!("app {} updated", args.app), &app_record(&args.app, &app, Values::Masked))
}

/// Limits and image belong to a version: changing them makes one, under the same label.
async fn update_function(session: &Session, args: FunctionChange) -> Result<()> {
    if args.image.is_none() && args.settings == FunctionFlags::default() {
        return Err(nothing_to_change());
    }
    let engine = session.open().await?;
    let app = &args.function.app;
    let function = find::function(&engine.catalog, &args.function).await?;
    let mut version = engine.catalog.version(app, &function.name, &function.version).await?;
    if let Some(image) = args.image {
        version.source = Source::Image { reference: image, digest: None };
        (version.os, version.arch) = (None, None);
    }
    version.created_at = engine.deps.now();
    let publish = publish(function.name, function.route, function.kind, version, args.settings)?;
    let function = engine.catalog.publish(app, publish).await?;
    session
        .printer
        .done(format!("{app} {} updated", function.route), &function_record(app, &function, Values::Masked))
}

fn nothing_to_change() -> Error {
    Error::invalid("nothing to change was given").with_hint("`--help` lists what can be changed")
}

/// A value is JSON when it can be read as such, else a string.
pub fn annotations(pairs: &[Pair]) -> BTreeMap<String, Value> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    pairs.iter().map(|(key, text)| (key.clone(), value(text))).collect()
}

/// Replaces the limits that were given, and checks all of them together.
fn apply_limits(settings: &FunctionFlags, limits: &mut Limits) -> Result<()> {
    limits.memory_mib = settings.memory.unwrap_or(limits.memory_mib);
    limits.timeout_ms = settings.timeout.map_or(limits.timeout_ms, ms);
    limits.idle_timeout_ms = settings.idle_timeout.map_or(limits.idle_timeout_ms, ms);
    limits.check()
}

pub async fn inspect(
    session: &Session,
    noun: AppOrFunction<Shown<AppArgs>, Shown<FunctionArgs>>,
) -> Result<()> {
    let engine = session.open().await?;
    match noun {
        AppOrFunction::App(shown) => {
            let name = &shown.of.app;
            let app = engine.catalog.app(name).await?;
            session.printer.json(&app_record(name, &app, shown.values()))
        }
        AppOrFunction::Function(shown) => {
            let app = &shown.of.app;
            let function = find::function(&engine.catalog, &shown.of).await?;
            let version = engine.catalog.version(app, &function.name, &function.version).await?;
            session.printer.json(&version_record(app, &function, &version, shown.values()))
        }
    }
}

pub async fn delete(session: &Session, noun: DeleteNoun) -> Result<()> {
    match noun {
        DeleteNoun::App(DeleteApp { app, with_data: true }) => erase::app(session, &app).await,
        DeleteNoun::App(DeleteApp { app, with_data: false }) => {
            session.open().await?.catalog.delete_app(&app).await?;
            session.printer.done(format!("Successfully deleted app {app}"), &json!({ "app": app }))
        }
        DeleteNoun::Function(args) => {
            let catalog = session.open().await?.catalog;
            let function = find::function(&catalog, &args).await?;
            catalog.delete_function(&args.app, &function.name).await?;
            let record = json!({ "app": args.app, "name": function.name, "route": function.route });
            session.printer.done(format!("{} {} deleted", args.app, function.route), &record)
        }
        DeleteNoun::Context(args) => context::delete(session, &args),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Config;

    fn pair(key: &str, value: &str) -> Pair {
        (key.into(), value.into())
    }

    #[test]
    fn an_empty_value_removes_its_key() {
        let mut merged = Config::from([pair("A", "1"), pair("B", "2")]);
        merge(&mut merged, &Config::from([pair("A", ""), pair("C", "3")]), String::is_empty);
        assert_eq!(merged, Config::from([pair("B", "2"), pair("C", "3")]));
    }

    #[test]
    fn annotations_are_json_or_text() {
        let mut all = annotations(&[pair("n", "7"), pair("t", "plain text"), pair("gone", "1")]);
        assert_eq!((&all["n"], &all["t"]), (&Value::from(7), &Value::from("plain text")));
        merge(&mut all, &annotations(&[pair("gone", "null")]), Value::is_null);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn limits_are_checked_as_a_whole() {
        let mut limits = Limits::default();
        let settings = FunctionFlags { timeout: Some(Duration::from_secs(60)), ..FunctionFlags::default() };
        apply_limits(&settings, &mut limits).unwrap();
        assert_eq!((limits.timeout_ms, limits.memory_mib), (60_000, 128));
        let settings =
            FunctionFlags { timeout: Some(Duration::from_secs(6 * 3600)), ..FunctionFlags::default() };
        assert!(apply_limits(&settings, &mut limits).is_err());
    }
}
