//! Records with keys: names of the user's own, which no two records share. A key is the value of a field of each record, or
//! what a format says. A record without a key is a bad record, and so is the second one with the same key.

use async_trait::async_trait;

use super::key_set::KeySet;
use super::record_key::key_in;
use super::{BadRecord, Format, Kind, Origin, Source, SourceRecord, openai};
use crate::error::{Error, Result};
use crate::limits;

/// Where a record has its key.
enum KeyPlace {
    Field(String),
    /// In `custom_id`, beside the payload.
    OpenAi,
}

struct Keyed {
    records: Box<dyn Source>,
    field: Option<String>,
    /// `None` after an error, which ends the source.
    check: Option<KeyCheck>,
}

/// Reads the keys of records from this field. `name`: of the source, for errors.
pub fn keyed(records: Box<dyn Source>, field: &str, name: &str) -> Result<Box<dyn Source>> {
    let origin = records.origin();
    let kind = origin.format.parse::<Format>()?.kind;
    match kind {
        Kind::Jsonl | Kind::Json | Kind::Csv | Kind::Tsv | Kind::Parquet => {}
        Kind::OpenAi => {
            return Err(Error::invalid("`--format openai` takes keys from `custom_id`")
                .with_hint("leave out `--key`"));
        }
        Kind::Lines | Kind::Files | Kind::Objects | Kind::Array | Kind::Failures => {
            return Err(Error::invalid(format!(
                "`{name}` is read as `{kind}`, whose records have no field `{field}`"
            ))
            .with_hint("`--key` is for jsonl, json, csv, tsv and parquet"));
        }
    }
    if field.is_empty() || field.len() > limits::KEY_FIELD_BYTES_MAX {
        let most = limits::KEY_FIELD_BYTES_MAX;
        return Err(Error::invalid(format!("`--key` takes the name of a field, of 1 to {most} bytes")));
    }
    let place = KeyPlace::Field(field.to_owned());
    Ok(Box::new(Keyed { records, field: Some(field.to_owned()), check: Some(KeyCheck::new(place, name)) }))
}

/// Takes requests of OpenAI's batch files apart.
pub(super) fn openai_requests(records: Box<dyn Source>, name: &str) -> Box<dyn Source> {
    Box::new(Keyed { records, field: None, check: Some(KeyCheck::new(KeyPlace::OpenAi, name)) })
}

#[async_trait]
impl Source for Keyed {
    fn origin(&self) -> Origin {
        Origin { key: self.field.clone(), ..self.records.origin() }
    }

    fn notice(&self) -> Option<&str> {
        self.records.notice()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let items = self.records.next().await?;
        let Some(mut check) = self.check.take() else { return Ok(Vec::new()) };
        // Past some millions of keys this reads and writes a file.
        let checked = tokio::task::spawn_blocking(move || {
            let items = items.into_iter().map(|item| check.check(item)).collect::<Result<_>>();
            items.map(|items| (items, check))
        });
        let (items, check) =
            checked.await.map_err(|error| Error::internal(format!("reading keys ended: {error}")))??;
        self.check = Some(check);
        Ok(items)
    }
}

struct KeyCheck {
    place: KeyPlace,
    name: String,
    keys: KeySet,
}

impl KeyCheck {
    fn new(place: KeyPlace, name: &str) -> KeyCheck {
        KeyCheck { place, name: name.to_owned(), keys: KeySet::new() }
    }

