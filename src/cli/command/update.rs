//! `afn update …`

use crate::catalog::Publish;
use crate::cli::args::{AppChange, FunctionChange, UpdateNoun};
use crate::cli::session::Session;
use crate::cli::{find, json, traits};
use crate::error::{Error, Result};
use crate::model::Source;

pub async fn run(session: &Session, noun: UpdateNoun) -> Result<()> {
    match noun {
        UpdateNoun::App(args) => app(session, args).await,
        UpdateNoun::Function(args) => function(session, args).await,
    }
}

async fn app(session: &Session, args: AppChange) -> Result<()> {
    if args.config.is_empty() && args.annotation.is_empty() {
        return Err(nothing());
    }
    let engine = session.open().await?;
    let annotations = traits::annotations(&args.annotation);
    let app = engine
        .catalog
        .update_app(&args.app, |app| {
            traits::merge_config(&mut app.config, &args.config);
            traits::merge_annotations(&mut app.annotations, &annotations);
            Ok(())
        })
        .await?;
    session.printer.done(format!("app {} updated", args.app), &json::app(&args.app, &app))
}

/// Limits and image belong to a version: changing them makes one, under the same label.
async fn function(session: &Session, args: FunctionChange) -> Result<()> {
    if args.image.is_none() && traits::is_empty(&args.traits) {
        return Err(nothing());
    }
    let engine = session.open().await?;
    let app = &args.function.app;
    let function = find::function(&engine.catalog, app, &args.function.function).await?;
    let mut version = engine.catalog.version(app, &function.name, &function.version).await?;
    traits::apply(&args.traits, &mut version.limits)?;
    if let Some(format) = args.traits.format {
        version.format = format;
    }
    if let Some(image) = args.image {
        version.source = Source::Image { reference: image, digest: None };
        (version.os, version.arch) = (None, None);
    }
    version.created_at = engine.seams.now();
    let publish = Publish {
        name: function.name,
        route: function.route,
        kind: args.traits.kind.unwrap_or(function.kind),
        config: Some(traits::config(&args.traits.config)),
        annotations: traits::annotations(&args.traits.annotation),
        version,
    };
    let function = engine.catalog.publish(app, publish).await?;
    session.printer.done(format!("{app} {} updated", function.route), &json::function(app, &function))
}

fn nothing() -> Error {
    Error::invalid("nothing to change was given").hint("`--help` lists what can be changed")
}
