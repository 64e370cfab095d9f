//! How the catalog's definitions are changed, and what is said when others change them all the time.

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::Definition;
use crate::limits;
use crate::seam::{Changed, Created, StoreExt as _};

impl Catalog {
    pub(super) async fn create<T: Definition>(&self, id: &T::Id, body: &T) -> Result<Created<T>> {
        match self.deps.store.create_fact(id, body).await? {
            // An earlier try of this write, whose answer was lost.
            Created::Existing(current) if current.nonce() == body.nonce() => Ok(Created::New),
            created => Ok(created),
        }
    }

    /// Applies `change` to the current definition and writes it. `None` without a definition. `change` may be applied more than
    /// once: it must set values, not add to them.
    pub(super) async fn change<T: Definition>(
        &self,
        id: &T::Id,
        change: impl Fn(&mut T) -> Result<()>,
    ) -> Result<Option<T>> {
        let changed = self.deps.change(id, |current: Option<T>| {
            current.map(|mut body| change(&mut body).map(|()| body)).transpose()
        });
        match changed.await? {
            Changed::Written(body) => Ok(Some(body)),
            Changed::Unchanged => Ok(None),
            Changed::Contended => Err(Error::conflict(format!(
                "`{}` was changed by others {} times in a row while this change was tried",
                T::key(id),
                limits::DEFINITION_TRIES_MAX
            ))
            .with_hint("try again when no other deploy or change is running")),
        }
    }

    pub(super) async fn remove<T: Definition>(&self, id: &T::Id) -> Result<()> {
        Ok(self.deps.store.delete(&[T::key(id)]).await?)
    }
}
