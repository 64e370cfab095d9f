//! JSON as it is written: the members of an object, each value a piece of its text. A parser would round numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};

/// A member of a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    pub name: String,
    /// The value as it is written: valid JSON.
    pub json: &'a str,
}

/// The members of a body that is a JSON object, in order. Of members with the same name the last value counts.
pub fn members(body: &[u8]) -> Option<Vec<Member<'_>>> {
    // A cheap check first: most results that are not objects do not begin as one.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let text = std::str::from_utf8(body).ok().filter(|text| is_json(text))?;
    let mut rest = text.trim_ascii_start().strip_prefix('{')?.trim_ascii_start();
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    while !rest.starts_with('}') {
        let (name, after) = first::<String>(rest)?;
        let value = after.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        let (_, after) = first::<IgnoredAny>(value)?;
        let json = &value[..value.len() - after.len()];
        let place = *places.entry(name.clone()).or_insert(members.len());
        match members.get_mut(place) {
            Some(member) => member.json = json,
            None => members.push(Member { name, json }),
        }
        rest = after.trim_ascii_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_ascii_start);
    }
    Some(members)
}

/// The first value of a text, and what follows it.
fn first<T: DeserializeOwned>(text: &str) -> Option<(T, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}

/// Whether a text is one JSON document that every reader takes. Half of a surrogate pair in an escape is JSON by its grammar, but
/// no character, and many readers refuse it.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok() && has_whole_surrogates(text)
}

/// Whether each escape of a high surrogate is followed by one of a low surrogate, and none stands alone.
fn has_whole_surrogates(json: &str) -> bool {
    let mut rest = json;
    let mut high = false;
    while let Some(at) = rest.find('\\') {
        let unit = rest[at + 1..].strip_prefix('u').and_then(|digits| digits.get(..4));
        let unit = unit.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let is_low = unit.is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
        if is_low != (high && at == 0) {
            return false;
        }
        high = unit.is_some_and(|unit| (0xd800..0xdc00).contains(&unit));
        rest = match unit {
            Some(_) => &rest[at + 6..],
            // The escaped character is one of ASCII.
            None => rest.get(at + 2..).unwrap_or_default(),
        };
        if high && !rest.starts_with('\\') {
            return false;
        }
    }
    !high
}

/// JSON on one line. Line ends are white space here: in its strings JSON has none.
pub fn one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.split(['\n', '\r']).collect::<Vec<_>>().join(" ").into(),
        false => json.into(),
    }
}

/// A value as text: a string without its quotes, every other value as it is written, on one line.
pub fn text(json: &str) -> Cow<'_, str> {
    match json.starts_with('"').then(|| serde_json::from_str(json)) {
        Some(Ok(text)) => Cow::Owned(text),
        _ => one_line(json),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn pairs(body: &str) -> Option<Vec<(String, &str)>> {
        let members = members(body.as_bytes())?;
        Some(members.into_iter().map(|member| (member.name, member.json)).collect())
    }

    #[test]
    fn values_are_as_they_are_written() {
        let body = " {\"a\":1e400 , \"b\\n\" : -0,\r\n\"c\":[1, {\"d\":\"}\"}],\"\":\"x\\\\\",\"a\":0.10}\n";
        let expected = [("a", "0.10"), ("b\n", "-0"), ("c", "[1, {\"d\":\"}\"}]"), ("", "\"x\\\\\"")];
        assert_eq!(pairs(body), Some(expected.map(|(name, json)| (name.to_owned(), json)).into()));
        assert_eq!(pairs("{ }"), Some(Vec::new()));
        for other in ["[1]", "{\"a\":1", "{\"a\":1} 2", "{a:1}", "", "7", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(pairs(other), None, "{other}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(pairs(&deep).map(|pairs| pairs[0].1.len()), Some(200_000));
    }

    #[test]
    fn half_a_surrogate_pair_is_no_character() {
        for whole in [r#""""#, r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u0041\\""#, r#"{"\uD83D\uDE00":1}"#]
        {
            assert!(is_json(whole), "{whole}");
        }
        for half in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83dx\ude00""#,
            r#""\ud83d\n""#,
            r#""\ud83d\ud83d\ude00""#,
            r#"{"\udfff":1}"#,
        ] {
            assert!(!is_json(half), "{half}");
        }
    }

    proptest! {
        #[test]
        fn members_are_those_of_a_parser(text in "\\{([\"a\\\\u\\{\\}:,0-9 \\[\\]-]|\"a\":|\"b\" : 1,){0,12}\\}") {
            let parsed = serde_json::from_str::<Map<String, Value>>(&text).ok();
            if let Some(parsed) = parsed {
                let split = pairs(&text).expect("an object");
                let again = split.iter().map(|(name, json)| (name.clone(), serde_json::from_str(json).unwrap()));
                prop_assert_eq!(again.collect::<Map<_, _>>(), parsed);
            }
        }

        #[test]
        fn surrogates_are_judged_as_by_a_parser(
            text in "(a|\\\\\\\\|\\\\n|\\\\u[dD][89abcdefABCDEF]00|\\\\u0041){0,8}"
        ) {
            let json = format!("\"{text}\"");
            prop_assert_eq!(is_json(&json), serde_json::from_str::<String>(&json).is_ok());
        }
    }
}
