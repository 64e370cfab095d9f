//! The envelope of every persisted JSON body and of all metadata: the version `v` beside the body's own fields. It is written
//! and checked here alone. Persisted, keep stable: a field may be added when older readers may ignore it, anything else
//! raises the version: that of all bodies, or, where only some bodies of one kind have what older readers must not ignore,
//! that of these ([`Fact::version`](super::Fact::version)).

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The version that is written, and the greatest that is read, unless the kind of body says otherwise.
pub const VERSION: u32 = 1;

/// A body with its version in front.
#[derive(Serialize)]
pub struct Envelope<'a, T> {
    pub v: u32,
    #[serde(flatten)]
    pub body: &'a T,
}

impl<T: Serialize> Envelope<'_, T> {
    pub fn of(body: &T) -> Envelope<'_, T> {
        Envelope { v: VERSION, body }
    }
}

/// `what` names the object in errors, `version_max` is the greatest version that its kind has.
pub fn open<T: DeserializeOwned>(what: impl Display, json: &[u8], version_max: u32) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let unreadable = |error: serde_json::Error| {
        Error::internal(format!("{what} cannot be read: {error}"))
            .with_hint("it was not written by this program, or was changed since")
    };
    let Version { v } = serde_json::from_slice(json).map_err(unreadable)?;
    match v {
        0 => Err(Error::internal(format!("{what} cannot be read: there is no version 0"))),
        v if v <= version_max => serde_json::from_slice(json).map_err(unreadable),
        newer => Err(Error::internal(format!(
            "{what} has version {newer}, this afn reads versions up to {version_max}"
        ))
        .with_hint("a newer afn wrote it: upgrade this one")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Body {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        by_number: BTreeMap<u64, Vec<(u64, u64)>>,
    }

    /// What was written when each body had its own `v`, as the first of its fields.
    #[derive(Serialize)]
    struct Before {
        v: u32,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        by_number: BTreeMap<u64, Vec<(u64, u64)>>,
    }

    fn body() -> impl Strategy<Value = Body> {
        let pairs = proptest::collection::vec((any::<u64>(), any::<u64>()), 0..3);
        (".{0,12}", any::<Option<u64>>(), proptest::collection::btree_map(any::<u64>(), pairs, 0..3))
            .prop_map(|(name, count, by_number)| Body { name, count, by_number })
    }

    proptest! {
        #[test]
        fn reads_back_as_written_and_is_written_as_before(body in body()) {
            let json = serde_json::to_string_pretty(&Envelope::of(&body)).unwrap();
            prop_assert_eq!(open::<Body>("it", json.as_bytes(), VERSION).unwrap(), body.clone());
            let Body { name, count, by_number } = body;
            prop_assert_eq!(json, serde_json::to_string_pretty(&Before { v: 1, name, count, by_number }).unwrap());
        }

        #[test]
        fn a_newer_version_is_an_error_that_says_so(body in body(), newer in 2u32..) {
            let mut json = serde_json::to_value(Envelope::of(&body)).unwrap();
            json["v"] = newer.into();
            // Whatever else it holds by then.
            json["name"] = 7.into();
            let error = open::<Body>("object `k`", json.to_string().as_bytes(), VERSION).unwrap_err();
            let says = format!("object `k` has version {newer}, this afn reads versions up to 1");
            prop_assert_eq!(error.message(), says);
        }

        #[test]
        fn strange_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(open::<Body>("it", &bytes, VERSION).is_err());
        }
    }

    #[test]
    fn a_body_without_its_version_is_an_error() {
        for json in [r#"{"name":"x","by_number":{}}"#, r#"{"v":0,"name":"x","by_number":{}}"#, r#"{"v":"1"}"#]
        {
            let error = open::<Body>("object `k`", json.as_bytes(), VERSION).unwrap_err();
            assert!(error.message().starts_with("object `k` cannot be read: "), "{error}");
        }
    }
}
