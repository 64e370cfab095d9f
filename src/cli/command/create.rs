//! `afn create …`

use crate::catalog::Publish;
use crate::cli::args::{AppChange, CreateNoun, FunctionImage};
use crate::cli::session::Session;
use crate::cli::{command, json, traits};
use crate::error::{Error, Result};
use crate::model::{FunctionName, Limits, Source, Version};

pub async fn run(session: &Session, noun: CreateNoun) -> Result<()> {
    match noun {
        CreateNoun::App(args) => app(session, args).await,
        CreateNoun::Function(args) => function(session, args).await,
        CreateNoun::Context(args) => command::context::create(session, args).await,
    }
}

async fn app(session: &Session, args: AppChange) -> Result<()> {
    let engine = session.open().await?;
    let config = traits::config(&args.config);
    let app = engine.catalog.create_app(&args.app, config, traits::annotations(&args.annotation)).await?;
    session.printer.done(format!("Successfully created app:  {}", args.app), &json::app(&args.app, &app))
}

async fn function(session: &Session, args: FunctionImage) -> Result<()> {
    let name = match args.name {
        Some(name) => name,
        None => name_of(args.route.as_str())?,
    };
    let engine = session.open().await?;
    let mut limits = Limits::default();
    traits::apply(&args.traits, &mut limits)?;
    let source = Source::Image { reference: args.image.clone(), digest: None };
    let version = Version {
        format: args.traits.format.unwrap_or_default(),
        ..Version::new("0.0.1", source, limits, engine.seams.now())?
    };
    let publish = Publish {
        name,
        route: args.route.clone(),
        kind: args.traits.kind.unwrap_or_default(),
        config: Some(traits::config(&args.traits.config)),
        annotations: traits::annotations(&args.traits.annotation),
        version,
    };
    let function = engine.catalog.publish(&args.app, publish).await?;
    session
        .printer
        .done(format!("{} created with {}", args.route, args.image), &json::function(&args.app, &function))
}

/// `/images/resize` makes `resize`.
fn name_of(route: &str) -> Result<FunctionName> {
    let last = route.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    last.parse().map_err(|error: Error| {
        error.context("name the function by its route").hint("give it one with --name")
    })
}
