//! Versions: facts, each named by its own content.

use serde_json::Value;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::envelope::Envelope;
use crate::layout::{Fact as _, Key, fact};
use crate::model::{AppName, Digest, FunctionName, Source, Version, VersionId};
use crate::seam::{Created, StoreExt as _};

/// Hex digits of the content's digest in an id.
const DIGITS: usize = 12;

/// The label, `-`, twelve hex digits of the SHA-256 of what the version says, except its id and when it was made: so
/// the same content deployed again is the same version.
pub fn version_id(version: &Version) -> Result<VersionId> {
    let content = serde_json::to_value(Envelope::of(version)).expect("a version has string keys");
    id_of(&version.label, content)
}

fn id_of(label: &str, mut content: Value) -> Result<VersionId> {
    if let Value::Object(fields) = &mut content {
        fields.shift_remove("id");
        fields.shift_remove("created_at");
    }
    let digest = Digest::of(content.to_string().as_bytes());
    format!("{label}-{}", &digest.as_str()[..DIGITS]).parse()
}

fn another(key: &Key) -> Error {
    Error::internal(format!("object `{key}` holds another version than its name says"))
        .with_hint("give the function another `version:` in func.yaml and deploy again")
}

impl Catalog {
    /// Fails where the object is not the version that its name says: whoever may deploy can store any object.
    pub async fn version(
        &self,
        app: &AppName,
        function: &FunctionName,
        version: &VersionId,
    ) -> Result<Version> {
        let key = Version::key(&(app.clone(), function.clone(), version.clone()));
        let found = self.deps.store.find(&key, Version::BYTES_MAX).await;
        let found = found.map_err(|error| Error::from(error).context(format!("read `{key}`")))?;
        let body = found.map(|found| found.body).ok_or_else(|| {
            Error::not_found(format!("version `{version}` of function `{function}` not found in app `{app}`"))
        })?;
        let found: Version = fact::decode(&key, &body)?;
        // Of the object and not of what was read from it: a newer afn may have stored more.
        // It may hold what was skipped as it was read, and is no value: a number beyond all numbers, half a surrogate.
        let content = serde_json::from_slice(&body).map_err(|_| another(&key))?;
        match found.id == *version && id_of(&found.label, content).is_ok_and(|id| id == *version) {
            true => Ok(found),
            false => Err(another(&key)),
        }
    }

    /// Stores a version under the id that its content gives it. An existing one is the same but for its creation time, and
    /// is returned.
    pub async fn put_version(
        &self,
        app: &AppName,
        function: &FunctionName,
        mut version: Version,
    ) -> Result<Version> {
        version.id = version_id(&version)?;
        let id = (app.clone(), function.clone(), version.id.clone());
        let Created::Existing(existing) = self.deps.store.create_fact(&id, &version).await? else {
            return Ok(version);
        };
        match existing.is_same_content(&version) {
            true => Ok(existing),
            false => Err(another(&Version::key(&id))),
        }
    }

    /// An error if what a deploy has stored, or found, is gone: the app was deleted with its data meanwhile.
    pub(super) async fn check_stored(
        &self,
        app: &AppName,
        function: &FunctionName,
        version: &Version,
    ) -> Result<()> {
        let (store, id) = (&self.deps.store, (app.clone(), function.clone(), version.id.clone()));
        let is_stored = store.fact_exists::<Version>(&id).await?
            && match &version.source {
                Source::Archive { sha256, .. } => {
                    store.exists(&Key::Archive(app.clone(), sha256.clone())).await?
                }
                Source::Image { .. } => true,
            };
        match is_stored {
            true => Ok(()),
            false => Err(Error::conflict(format!(
                "app `{app}` was deleted with its data while function `{function}` was deployed"
            ))
            .with_hint("deploy it again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limits, Time};

    /// Another digest would make another version of everything that is deployed again.
    #[test]
    fn an_id_is_of_the_same_bytes_as_ever() {
        let source = Source::Image { reference: "f:1".to_owned(), digest: None };
        let version = Version::new("0.0.2", source, Limits::default(), Time(1)).unwrap();
        let content = concat!(
            r#"{"v":1,"label":"0.0.2","source":{"image":{"reference":"f:1","digest":null}},"os":null,"#,
            r#""arch":null,"runtime":null,"format":"default","command":[],"content_type":null,"#,
            r#""limits":{"timeout_ms":30000,"idle_timeout_ms":30000,"memory_mib":128,"cpu_millis":0,"#,
            r#""attempts_max":1,"retry_backoff_ms":1000,"network":false,"tmpfs_mib":0}}"#
        );
        let digest = Digest::of(content.as_bytes());
        assert_eq!(
            version_id(&version).unwrap().to_string(),
            format!("0.0.2-{}", &digest.as_str()[..DIGITS])
        );
    }
}
