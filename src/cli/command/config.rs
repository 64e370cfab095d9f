//! `afn config …` and `afn unset config …`: values that functions get as environment variables.

use serde_json::json;

use crate::cli::args::{ConfigNoun, GetConfigNoun, ListConfigNoun};
use crate::cli::find;
use crate::cli::session::{Engine, Session};
use crate::error::{Error, Result};
use crate::model::Config;

/// Whose config, for messages and hints: `asyncapp`, or `asyncapp /asyncfn`.
struct Owner {
    shown: String,
    config: Config,
}

pub async fn set(session: &Session, noun: ConfigNoun) -> Result<()> {
    let engine = session.open().await?;
    let (shown, key, value) = match noun {
        ConfigNoun::App(args) => {
            let (app, key, value) = (args.key.app, args.key.key, args.value);
            engine
                .catalog
                .update_app(&app, |app| {
                    app.config.insert(key.clone(), value.clone());
                    Ok(())
                })
                .await?;
            (app.to_string(), key, value)
        }
        ConfigNoun::Function(args) => {
            let (named, key, value) = (args.key.function, args.key.key, args.value);
            let function = find::function(&engine.catalog, &named.app, &named.function).await?;
            engine
                .catalog
                .update_function(&named.app, &function.name, |function| {
                    function.config.insert(key.clone(), value.clone());
                    Ok(())
                })
                .await?;
            (format!("{} {}", named.app, function.route), key, value)
        }
    };
    let record = json!({ "key": key, "value": value });
    session.printer.done(format!("{shown} updated {key} with {value}"), &record)
}

pub async fn unset(session: &Session, noun: crate::cli::args::UnsetNoun) -> Result<()> {
    let crate::cli::args::UnsetNoun::Config(noun) = noun;
    let engine = session.open().await?;
    let (owner, key) = owner_and_key(&engine, &noun).await?;
    // One that is not there is a typo rather than a wish that is fulfilled already.
    value(&owner, key)?;
    match &noun {
        GetConfigNoun::App(args) => {
            engine
                .catalog
                .update_app(&args.app, |app| {
                    app.config.remove(key);
                    Ok(())
                })
                .await?;
        }
        GetConfigNoun::Function(args) => {
            let named = &args.function;
            let function = find::function(&engine.catalog, &named.app, &named.function).await?;
            engine
                .catalog
                .update_function(&named.app, &function.name, |function| {
                    function.config.remove(key);
                    Ok(())
                })
                .await?;
        }
    }
    session.printer.done(format!("removed key {key} from {}", owner.shown), &json!({ "key": key }))
}

pub async fn get(session: &Session, noun: GetConfigNoun) -> Result<()> {
    let engine = session.open().await?;
    let (owner, key) = owner_and_key(&engine, &noun).await?;
    let value = value(&owner, key)?;
    if session.printer.is_json() {
        return session.printer.json(&json!({ "key": key, "value": value }));
    }
    session.printer.line(value)
}

pub async fn list(session: &Session, noun: ListConfigNoun) -> Result<()> {
    let engine = session.open().await?;
    let config = match noun {
        ListConfigNoun::App(args) => engine.catalog.app(&args.app).await?.config,
        ListConfigNoun::Function(args) => {
            find::function(&engine.catalog, &args.app, &args.function).await?.config
        }
    };
    if session.printer.is_json() {
        return session.printer.json(&json!({ "config": config }));
    }
    for (key, value) in config {
        session.printer.line(format!("{key}={value}"))?;
    }
    Ok(())
}

async fn owner_and_key<'a>(engine: &Engine, noun: &'a GetConfigNoun) -> Result<(Owner, &'a str)> {
    match noun {
        GetConfigNoun::App(args) => {
            let config = engine.catalog.app(&args.app).await?.config;
            Ok((Owner { shown: args.app.to_string(), config }, &args.key))
        }
        GetConfigNoun::Function(args) => {
            let named = &args.function;
            let function = find::function(&engine.catalog, &named.app, &named.function).await?;
            let shown = format!("{} {}", named.app, function.route);
            Ok((Owner { shown, config: function.config }, &args.key))
        }
    }
}

fn value<'a>(owner: &'a Owner, key: &str) -> Result<&'a str> {
    owner.config.get(key).map(String::as_str).ok_or_else(|| {
        let known: Vec<&str> = owner.config.keys().map(String::as_str).collect();
        let error = Error::not_found(format!("{} has no config key `{key}`", owner.shown));
        match known.is_empty() {
            true => error,
            false => error.hint(format!("it has {}", known.join(", "))),
        }
    })
}
