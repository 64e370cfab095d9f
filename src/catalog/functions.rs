//! Functions: what a deploy publishes, and what may be changed between deploys.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::{Catalog, READS_IN_FLIGHT, suggest};
use crate::error::{Error, Result};
use crate::layout::key;
use crate::model::app::{Config, check_config};
use crate::model::{AppName, Function, FunctionName, Kind, Route, Version};
use crate::seam::{Created, StoreExt as _};

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
            // An error if there is no such app.
            self.app(app).await?;
        }
        Ok(functions)
    }

    /// Makes `publish.version` the current version of the function, which is created when there is none, as is its app.
    ///
    /// The route is claimed before the function is written, and confirmed after it: of two functions that want one route at
    /// the same time, one gets it and the other an error. Every step can be repeated, so a deploy that was interrupted is
    /// simply repeated. The function's previous route leads nowhere from then on.
    pub async fn publish(&self, app: &AppName, publish: Publish) -> Result<Function> {
        check_config(publish.config.as_ref().unwrap_or(&Config::new()))?;
        self.ensure_app(app).await?;
        let version = self.put_version(app, &publish.name, publish.version.clone()).await?;
        self.claim_route(app, &publish.route, &publish.name).await?;
        let function = self.put_function(app, &publish, &version).await?;
        self.hold_route(app, &publish.route, &publish.name).await?;
        // See `delete_app`.
        self.ensure_app(app).await?;
        self.check_stored(app, &publish.name, &version).await?;
        Ok(function)
    }

    /// `change` may run more than once, each time on the current function: it must set values, not add to them. It must not
    /// change name, route and version.
    pub async fn update_function(
        &self,
        app: &AppName,
        function: &FunctionName,
        change: impl Fn(&mut Function) -> Result<()> + Send + Sync,
    ) -> Result<Function> {
        let now = self.deps.now();
        let changed = self
            .change(&(app.clone(), function.clone()), |body: &mut Function| {
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

    /// Deletes the definitions, the route first, so that no route leads to a function that is half deleted. Versions and
    /// archives stay: an accepted call runs on the version that was current then.
    pub async fn delete_function(&self, app: &AppName, function: &FunctionName) -> Result<()> {
        let body = self.function(app, function).await?;
        self.delete_route(app, &body.route, function).await?;
        self.remove::<Function>(&(app.clone(), function.clone())).await
    }

    async fn put_function(&self, app: &AppName, publish: &Publish, version: &Version) -> Result<Function> {
        let id = (app.clone(), publish.name.clone());
        let now = self.deps.now();
        let apply = |function: &mut Function| {
            function.route = publish.route.clone();
            function.kind = publish.kind;
            function.version = version.id.clone();
            if let Some(config) = &publish.config {
                merge(&mut function.config, config, String::is_empty);
            }
            merge(&mut function.annotations, &publish.annotations, Value::is_null);
            function.updated_at = now;
            check_config(&function.config)
        };
        let mut fresh = Function {
            name: publish.name.clone(),
            route: publish.route.clone(),
            kind: publish.kind,
            version: version.id.clone(),
            config: Config::new(),
            annotations: BTreeMap::new(),
            created_at: now,
            updated_at: now,
            nonce: self.deps.nonce(),
        };
        apply(&mut fresh)?;
        match self.create(&id, &fresh).await? {
            Created::New => Ok(fresh),
            Created::Existing(_) => self.change(&id, apply).await?.ok_or_else(|| {
                Error::conflict(format!("function `{}` was deleted while it was deployed", publish.name))
                    .with_hint("deploy it again")
            }),
        }
    }

    pub(super) async fn find_function(
        &self,
        app: &AppName,
        function: &FunctionName,
    ) -> Result<Option<Function>> {
        self.deps.store.find_fact(&(app.clone(), function.clone())).await
    }

    /// The functions of an app, which need not exist.
    pub(super) async fn existing_functions(&self, app: &AppName) -> Result<Vec<Function>> {
        let names = self.names_under::<FunctionName>(&key::functions(app)).await?;
        let reads: Vec<_> = names.iter().map(|name| self.find_function(app, name)).collect();
        let found: Vec<Option<Function>> =
            stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn function_names(&self, app: &AppName) -> Result<Vec<FunctionName>> {
        Ok(self.existing_functions(app).await?.into_iter().map(|function| function.name).collect())
    }

    pub(super) async fn no_function(&self, app: &AppName, function: &FunctionName) -> Result<Error> {
        self.app(app).await?;
        let names = self.function_names(app).await?;
        let names: Vec<&str> = names.iter().map(FunctionName::as_str).collect();
        let error = Error::not_found(format!("function `{function}` not found in app `{app}`"));
        let command = format!("afn list functions {app}");
        let others = format!("`{command}` shows all");
        Ok(suggest(error, function.as_str(), &names, &command, &no_functions(app), &others))
    }
}

pub(super) fn no_functions(app: &AppName) -> String {
    format!("the app has no functions yet; `afn deploy --local --app {app}` adds one")
}

/// Sets keys; a value that is unset removes its key.
pub(crate) fn merge<V: Clone>(
    into: &mut BTreeMap<String, V>,
    from: &BTreeMap<String, V>,
    is_unset: fn(&V) -> bool,
) {
    for (key, value) in from {
        match is_unset(value) {
            true => into.remove(key),
            false => into.insert(key.clone(), value.clone()),
        };
    }
}
