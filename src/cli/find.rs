//! From the way people name things to the things.

use super::args::{FunctionRef, Which};
use crate::catalog::Catalog;
use crate::error::{Code, Error, Result};
use crate::model::{AppName, Function, Route};
use crate::results::CallView;
use crate::results::call::{find, load};
use crate::results::list::{Filter, list};
use crate::seam::Seams;

/// A name without a slash is a function's name, else the route that lacks its slash, as Fn takes it.
pub async fn function(catalog: &Catalog, app: &AppName, which: &FunctionRef) -> Result<Function> {
    let name = match which {
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

pub async fn call(seams: &Seams, app: &AppName, which: Which) -> Result<CallView> {
    let id = match which {
        Which::Call(id) => return load(seams, app, id).await,
        Which::Newest => list(seams, app, &Filter { max: 1, ..Filter::default() }).await?,
    };
    id.calls.into_iter().next().ok_or_else(|| {
        Error::not_found(format!("app `{app}` has no calls"))
            .hint(format!("`afn call {app} ROUTE` makes one"))
    })
}

/// Without an app, each is looked into.
pub async fn call_anywhere(seams: &Seams, app: Option<&AppName>, which: Which) -> Result<CallView> {
    match (app, which) {
        (Some(app), call) => self::call(seams, app, call).await,
        (None, Which::Call(id)) => find(seams, id).await,
        (None, Which::Newest) => Err(Error::invalid("the newest call of which app?")
            .hint("put the app before it: `APP last`; of batches, `afn batch status last` takes the newest")),
    }
}
