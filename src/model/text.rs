//! Types that are written as text. Their JSON is the text that `Display` writes and `FromStr` reads.

/// JSON of types that have `Display` and `FromStr`.
macro_rules! text_json {
    ($($name:ident),+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

/// Texts that a check accepts. Cheap to clone.
macro_rules! text_types {
    ($($(#[$attribute:meta])* $name:ident: $check:expr;)+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<$name> {
                let check: fn(&str) -> $crate::error::Result<()> = $check;
                check(text)?;
                Ok($name(text.into()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        $crate::model::text::text_json!($name);
    )+};
}

/// The words of an enum's values.
macro_rules! words {
    ($name:ident, $what:literal: $($variant:ident = $word:literal),+) => {
        impl $name {
            pub const ALL: [$name; [$($word),+].len()] = [$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<$name> {
                $name::ALL.into_iter().find(|value| value.as_str() == text).ok_or_else(|| {
                    let known = $name::ALL.map($name::as_str).join(", ");
                    $crate::error::Error::invalid(format!("{} `{text}` is unknown", $what))
                        .with_hint(format!("known: {known}"))
                })
            }
        }
    };
}

pub(crate) use {text_json, text_types, words};

/// `#` for every number, as `line 17: -0.21` and `line 4: -0.5` have the same reason.
pub fn fold_digits(reason: &str) -> String {
    fold_numbers(reason, |_, _| false)
}

/// `#` for every number that is not to be kept, by its place among the numbers and as it is written.
pub fn fold_numbers(reason: &str, mut keep: impl FnMut(usize, &str) -> bool) -> String {
    let mut folded = String::with_capacity(reason.len());
    let (mut rest, mut count) = (reason, 0);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let end =
            number.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_')).unwrap_or(number.len());
        folded.push_str(before);
        folded.push_str(if keep(count, &number[..end]) { &number[..end] } else { "#" });
        (rest, count) = (&number[end..], count + 1);
    }
    folded.push_str(rest);
    folded
}
