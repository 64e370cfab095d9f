//! The worker's cache of apps and functions. Versions are cached without expiry, because they never change; config is
//! cached for a few seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::error::{Result, if_found};
use crate::model::{AppName, Config, Function, FunctionName, Version, VersionId};
use crate::seam::Deps;

/// A changed config reaches a running worker within this.
const FRESH: Duration = Duration::from_secs(10);
/// Past this many the memory is emptied; more functions than that are rarely hot on one worker.
const KEPT_MAX: usize = 1_000;

pub struct Definitions {
    deps: Deps,
    catalog: Catalog,
    versions: Mutex<BTreeMap<(AppName, FunctionName, VersionId), Arc<Version>>>,
    functions: Mutex<BTreeMap<(AppName, FunctionName), CachedFunction>>,
}

#[derive(Clone)]
struct CachedFunction {
    at: Duration,
    definition: Option<Definition>,
}

/// A function with its app's config.
#[derive(Clone)]
pub struct Definition {
    pub app_config: Arc<Config>,
    pub function: Arc<Function>,
}

pub enum Resolved {
    Ready(Arc<Version>, Definition),
    /// The reason why nothing of it can run.
    Gone(String),
}

impl Definitions {
    pub fn new(deps: Deps) -> Definitions {
        let catalog = Catalog::new(deps.clone());
        Definitions { deps, catalog, versions: Mutex::default(), functions: Mutex::default() }
    }

    /// What is needed to run calls of a version.
    pub async fn resolve(
        &self,
        app: &AppName,
        function: &FunctionName,
        version: &VersionId,
    ) -> Result<Resolved> {
        let Some(found) = self.version(app, function, version).await? else {
            return Ok(Resolved::Gone(format!("version {version} of function `{function}` is missing")));
        };
        Ok(match self.function(app, function).await? {
            Some(definition) => Resolved::Ready(found, definition),
            None => Resolved::Gone(format!("function `{function}` was deleted before the call ran")),
        })
    }

    /// `None`: there is no such version.
    pub async fn version(
        &self,
        app: &AppName,
        function: &FunctionName,
        id: &VersionId,
    ) -> Result<Option<Arc<Version>>> {
        let key = (app.clone(), function.clone(), id.clone());
        if let Some(version) = self.versions.lock().expect("no holder panics").get(&key) {
            return Ok(Some(version.clone()));
        }
        let Some(version) = if_found(self.catalog.version(app, function, id).await)? else { return Ok(None) };
        let version = Arc::new(version);
        let mut versions = self.versions.lock().expect("no holder panics");
        if versions.len() >= KEPT_MAX {
            versions.clear();
        }
        versions.insert(key, version.clone());
        Ok(Some(version))
    }

    /// `None`: the function was deleted.
    pub async fn function(&self, app: &AppName, function: &FunctionName) -> Result<Option<Definition>> {
        let key = (app.clone(), function.clone());
        let now = self.deps.clock.monotonic();
        if let Some(seen) = self.functions.lock().expect("no holder panics").get(&key)
            && now.saturating_sub(seen.at) < FRESH
        {
            return Ok(seen.definition.clone());
        }
        let definition = match if_found(self.catalog.function(app, function).await)? {
            Some(function) => {
                let app_config =
                    if_found(self.catalog.app(app).await)?.map(|app| app.config).unwrap_or_default();
                Some(Definition { app_config: app_config.into(), function: function.into() })
            }
            None => None,
        };
        let mut functions = self.functions.lock().expect("no holder panics");
        if functions.len() >= KEPT_MAX {
            functions.clear();
        }
        functions.insert(key, CachedFunction { at: now, definition: definition.clone() });
        Ok(definition)
    }
}
