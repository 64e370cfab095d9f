//! From the names on a command line to what they name in the store.

use super::batch::receipt::Receipts;
use super::options::FunctionArgs;
use super::parse::{FunctionRef, Reference};
use super::session::Session;
use crate::catalog::Catalog;
use crate::embedded::Engine;
use crate::error::{Code, Error, Result};
use crate::model::{AppName, BatchId, BatchRef, CallId, Function, Route};
use crate::results::CallView;
use crate::results::batch::{app_of, find_by_key};
use crate::results::call::{find, load};
use crate::results::list::{Filter, list};
use crate::seam::Deps;

/// A route is taken as it is: the submission looks it up anyway.
pub async fn route(catalog: &Catalog, named: &FunctionArgs) -> Result<Route> {
    match &named.function {
        FunctionRef::Route(route) => Ok(route.clone()),
        FunctionRef::Name(_) => Ok(function(catalog, named).await?.route),
    }
}

/// A name without a slash is a function's name, else the route without its slash, as in Fn.
pub async fn function(catalog: &Catalog, named: &FunctionArgs) -> Result<Function> {
    let app = &named.app;
    let name = match &named.function {
        FunctionRef::Route(route) => return catalog.resolve(app, route).await,
        FunctionRef::Name(name) => name,
    };
    let unknown = match catalog.function(app, name).await {
        Err(error) if error.code() == Code::NotFound => error,
        found => return found,
    };
    match catalog.resolve(app, &Route::lenient(name.as_str())?).await {
        Err(error) if error.code() == Code::NotFound => Err(unknown),
        found => found,
    }
}

/// Without an app, searches all apps.
pub async fn call(deps: &Deps, app: Option<&AppName>, call: Reference<CallId>) -> Result<CallView> {
    match (app, call) {
        (Some(app), Reference::Id(id)) => load(deps, app, id).await,
        (None, Reference::Id(id)) => find(deps, id).await,
        (Some(app), Reference::Newest) => {
            let newest = list(deps, app, &Filter { max: 1, ..Filter::default() }).await?;
            newest.calls.into_iter().next().ok_or_else(|| {
                Error::not_found(format!("app `{app}` has no calls"))
                    .with_hint(format!("`afn call {app} ROUTE` makes one"))
            })
        }
        (None, Reference::Newest) => Err(Error::invalid("the newest call of which app?").with_hint(
            "put the app before it: `APP last`; of batches, `afn batch status last` takes the newest",
        )),
    }
}

/// The call of the record that has this key in a batch.
pub async fn call_by_key(
    session: &Session,
    engine: &Engine,
    batch: Reference<BatchId>,
    key: &str,
) -> Result<CallView> {
    let batch = batch_in(session, engine, batch)?;
    let of = BatchRef { app: app_of(&engine.deps, batch).await?, batch };
    let number = find_by_key(&engine.deps, &of, key).await?;
    load(&engine.deps, &of.app, batch.call(number)).await
}

/// Opens the context, and finds the batch in it.
pub async fn batch(session: &Session, batch: Reference<BatchId>) -> Result<(Engine, BatchId)> {
    let engine = session.open().await?;
    let batch = batch_in(session, &engine, batch)?;
    Ok((engine, batch))
}

/// The newest batch is the newest that was submitted from this machine in this context.
pub fn batch_in(session: &Session, engine: &Engine, batch: Reference<BatchId>) -> Result<BatchId> {
    let context = engine.context.name.as_str();
    match batch {
        Reference::Id(batch) => Ok(batch),
        Reference::Newest => match Receipts::of(session)?.newest(context)? {
            Some(receipt) => Ok(receipt.batch),
            None => Err(Error::not_found(format!("no batch was submitted from here in context {context}"))
                .with_hint("`afn batch list APP` lists the batches of an app")),
        },
    }
}
