//! `afn config …` and `afn unset config …`: values that functions get as environment variables.

use std::fmt;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::catalog::Catalog;
use crate::cli::options::{AppArgs, AppOrFunction, FunctionArgs, Shown};
use crate::cli::session::Session;
use crate::cli::{find, parse};
use crate::error::{Error, Result};
use crate::model::{AppName, Config, ConfigValue, Function};

/// The app or function that a config belongs to.
pub type Owner = AppOrFunction<AppArgs, FunctionArgs>;
pub type ShownOwner = AppOrFunction<Shown<AppArgs>, Shown<FunctionArgs>>;
pub type Key = AppOrFunction<KeyOf<AppArgs>, KeyOf<FunctionArgs>>;
pub type Setting = AppOrFunction<SettingOf<AppArgs>, SettingOf<FunctionArgs>>;

#[derive(Debug, Clone, Args)]
pub struct KeyOf<T: Args> {
    #[command(flatten)]
    pub owner: T,
    /// The config key.
    pub key: String,
}

#[derive(Debug, Clone, Args)]
pub struct SettingOf<T: Args> {
    #[command(flatten)]
    pub owner: T,
    /// The config key.
    pub key: String,
    /// The value; ssm:/NAME, secretsmanager:NAME#KEY, env:NAME and file:/PATH are references that workers read, and
    /// literal:TEXT is always the text. @FILE reads a file, - reads stdin, without one your environment's is taken. What begins with a dash goes
    /// behind `--`.
    #[arg(value_parser = parse::config_value)]
    pub value: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum UnsetNoun {
    /// Remove a config value.
    #[command(visible_alias = "cf", subcommand)]
    Config(Key),
}

fn split_key(key: Key) -> (Owner, String) {
    match key {
        AppOrFunction::App(of) => (AppOrFunction::App(of.owner), of.key),
        AppOrFunction::Function(of) => (AppOrFunction::Function(of.owner), of.key),
    }
}

/// The config of an app or function as it is stored now.
struct OwnedConfig<'a> {
    catalog: &'a Catalog,
    app: AppName,
    function: Option<Function>,
    values: Config,
}

impl fmt::Display for OwnedConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => write!(f, "{} {}", self.app, function.route),
            None => self.app.fmt(f),
        }
    }
}

impl<'a> OwnedConfig<'a> {
    async fn load(catalog: &'a Catalog, owner: Owner) -> Result<OwnedConfig<'a>> {
        match owner {
            AppOrFunction::App(AppArgs { app }) => {
                let values = catalog.app(&app).await?.config;
                Ok(OwnedConfig { catalog, app, function: None, values })
            }
            AppOrFunction::Function(named) => {
                let function = find::function(catalog, &named).await?;
                let values = function.config.clone();
                Ok(OwnedConfig { catalog, app: named.app, function: Some(function), values })
            }
        }
    }

    async fn update(&self, change: impl Fn(&mut Config) -> Result<()> + Send + Sync) -> Result<()> {
        match &self.function {
            Some(function) => {
                let change = |function: &mut Function| change(&mut function.config);
                self.catalog.update_function(&self.app, &function.name, change).await.map(|_| ())
            }
            None => self.catalog.update_app(&self.app, |app| change(&mut app.config)).await.map(|_| ()),
        }
    }

    fn value(&self, key: &str) -> Result<&str> {
        self.values.get(key).map(String::as_str).ok_or_else(|| {
            let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
            let error = Error::not_found(format!("{self} has no config key `{key}`"));
            match known.is_empty() {
                true => error,
                false => error.with_hint(format!("it has {}", known.join(", "))),
            }
        })
    }
}

pub async fn set(session: &Session, setting: Setting) -> Result<()> {
    let engine = session.open().await?;
    let (owner, key, value) = match setting {
        AppOrFunction::App(of) => (AppOrFunction::App(of.owner), of.key, of.value),
        AppOrFunction::Function(of) => (AppOrFunction::Function(of.owner), of.key, of.value),
    };
    let config = OwnedConfig::load(&engine.catalog, owner).await?;
    let value = value.map_or_else(|| parse::environment_value(&key), Ok).map_err(Error::invalid)?;
    let insert = |values: &mut Config| {
        values.insert(key.clone(), value.clone());
        Ok(())
    };
    config.update(insert).await?;
    // What is set is not repeated: it may be a secret, and this output a log.
    let value = ConfigValue::masked(&value);
    let record = json!({ "key": key, "value": value });
    session.printer.done(format!("{config} updated {key} with {value}"), &record)
}

pub async fn unset(session: &Session, key: Key) -> Result<()> {
    let engine = session.open().await?;
    let (owner, key) = split_key(key);
    let config = OwnedConfig::load(&engine.catalog, owner).await?;
    // A key that does not exist is an error: most likely a typo.
    config.value(&key)?;
    let remove = |values: &mut Config| {
        values.remove(&key);
        Ok(())
    };
    config.update(remove).await?;
    session.printer.done(format!("removed key {key} from {config}"), &json!({ "key": key }))
}

pub async fn get(session: &Session, key: Key) -> Result<()> {
    let engine = session.open().await?;
    let (owner, key) = split_key(key);
    let config = OwnedConfig::load(&engine.catalog, owner).await?;
    let value = config.value(&key)?;
    match session.printer.is_json() {
        true => session.printer.json(&json!({ "key": key, "value": value })),
        false => session.printer.data(format!("{value}\n")),
    }
}

pub async fn list(session: &Session, owner: ShownOwner) -> Result<()> {
    let engine = session.open().await?;
    let (shown, owner) = match owner {
        AppOrFunction::App(args) => (args.values(), AppOrFunction::App(args.of)),
        AppOrFunction::Function(args) => (args.values(), AppOrFunction::Function(args.of)),
    };
    let values = shown.of(&OwnedConfig::load(&engine.catalog, owner).await?.values);
    let text = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
    session.printer.answer(&json!({ "config": values }), &text)
}
