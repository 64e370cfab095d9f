//! Apps.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Catalog, READS_IN_FLIGHT, suggest};
use crate::error::{Error, Result};
use crate::layout::key;
use crate::layout::object::Settings;
use crate::model::app::{App, Config, check_config};
use crate::model::{AppName, FunctionName, Retention};
use crate::seam::{Created, StoreExt as _};

impl Catalog {
    pub async fn app(&self, app: &AppName) -> Result<App> {
        match self.deps.store.find_fact(app).await? {
            Some(body) => Ok(body),
            None => Err(self.no_app(app).await?),
        }
    }

    /// In order of their names. An app that was deleted may still have calls under its prefix: its definition decides.
    pub async fn list_apps(&self) -> Result<Vec<AppName>> {
        let names = self.names_under::<AppName>(&key::apps()).await?;
        // Gathered first: a future that holds the closure cannot be sent to another thread.
        let reads: Vec<_> =
            names
                .into_iter()
                .map(|name| async move {
                    Ok::<_, Error>((self.deps.store.fact_exists::<App>(&name).await?, name))
                })
                .collect();
        let apps: Vec<(bool, AppName)> = stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
        Ok(apps.into_iter().filter_map(|(exists, name)| exists.then_some(name)).collect())
    }

    pub async fn create_app(
        &self,
        app: &AppName,
        config: Config,
        annotations: BTreeMap<String, serde_json::Value>,
    ) -> Result<App> {
        check_config(&config)?;
        let body = self.new_app(config, annotations);
        match self.create(app, &body).await? {
            Created::New => Ok(body),
            Created::Existing(_) => Err(Error::conflict(format!("app `{app}` already exists"))
                .with_hint(format!("`afn update app {app}` changes it"))),
        }
    }

    /// The app, created when there is none.
    pub async fn ensure_app(&self, app: &AppName) -> Result<App> {
        if let Some(body) = self.deps.store.find_fact(app).await? {
            return Ok(body);
        }
        let body = self.new_app(Config::new(), BTreeMap::new());
        match self.create(app, &body).await? {
            Created::New => Ok(body),
            Created::Existing(current) => Ok(current),
        }
    }

    /// What holds for all apps that say nothing else.
    pub async fn set_retention(&self, retention: Retention) -> Result<()> {
        let now = self.deps.now();
        let settings = Settings { retention: Some(retention), updated_at: now, nonce: self.deps.nonce() };
        if let Created::New = self.create(&(), &settings).await? {
            return Ok(());
        }
        let change = |settings: &mut Settings| {
            (settings.retention, settings.updated_at) = (Some(retention), now);
            Ok(())
        };
        match self.change(&(), change).await? {
            Some(_) => Ok(()),
            None => Err(Error::internal("object `settings` was there and is gone")),
        }
    }

    /// `change` may run more than once, each time on the current app: it must set values, not add to them.
    pub async fn update_app(
        &self,
        app: &AppName,
        change: impl Fn(&mut App) -> Result<()> + Send + Sync,
    ) -> Result<App> {
        let now = self.deps.now();
        let changed = self
            .change(app, |body: &mut App| {
                change(body)?;
                check_config(&body.config)?;
                body.updated_at = now;
                Ok(())
            })
            .await?;
        match changed {
            Some(body) => Ok(body),
            None => Err(self.no_app(app).await?),
        }
    }

    /// Its calls stay: they are facts, and go when `afn gc` finds them old enough.
    ///
    /// A deploy may run at the same time: it writes its function first and then checks that the app is there, and here the
    /// app is deleted first and then checked for functions. The later check sees the other's write and puts the app back.
    pub async fn delete_app(&self, app: &AppName) -> Result<()> {
        let body = self.app(app).await?;
        self.refuse_if_used(app, &self.function_names(app).await?)?;
        self.remove::<App>(app).await?;
        let functions = self.function_names(app).await?;
        if !functions.is_empty() {
            let body = App { nonce: self.deps.nonce(), ..body };
            self.create(app, &body).await?;
        }
        self.refuse_if_used(app, &functions)
    }

    fn refuse_if_used(&self, app: &AppName, functions: &[FunctionName]) -> Result<()> {
        let Some(first) = functions.first() else { return Ok(()) };
        let count = match functions.len() {
            1 => format!("function `{first}`"),
            count => format!("{count} functions, `{first}` among them"),
        };
        Err(Error::conflict(format!("app `{app}` still has {count}"))
            .with_hint(format!("delete what it has first: `afn delete function {app} {first}`")))
    }

    fn new_app(&self, config: Config, annotations: BTreeMap<String, serde_json::Value>) -> App {
        let now = self.deps.now();
        let nonce = self.deps.nonce();
        App { config, annotations, retention: None, created_at: now, updated_at: now, nonce }
    }

    pub(super) async fn no_app(&self, app: &AppName) -> Result<Error> {
        let names = self.list_apps().await?;
        let names: Vec<&str> = names.iter().map(AppName::as_str).collect();
        let error = Error::not_found(format!("app `{app}` not found"));
        let none = format!("there are no apps here; `afn deploy --app {app}` creates it");
        Ok(suggest(error, app.as_str(), &names, "afn list apps", &none, "`afn list apps` shows all"))
    }
}
