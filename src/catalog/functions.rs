//! Functions: what a deploy publishes, and what may be changed between deploys.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::definition::Created;
use super::{BODY_VERSION, Catalog, LOOKS_IN_FLIGHT};
use crate::error::{Error, Result};
use crate::layout::{Key, key};
use crate::model::app::{Config, check_config};
use crate::model::nearest::nearest;
use crate::model::{AppName, Function, FunctionName, Kind, Route, Version};
use crate::seam::StoreExt as _;
use crate::seam::store::List;

/// What a deploy makes of a function.
#[derive(Debug, Clone)]
pub struct Publish {
    pub name: FunctionName,
    pub route: Route,
    pub kind: Kind,
    /// Keys to set; those not named keep what `afn config` gave them, and an empty value unsets its key.
    pub config: Option<Config>,
    /// Merged like the config; a null takes one away.
    pub annotations: BTreeMap<String, Value>,
    /// Its id is set here, from its content.
    pub version: Version,
}

impl Catalog {
    pub async fn function(&self, app: &AppName, function: &FunctionName) -> Result<Function> {
        match self.find_function(app, function).await? {
            Some(found) => Ok(found),
            None => Err(self.no_function(app, function).await?),
        }
    }

    /// In order of their names.
    pub async fn list_functions(&self, app: &AppName) -> Result<Vec<Function>> {
        let functions = self.existing_functions(app).await?;
        if functions.is_empty() {
            // Nothing to list, or no such app: the one is an answer, the other an error.
            self.app(app).await?;
        }
        Ok(functions)
    }

    /// Makes `publish.version` the current version of the function, which is created when there is none, as is its app.
    ///
    /// The route is claimed before the function says so, and held on to after it: of two functions that want one route
    /// at once, one gets it and the other is told. A step that was done before is no error, so a deploy that was cut off
    /// is simply repeated. The route that a function had before leads nowhere from then on.
    pub async fn publish(&self, app: &AppName, publish: Publish) -> Result<Function> {
        check_config(publish.config.as_ref().unwrap_or(&Config::new()))?;
        self.ensure_app(app).await?;
        let version = self.put_version(app, &publish.name, publish.version.clone()).await?;
        self.claim_route(app, &publish.route, &publish.name).await?;
        let function = self.put_function(app, &publish, &version).await?;
        self.hold_route(app, &publish.route, &publish.name).await?;
        // See `delete_app`.
        self.ensure_app(app).await?;
        Ok(function)
    }

    /// `change` may run more than once, each time on what stands then: see that it says what the function should
    /// become. Name, route and version are not for it to change.
    pub async fn update_function(
        &self,
        app: &AppName,
        function: &FunctionName,
        change: impl Fn(&mut Function) -> Result<()> + Send + Sync,
    ) -> Result<Function> {
        let now = self.seams.now();
        let changed = self
            .change(&Key::Function(app.clone(), function.clone()).to_string(), |body: &mut Function| {
                let (name, route, version) = (body.name.clone(), body.route.clone(), body.version.clone());
                change(body)?;
                if (&name, &route, &version) != (&body.name, &body.route, &body.version) {
                    return Err(Error::internal(
                        "name, route and version of a function change by deploys only",
                    ));
                }
                check_config(&body.config)?;
                body.updated_at = now;
                Ok(())
            })
            .await?;
        match changed {
            Some(body) => Ok(body),
            None => Err(self.no_function(app, function).await?),
        }
    }

    /// Takes the definitions away, the route first, so that nothing leads to what is half gone. Versions and archives
    /// stay: accepted calls run on the version that was current then.
    pub async fn delete_function(&self, app: &AppName, function: &FunctionName) -> Result<()> {
        let body = self.function(app, function).await?;
        self.delete_route(app, &body.route, function).await?;
        self.remove(Key::Function(app.clone(), function.clone()).to_string()).await
    }

    async fn put_function(&self, app: &AppName, publish: &Publish, version: &Version) -> Result<Function> {
        let key = Key::Function(app.clone(), publish.name.clone()).to_string();
        let now = self.seams.now();
        let apply = |function: &mut Function| {
            function.route = publish.route.clone();
            function.kind = publish.kind;
            function.version = version.id.clone();
            for (key, value) in publish.config.iter().flatten() {
                if value.is_empty() {
                    function.config.remove(key);
                } else {
                    function.config.insert(key.clone(), value.clone());
                }
            }
            for (key, value) in &publish.annotations {
                if value.is_null() {
                    function.annotations.remove(key);
                } else {
                    function.annotations.insert(key.clone(), value.clone());
                }
            }
            function.updated_at = now;
            check_config(&function.config)
        };
        let mut fresh = Function {
            v: BODY_VERSION,
            name: publish.name.clone(),
            route: publish.route.clone(),
            kind: publish.kind,
            version: version.id.clone(),
            config: Config::new(),
            annotations: BTreeMap::new(),
            created_at: now,
            updated_at: now,
            nonce: self.seams.nonce(),
        };
        apply(&mut fresh)?;
        match self.create(&key, &fresh).await? {
            Created::Own => Ok(fresh),
            Created::Other(_) => self.change(&key, apply).await?.ok_or_else(|| {
                Error::conflict(format!("function `{}` was deleted while it was deployed", publish.name))
                    .hint("deploy it again")
            }),
        }
    }

    pub(super) async fn find_function(
        &self,
        app: &AppName,
        function: &FunctionName,
    ) -> Result<Option<Function>> {
        let key = Key::Function(app.clone(), function.clone()).to_string();
        Ok(self.read(&key).await?.map(|standing| standing.body))
    }

    /// Whether or not the app is there.
    pub(super) async fn existing_functions(&self, app: &AppName) -> Result<Vec<Function>> {
        let prefix = key::functions(app);
        let listed = self.seams.store.list_all(List::grouped(prefix.clone())).await?;
        let names = listed.prefixes.iter().map(|under| {
            let name = under.strip_prefix(&prefix).and_then(|name| name.strip_suffix('/'));
            name.unwrap_or_default().parse::<FunctionName>()
        });
        // Gathered first: a future that holds the closure cannot be sent to another thread.
        let looks: Vec<_> = names.map(|name| async move { self.find_function(app, &name?).await }).collect();
        let found: Vec<Option<Function>> =
            stream::iter(looks).buffered(LOOKS_IN_FLIGHT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn function_names(&self, app: &AppName) -> Result<Vec<FunctionName>> {
        Ok(self.existing_functions(app).await?.into_iter().map(|function| function.name).collect())
    }

    pub(super) async fn no_function(&self, app: &AppName, function: &FunctionName) -> Result<Error> {
        self.app(app).await?;
        let names = self.function_names(app).await?;
        let error = Error::not_found(format!("function `{function}` not found in app `{app}`"));
        Ok(match nearest(function.as_str(), names.iter().map(FunctionName::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`? `afn list functions {app}` shows all")),
            None if names.is_empty() => {
                error.hint(format!("the app has no functions yet; `afn deploy --local --app {app}` adds one"))
            }
            None => error.hint(format!("`afn list functions {app}` shows those there are")),
        })
    }
}
