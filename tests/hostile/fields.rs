//! Which fields and which values of enums the honest objects have, of all that their types declare to serde. What no honest
//! object has is never changed, so no reader ever meets it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use afn::layout::Key;
use afn::layout::batch::{
    Batch, Cancelled, Deleted, Dispatched, Fired, Mark, Pointer, Retry, Sealed, Summary,
};
use afn::layout::chunk::{ChunkFacts, InputFacts};
use afn::layout::control::{Control, Shares};
use afn::layout::footer::Footer;
use afn::layout::object::{
    IdempotencyKey, Reconciled, RouteTarget, Settings, Started, StoreIdentity, TaskPanic, Unsuited,
};
use afn::layout::part::Part;
use afn::layout::watermarks::Watermarks;
use afn::model::{App, AttemptFacts, CallFacts, Function, Outcome, Version};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

use crate::honest::{Honest, kind};
use crate::world::Object;

/// Names of types, each with a field or a variant.
type Names = BTreeSet<(&'static str, String)>;

#[derive(Default)]
pub struct Found {
    declared: Names,
    seen: Names,
}

/// Reads JSON, and notes what the types that are read declare.
struct Noting<'a> {
    value: Value,
    found: &'a RefCell<Found>,
}

/// Names that no honest object has, and why.
const EXCEPT: [(&str, &str); 5] = [
    // What an older afn wrote.
    ("AttemptHistory", "function_failures"),
    ("Started", "function_failures"),
    // The states of calls without an outcome.
    ("State", "delayed"),
    ("State", "queued"),
    ("State", "running"),
];

pub fn are_all_there(honest: &Honest) {
    let found = RefCell::new(Found::default());
    for object in &honest.objects {
        read(object, &found).unwrap_or_else(|error| panic!("`{}`: {error}", object.key));
    }
    let found = found.into_inner();
    let except = |(of, name): &&(&str, String)| !EXCEPT.contains(&(*of, name.as_str()));
    let missing: Vec<_> = found.declared.difference(&found.seen).filter(except).collect();
    assert!(found.declared.len() > 150, "only {:?}", found.declared);
    assert!(missing.is_empty(), "no honest object has {missing:?}");
    let (with_values, without) = columns(honest);
    let empty: Vec<_> = without.difference(&with_values).collect();
    assert!(with_values.len() > 30 && empty.is_empty(), "no honest table has a value of {empty:?}");
}

/// The columns of tables that have a value in some honest object, and those that have none in some.
fn columns(honest: &Honest) -> (Names, Names) {
    let mut columns = (Names::new(), Names::new());
    for object in &honest.objects {
        let kind = kind(&object.key).expect("an honest object has a kind");
        if !matches!(object.key, Key::Chunk(..) | Key::Part(..)) {
            continue;
        }
        let table = SerializedFileReader::new(object.body.clone()).expect("a table");
        for column in table.metadata().row_groups().iter().flat_map(|group| group.columns()) {
            let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
            let has_values = (nulls.unwrap_or(0) as i64) < column.num_values();
            let names = if has_values { &mut columns.0 } else { &mut columns.1 };
            names.insert((kind, column.column_path().string()));
        }
    }
    columns
}

/// Reads the body, and what lies beside it.
pub fn read(object: &Object, found: &RefCell<Found>) -> Result<(), Error> {
    if let Some(note) = &object.note {
        let note = note.as_bytes();
        match object.key {
            Key::Payload(..) => json::<CallFacts>(note, found)?,
            Key::Log(..) => json::<AttemptFacts>(note, found)?,
            Key::Chunk(..) => json::<ChunkFacts>(note, found)?,
            Key::Input(..) => json::<InputFacts>(note, found)?,
            ref key => panic!("`{key}` has metadata {note:?} that nothing here reads"),
        }
    }
    let body = &object.body;
    match &object.key {
        Key::App(..) => json::<App>(body, found),
        Key::Route(..) => json::<RouteTarget>(body, found),
        Key::Function(..) => json::<Function>(body, found),
        Key::Version(..) => json::<Version>(body, found),
        Key::Idempotency(..) => json::<IdempotencyKey>(body, found),
        Key::Started(..) => json::<Started>(body, found),
        Key::Unsuited(..) | Key::BatchUnsuited(..) => json::<Unsuited>(body, found),
        Key::Status(..) => json::<Outcome>(body, found),
        Key::Pointer(..) => json::<Pointer>(body, found),
        Key::Batch(..) => json::<Batch>(body, found),
        Key::Sealed(..) => json::<Sealed>(body, found),
        Key::Mark(..) => json::<Mark>(body, found),
        Key::Dispatched(..) => json::<Dispatched>(body, found),
        Key::Cancelled(..) => json::<Cancelled>(body, found),
        Key::Summary(..) => json::<Summary>(body, found),
        Key::Retry(..) => json::<Retry>(body, found),
        Key::Fired(..) => json::<Fired>(body, found),
        Key::Control(..) => json::<Control>(body, found),
        Key::Shares(..) => json::<Shares>(body, found),
        Key::Deleted(..) => json::<Deleted>(body, found),
        Key::Settings => json::<Settings>(body, found),
        Key::Store => json::<StoreIdentity>(body, found),
        Key::Reconciled(..) => json::<Reconciled>(body, found),
        Key::Watermarks(..) => json::<Watermarks>(body, found),
        Key::Panic(..) => json::<TaskPanic>(body, found),
        Key::Part(..) => {
            let footer = Part::open(&object.key, body.clone()).and_then(|part| part.footer());
            json::<Footer>(footer.map_err(serde::de::Error::custom)?.encode().as_bytes(), found)
        }
        Key::Archive(..) | Key::Payload(..) | Key::Void(..) | Key::Result(..) | Key::Log(..) => Ok(()),
        Key::Chunk(..) | Key::Input(..) | Key::BatchResult(..) | Key::MarkVoid(..) => Ok(()),
        Key::Probe(..) | Key::Text(..) => Ok(()),
    }
}

fn json<'de, T: Deserialize<'de>>(json: &[u8], found: &RefCell<Found>) -> Result<(), Error> {
    T::deserialize(Noting { value: serde_json::from_slice(json)?, found }).map(drop)
}

impl<'a> IntoDeserializer<'_, Error> for Noting<'a> {
    type Deserializer = Noting<'a>;

    fn into_deserializer(self) -> Noting<'a> {
        self
    }
}

impl<'de> Deserializer<'de> for Noting<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let found = self.found;
        let noting = |value| Noting { value, found };
        match self.value {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(noting))),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, noting(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        of: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut found = self.found.borrow_mut();
        found.declared.extend(fields.iter().map(|field| (of, (*field).to_owned())));
        let members = self.value.as_object().into_iter().flatten();
        found.seen.extend(members.filter(|(_, value)| !value.is_null()).map(|(name, _)| (of, name.clone())));
        drop(found);
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        of: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let found = self.found;
        let mut names = found.borrow_mut();
        names.declared.extend(variants.iter().map(|variant| (of, (*variant).to_owned())));
        let members = self.value.as_object().into_iter().flatten();
        names.seen.extend(members.map(|(name, _)| (of, name.clone())));
        names.seen.extend(self.value.as_str().map(|name| (of, name.to_owned())));
        drop(names);
        match self.value {
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, Noting { value, found }));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(members)))
            }
            plain => plain.deserialize_enum(of, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}
