//! Routes: which function a path leads to.
//!
//! A route's object alone does not make a route: the function it names must say the same of its route. So an object
//! that is left behind, by a deploy that was cut off or that gave the function another route, leads nowhere, and whoever
//! wants the route takes it over. A deploy claims the route, writes the function and then writes the route again, if only
//! with a fresh nonce: whoever judged the claim as left behind, before the function was there, no longer finds the ETag
//! that its own claim rests on.

use super::definition::{Created, Standing};
use super::{BODY_VERSION, Catalog};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::layout::object::RouteTarget;
use crate::model::nearest::nearest;
use crate::model::{AppName, Function, FunctionName, Route};

impl Catalog {
    /// The function that a route leads to.
    pub async fn resolve(&self, app: &AppName, route: &Route) -> Result<Function> {
        let key = Key::Route(app.clone(), route.clone()).to_string();
        if let Some(Standing { body: RouteTarget { function, .. }, .. }) = self.read(&key).await?
            && let Some(function) = self.find_function(app, &function).await?
            && function.route == *route
        {
            return Ok(function);
        }
        Err(self.no_route(app, route).await?)
    }

    /// Whether `function` could have the route: an error says that it leads to another one.
    pub async fn check_route(&self, app: &AppName, route: &Route, function: &FunctionName) -> Result<()> {
        match self.read::<RouteTarget>(&Key::Route(app.clone(), route.clone()).to_string()).await? {
            Some(standing) => self.refuse_taken(app, route, function, &standing.body.function).await,
            None => Ok(()),
        }
    }

    /// Makes the route lead to `function`, unless it leads to another one.
    pub(super) async fn claim_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
    ) -> Result<()> {
        let key = Key::Route(app.clone(), route.clone()).to_string();
        let mut target =
            RouteTarget { v: BODY_VERSION, function: function.clone(), nonce: self.seams.nonce() };
        let Created::Other(standing) = self.create(&key, &target).await? else { return Ok(()) };
        if standing.body.function == *function {
            return Ok(());
        }
        self.refuse_taken(app, route, function, &standing.body.function).await?;
        if self.replace(&key, &mut target, standing.etag).await? {
            return Ok(());
        }
        match self.read::<RouteTarget>(&key).await? {
            Some(standing) if standing.body.function == *function => Ok(()),
            Some(standing) => Err(taken(app, route, &standing.body.function)),
            None => Err(deleted(route)),
        }
    }

    async fn refuse_taken(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
        other: &FunctionName,
    ) -> Result<()> {
        if other == function {
            return Ok(());
        }
        match self.find_function(app, other).await? {
            Some(found) if found.route == *route => Err(taken(app, route, other)),
            _ => Ok(()),
        }
    }

    /// After the function said that this is its route: makes sure that the route says so too, from now on.
    pub(super) async fn hold_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
    ) -> Result<()> {
        let key = Key::Route(app.clone(), route.clone()).to_string();
        let held = self.change(&key, |target: &mut RouteTarget| {
            if target.function == *function { Ok(()) } else { Err(taken(app, route, &target.function)) }
        });
        match held.await? {
            Some(_) => Ok(()),
            None => Err(deleted(route)),
        }
    }

    /// Deletes a route that leads to `function`; one that leads elsewhere by now is left alone.
    pub(super) async fn delete_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
    ) -> Result<()> {
        let key = Key::Route(app.clone(), route.clone()).to_string();
        match self.read::<RouteTarget>(&key).await? {
            Some(standing) if standing.body.function == *function => self.remove(key).await,
            _ => Ok(()),
        }
    }

    async fn no_route(&self, app: &AppName, route: &Route) -> Result<Error> {
        const NAMED_MAX: usize = 5;
        self.app(app).await?;
        let functions = self.existing_functions(app).await?;
        let error = Error::not_found(format!("route `{route}` not found in app `{app}`"));
        let routes: Vec<&str> = functions.iter().map(|function| function.route.as_str()).collect();
        let named =
            routes.iter().take(NAMED_MAX).map(|route| format!("`{route}`")).collect::<Vec<_>>().join(", ");
        Ok(match nearest(route.as_str(), routes.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`? `afn list functions {app}` shows all")),
            None if routes.is_empty() => {
                error.hint(format!("the app has no functions yet; `afn deploy --local --app {app}` adds one"))
            }
            None if routes.len() <= NAMED_MAX => error.hint(format!("the app has {named}")),
            None => error.hint(format!("the app has {named} and more: `afn list functions {app}`")),
        })
    }
}

fn taken(app: &AppName, route: &Route, function: &FunctionName) -> Error {
    Error::conflict(format!("route `{route}` of app `{app}` leads to function `{function}`")).hint(format!(
        "give this one another `path:` in func.yaml, or `afn delete function {app} {function}` first"
    ))
}

fn deleted(route: &Route) -> Error {
    Error::conflict(format!("route `{route}` was deleted while it was deployed")).hint("deploy it again")
}
