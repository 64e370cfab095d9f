//! Apps.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::definition::Created;
use super::{BODY_VERSION, Catalog, LOOKS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::layout::{Key, key};
use crate::model::app::{App, Config, check_config};
use crate::model::nearest::nearest;
use crate::model::{AppName, FunctionName};
use crate::seam::StoreExt as _;
use crate::seam::store::List;

impl Catalog {
    pub async fn app(&self, app: &AppName) -> Result<App> {
        match self.read(&Key::App(app.clone()).to_string()).await? {
            Some(standing) => Ok(standing.body),
            None => Err(self.no_app(app).await?),
        }
    }

    /// In order of their names. An app that was deleted may still have calls under its prefix: its definition decides.
    pub async fn list_apps(&self) -> Result<Vec<AppName>> {
        let listed = self.seams.store.list_all(List::grouped(key::apps())).await?;
        let names = listed.prefixes.iter().map(|prefix| {
            let name = prefix.strip_prefix(&key::apps()).and_then(|name| name.strip_suffix('/'));
            name.unwrap_or_default().parse::<AppName>()
        });
        // Gathered first: a future that holds the closure cannot be sent to another thread.
        let looks = names.map(|name| async move {
            let name = name?;
            let exists = self.seams.store.exists(&Key::App(name.clone()).to_string()).await?;
            Ok::<_, Error>(exists.then_some(name))
        });
        let looks: Vec<_> = looks.collect();
        let found: Vec<Option<AppName>> = stream::iter(looks).buffered(LOOKS_IN_FLIGHT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub async fn create_app(
        &self,
        app: &AppName,
        config: Config,
        annotations: BTreeMap<String, serde_json::Value>,
    ) -> Result<App> {
        check_config(&config)?;
        let body = self.new_app(config, annotations);
        match self.create(&Key::App(app.clone()).to_string(), &body).await? {
            Created::Own => Ok(body),
            Created::Other(_) => Err(Error::conflict(format!("app `{app}` already exists"))
                .hint(format!("`afn update app {app}` changes it"))),
        }
    }

    /// The app as it stands, created when there is none.
    pub async fn ensure_app(&self, app: &AppName) -> Result<App> {
        let key = Key::App(app.clone()).to_string();
        if let Some(standing) = self.read(&key).await? {
            return Ok(standing.body);
        }
        let body = self.new_app(Config::new(), BTreeMap::new());
        match self.create(&key, &body).await? {
            Created::Own => Ok(body),
            Created::Other(standing) => Ok(standing.body),
        }
    }

    /// `change` may run more than once, each time on what stands then: see that it says what the app should become.
    pub async fn update_app(
        &self,
        app: &AppName,
        change: impl Fn(&mut App) -> Result<()> + Send + Sync,
    ) -> Result<App> {
        let now = self.seams.now();
        let changed = self
            .change(&Key::App(app.clone()).to_string(), |body: &mut App| {
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
    /// A deploy may cross this: it writes its function first and then looks whether the app is there, and here the app
    /// is deleted first and then looked for functions. Whoever comes last sees the other and puts the app back.
    pub async fn delete_app(&self, app: &AppName) -> Result<()> {
        let body = self.app(app).await?;
        self.refuse_if_used(app, &self.function_names(app).await?)?;
        self.remove(Key::App(app.clone()).to_string()).await?;
        let functions = self.function_names(app).await?;
        if !functions.is_empty() {
            let body = App { nonce: self.seams.nonce(), ..body };
            self.create(&Key::App(app.clone()).to_string(), &body).await?;
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
            .hint(format!("delete what it has first: `afn delete function {app} {first}`")))
    }

    fn new_app(&self, config: Config, annotations: BTreeMap<String, serde_json::Value>) -> App {
        let now = self.seams.now();
        let nonce = self.seams.nonce();
        App { v: BODY_VERSION, config, annotations, created_at: now, updated_at: now, nonce }
    }

    pub(super) async fn no_app(&self, app: &AppName) -> Result<Error> {
        let names = self.list_apps().await?;
        let error = Error::not_found(format!("app `{app}` not found"));
        Ok(match nearest(app.as_str(), names.iter().map(AppName::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`? `afn list apps` shows all")),
            None if names.is_empty() => {
                error.hint(format!("there are no apps here; `afn deploy --app {app}` creates it"))
            }
            None => error.hint("`afn list apps` shows those there are"),
        })
    }
}
