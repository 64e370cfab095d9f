//! Persisted types that are read only with values that their writers may have written.

/// Reads the type as it is derived, with `#[serde(remote = "Self")]`, and refuses what its `check` refuses.
macro_rules! checked {
    ($($name:ident),+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let value = $name::deserialize(deserializer)?;
                value.check().map_err(serde::de::Error::custom)?;
                Ok(value)
            }
        }
    )+};
}

pub(crate) use checked;

/// Whether a field may be left out when it is written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An error unless a number lies within its limits.
pub(crate) fn within(what: &str, value: u64, limits: std::ops::RangeInclusive<u64>) -> Result<(), String> {
    match limits.contains(&value) {
        true => Ok(()),
        false => Err(format!("{what} {value} lies outside {} to {}", limits.start(), limits.end())),
    }
}