    fn check(&mut self, mut item: SourceRecord) -> Result<SourceRecord> {
        if item.bad.is_some() {
            return Ok(item);
        }
        let failed = |error: std::io::Error| {
            Error::invalid(format!("the keys of `{}` cannot be kept: {error}", self.name)).with_hint(
                "past 4 million keys they take 64 bytes each in the folder for temporary files, TMPDIR",
            )
        };
        let payload = item.payload.to_bytes().map_err(failed)?;
        let found = match &self.place {
            KeyPlace::Field(field) => key_in(&payload, field),
            KeyPlace::OpenAi => openai::request(&payload).map(|request| {
                item.payload = payload.slice_ref(request.body.as_bytes()).into();
                item.headers.insert(openai::PATH_HEADER.to_owned(), request.path);
                request.custom_id
            }),
        };
        let reason = match found {
            Ok(key) => {
                let is_new = self.keys.insert(&key).map_err(failed)?;
                let reason = (!is_new).then(|| format!("an earlier record has the key `{key}` too"));
                item.key = Some(key);
                reason
            }
            Err(reason) => Some(reason),
        };
        item.bad = reason.map(|reason| {
            let (name, line, bytes) = (self.name.clone(), item.line, payload.len() as u64);
            Box::new(BadRecord { name, line, column: None, reason, bytes })
        });
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    type Shown = (Option<String>, String, Option<String>);

    async fn shown(mut source: Box<dyn Source>) -> Vec<Shown> {
        let mut shown = Vec::new();
        loop {
            let items = source.next().await.unwrap();
            if items.is_empty() {
                return shown;
            }
            shown.extend(items.into_iter().map(|item| {
                let payload = String::from_utf8(item.payload.to_bytes().unwrap().to_vec()).unwrap();
                (item.key, payload, item.bad.map(|bad| bad.to_string()))
            }));
        }
    }

    fn source(records: &'static str, kind: Kind) -> Box<dyn Source> {
        text(records, Format::plain(kind), "in")
    }

    #[tokio::test]
    async fn a_key_is_a_text_or_a_number_that_no_other_record_has() {
        let long = format!("{{\"id\":\"{}\"}}\n", "x".repeat(limits::KEY_BYTES_MAX + 1));
        let records = [
            r#"{"id":"a"}"#,
            r#"{"id":18446744073709551616,"x":1}"#,
            r#"{"x":{"id":"b"}}"#,
            r#"{"id":"\u0061"}"#,
            r#"[1]"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":""}"#,
            r#"{"id":1,"id":2}"#,
            r#"{"id":"1""#,
        ];
        let text: &'static str = Box::leak(format!("{}\n{long}", records.join("\n")).into_boxed_str());
        let source = keyed(source(text, Kind::Jsonl), "id", "in").unwrap();
        assert_eq!(source.origin().key.as_deref(), Some("id"));
        let shown = shown(source).await;
        let found = |index: usize| (shown[index].0.as_deref(), shown[index].2.as_deref());
        assert_eq!(found(0), (Some("a"), None));
        assert_eq!(found(1), (Some("18446744073709551616"), None));
        assert_eq!(found(2), (None, Some("in:3: it has no key `id`")));
        assert_eq!(found(3), (Some("a"), Some("in:4: an earlier record has the key `a` too")));
        assert_eq!(found(4), (None, Some("in:5: it has no fields, so no key `id`")));
        assert_eq!(found(5), (None, Some("in:6: it has no key `id`")));
        assert_eq!(found(6), (None, Some("in:7: its key `id` is neither a text nor a number")));
        assert_eq!(found(7), (None, Some("in:8: its key `id` is empty")));
        assert_eq!(found(8), (Some("2"), None));
        assert!(found(9).0.is_none() && found(9).1.unwrap().contains("not JSON"));
        assert_eq!(found(10).1, Some("in:11: its key `id` has 1025 bytes, the most is 1024"));
        assert!(
            records.iter().zip(&shown).take(9).all(|(record, shown)| *record == shown.1),
            "payloads are as they are"
        );
    }

    #[tokio::test]
    async fn tables_have_keys_and_lines_have_none() {
        let table = shown(keyed(source("id,x\n7,a\n8,b\n7,c\n", Kind::Csv), "id", "in").unwrap()).await;
        let keys: Vec<_> = table.iter().map(|(key, _, bad)| (key.as_deref(), bad.is_some())).collect();
        assert_eq!(keys, [(Some("7"), false), (Some("8"), false), (Some("7"), true)]);
        let refused = |kind, field| {
            keyed(source("a\n", kind), field, "in").err().map(|error| error.message().to_owned())
        };
        assert_eq!(
            refused(Kind::Lines, "id").as_deref(),
            Some("`in` is read as `lines`, whose records have no field `id`")
        );
        assert!(refused(Kind::Jsonl, "").is_some() && refused(Kind::OpenAi, "id").is_some());
    }

    #[tokio::test]
    async fn a_request_is_taken_apart() {
        let records = concat!(
            r#"{"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"n": 1.0}}"#,
            "\n",
            r#"{"custom_id":"r1","method":"POST","url":"/v1/x","body":{}}"#,
            "\n",
            r#"{"custom_id":"r2","method":"GET","url":"/v1/x","body":{}}"#,
        );
        let shown = shown(openai_requests(source(records, Kind::OpenAi), "in")).await;
        assert_eq!(shown[0], (Some("r1".to_owned()), r#"{"n": 1.0}"#.to_owned(), None));
        assert_eq!(shown[1].2.as_deref(), Some("in:2: an earlier record has the key `r1` too"));
        assert_eq!(shown[2].2.as_deref(), Some("in:3: its `method` is not POST"));
    }
}
