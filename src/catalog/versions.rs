//! Versions: facts, each named by its own content.

use serde_json::Value;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::{Key, object};
use crate::model::{AppName, Digest, FunctionName, Version, VersionId};
use crate::seam::store::PutObject;
use crate::seam::{StoreError, StoreExt as _};

/// Hex digits of the content's digest in an id.
const DIGITS: usize = 12;

/// The label, `-`, twelve hex digits of the SHA-256 of what the version says, except its id and when it was made: so
/// the same content deployed again is the same version.
pub fn version_id(version: &Version) -> Result<VersionId> {
    let mut content = serde_json::to_value(version).expect("a version has string keys");
    if let Value::Object(fields) = &mut content {
        fields.shift_remove("id");
        fields.shift_remove("created_at");
    }
    let digest = Digest::of(content.to_string().as_bytes());
    format!("{}-{}", version.label, &digest.as_str()[..DIGITS]).parse()
}

impl Catalog {
    pub async fn version(
        &self,
        app: &AppName,
        function: &FunctionName,
        version: &VersionId,
    ) -> Result<Version> {
        let key = Key::Version(app.clone(), function.clone(), version.clone()).to_string();
        match self.seams.store.find(&key).await? {
            Some(found) => object::decode(&key, &found.body),
            None => Err(Error::not_found(format!(
                "version `{version}` of function `{function}` not found in app `{app}`"
            ))),
        }
    }

    /// Stores a version under the id that its content gives it. One that stands already is the same, but for when it
    /// was made; what stands is answered.
    pub async fn put_version(
        &self,
        app: &AppName,
        function: &FunctionName,
        mut version: Version,
    ) -> Result<Version> {
        version.id = version_id(&version)?;
        let key = Key::Version(app.clone(), function.clone(), version.id.clone()).to_string();
        let put = PutObject::create(object::encode(&version)).content_type("application/json");
        match self.seams.store.put(&key, put).await {
            Ok(_) => return Ok(version),
            Err(StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let standing = self.version(app, function, &version.id).await?;
        if (Version { created_at: version.created_at, ..standing.clone() }) == version {
            Ok(standing)
        } else {
            Err(Error::internal(format!("object `{key}` is another version than its name says"))
                .hint("give the function another `version:` in func.yaml and deploy again"))
        }
    }
}
