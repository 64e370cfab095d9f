//! Routes: which function a path leads to.
//!
//! A route's object alone does not make a route: the function that it names must have this route. An object that is left
//! behind, by a deploy that was interrupted or that gave the function another route, leads nowhere, and another function
//! may take the route. A deploy claims the route, writes the function and then writes the route again with a fresh nonce:
//! a rival that saw the claim before the function was there no longer finds the ETag that its own claim needs.

use super::functions::no_functions;
use super::{Catalog, suggest};
use crate::error::{Error, Result};
use crate::layout::object::RouteTarget;
use crate::model::{AppName, Function, FunctionName, Route};
use crate::seam::{Created, StoreExt as _};

impl Catalog {
    /// The function that a route leads to.
    pub async fn resolve(&self, app: &AppName, route: &Route) -> Result<Function> {
        let target: Option<RouteTarget> = self.deps.store.find_fact(&(app.clone(), route.clone())).await?;
        if let Some(RouteTarget { function, .. }) = target
            && let Some(function) = self.find_function(app, &function).await?
            && function.route == *route
        {
            return Ok(function);
        }
        Err(self.no_route(app, route).await?)
    }

    /// An error if the route leads to another function.
    pub async fn check_route(&self, app: &AppName, route: &Route, function: &FunctionName) -> Result<()> {
        match self.deps.store.find_fact::<RouteTarget>(&(app.clone(), route.clone())).await? {
            Some(current) => self.refuse_taken(app, route, function, &current.function).await,
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
        let id = (app.clone(), route.clone());
        let target = RouteTarget { function: function.clone(), nonce: self.deps.nonce() };
        let Created::Existing(current) = self.create(&id, &target).await? else {
            return Ok(());
        };
        if current.function == *function {
            return Ok(());
        }
        self.refuse_taken(app, route, function, &current.function).await?;
        self.take_over_route(app, route, function, &current).await
    }

    /// Makes a route lead to `function` that was found left behind, and is as it was.
    pub(super) async fn take_over_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
        found: &RouteTarget,
    ) -> Result<()> {
        let id = (app.clone(), route.clone());
        let taken_over = self.change(&id, |target: &mut RouteTarget| {
            if target.function != *function && target.nonce != found.nonce {
                return Err(taken(app, route, &target.function));
            }
            target.function = function.clone();
            Ok(())
        });
        match taken_over.await? {
            Some(_) => Ok(()),
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

    /// Confirms the route after the function was written with it.
    pub(super) async fn hold_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
    ) -> Result<()> {
        let id = (app.clone(), route.clone());
        let held = self.change(&id, |target: &mut RouteTarget| {
            if target.function == *function { Ok(()) } else { Err(taken(app, route, &target.function)) }
        });
        match held.await? {
            Some(_) => Ok(()),
            None => Err(deleted(route)),
        }
    }

    /// Deletes a route that leads to `function`. A route that leads to another function by now stays.
    pub(super) async fn delete_route(
        &self,
        app: &AppName,
        route: &Route,
        function: &FunctionName,
    ) -> Result<()> {
        let id = (app.clone(), route.clone());
        match self.deps.store.find_fact::<RouteTarget>(&id).await? {
            Some(current) if current.function == *function => self.remove::<RouteTarget>(&id).await,
            _ => Ok(()),
        }
    }

    async fn no_route(&self, app: &AppName, route: &Route) -> Result<Error> {
        const NAMED_MAX: usize = 5;
        self.app(app).await?;
        let functions = self.existing_functions(app).await?;
        let error = Error::not_found(format!("route `{route}` not found in app `{app}`"));
        let routes: Vec<&str> = functions.iter().map(|function| function.route.as_str()).collect();
        let named: Vec<String> = routes.iter().take(NAMED_MAX).map(|route| format!("`{route}`")).collect();
        let command = format!("afn list functions {app}");
        let more = if routes.len() > NAMED_MAX { format!(" and more: `{command}`") } else { String::new() };
        let others = format!("the app has {}{more}", named.join(", "));
        Ok(suggest(error, route.as_str(), &routes, &command, &no_functions(app), &others))
    }
}

fn taken(app: &AppName, route: &Route, function: &FunctionName) -> Error {
    Error::conflict(format!("route `{route}` of app `{app}` leads to function `{function}`")).with_hint(
        format!(
            "give this one another `path:` in func.yaml, or `afn delete function {app} {function}` first"
        ),
    )
}

fn deleted(route: &Route) -> Error {
    Error::conflict(format!("route `{route}` was deleted while it was deployed")).with_hint("deploy it again")
}
