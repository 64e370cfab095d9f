//! The schema of a Parquet file as a tree by which rows are put together. Lists and maps are recognised in the forms that
//! the format allows, those of old writers too.

use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{SchemaDescriptor, Type};

/// `def`: the definition level from which on the value is there, and not null.
pub(super) enum Node {
    Leaf { column: usize },
    Struct { def: i16, columns: Range<usize>, fields: Vec<Field> },
    List { list: Repeated, element: Box<Node> },
    Map { list: Repeated, key: Box<Node>, value: Option<Box<Node>> },
}

pub(super) struct Field {
    /// `"name":`
    pub(super) key: Vec<u8>,
    pub(super) node: Node,
}

pub(super) struct Repeated {
    pub(super) def: i16,
    /// The definition level from which on there is an element.
    pub(super) element_def: i16,
    /// The repetition level of an element that is not the first.
    pub(super) rep: i16,
    pub(super) columns: Range<usize>,
}

/// Groups within groups.
const DEPTH_MAX: usize = 64;

impl Node {
    pub(super) fn root(schema: &SchemaDescriptor) -> Result<Node> {
        let mut tree = Tree { columns: 0 };
        let fields = tree.fields(schema.root_schema(), Levels { def: 0, rep: 0, depth: 0 })?;
        Ok(Node::Struct { def: 0, columns: 0..tree.columns, fields })
    }
}

/// Counts the columns: they are the leaves, in order.
struct Tree {
    columns: usize,
}

#[derive(Clone, Copy)]
struct Levels {
    def: i16,
    rep: i16,
    depth: usize,
}

impl Levels {
    fn of(self, node: &Type) -> Levels {
        let info = node.get_basic_info();
        let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
        let (def, rep) = match repetition {
            Repetition::REQUIRED => (0, 0),
            Repetition::OPTIONAL => (1, 0),
            Repetition::REPEATED => (1, 1),
        };
        Levels { def: self.def + def, rep: self.rep + rep, depth: self.depth + 1 }
    }
}

impl Tree {
    fn fields(&mut self, group: &Type, outer: Levels) -> Result<Vec<Field>> {
        let fields = group.get_fields().iter().map(|field| {
            let mut key = serde_json::to_vec(field.name()).expect("a string is JSON and a Vec takes it");
            key.push(b':');
            Ok(Field { key, node: self.field(field, outer)? })
        });
        fields.collect()
    }

    /// A field with its own repetition.
    fn field(&mut self, field: &Type, outer: Levels) -> Result<Node> {
        let levels = outer.of(field);
        if !is_repeated(field) {
            return self.value(field, levels);
        }
        // Repeated without being called a list: never null.
        let first = self.columns;
        let element = Box::new(self.value(field, levels)?);
        Ok(Node::List { list: self.repeated(outer.def, levels, first), element })
    }

    /// What a field has for a value, at the levels where the value is there.
    fn value(&mut self, field: &Type, levels: Levels) -> Result<Node> {
        if levels.depth > DEPTH_MAX {
            return Err(ParquetError::General(format!("its schema is deeper than {DEPTH_MAX} groups")));
        }
        let first = self.columns;
        if field.is_primitive() {
            self.columns += 1;
            return Ok(Node::Leaf { column: first });
        }
        let inner = match field.get_fields() {
            [inner] if is_repeated(inner) => Some(inner),
            _ => None,
        };
        if let Some(inner) = inner {
            let inside = levels.of(inner);
            if is_list(field) {
                let element = Box::new(self.element(field, inner, inside)?);
                return Ok(Node::List { list: self.repeated(levels.def, inside, first), element });
            }
            if is_map(field)
                && let [key, rest @ ..] = entries(inner)
                && rest.len() <= 1
            {
                let key = Box::new(self.field(key, inside)?);
                let value = rest.first().map(|value| self.field(value, inside).map(Box::new)).transpose()?;
                return Ok(Node::Map { list: self.repeated(levels.def, inside, first), key, value });
            }
        }
        let fields = self.fields(field, levels)?;
        Ok(Node::Struct { def: levels.def, columns: first..self.columns, fields })
    }

    /// The element of a list: what the repeated group has in it, or with old writers the group itself.
    fn element(&mut self, list: &Type, repeated: &Type, inside: Levels) -> Result<Node> {
        match entries(repeated) {
            [element]
                if !is_repeated(element)
                    && repeated.name() != "array"
                    && repeated.name() != format!("{}_tuple", list.name()) =>
            {
                self.field(element, inside)
            }
            _ => self.value(repeated, inside),
        }
    }

    fn repeated(&self, def: i16, inside: Levels, first: usize) -> Repeated {
        Repeated { def, element_def: inside.def, rep: inside.rep, columns: first..self.columns }
    }
}

fn entries(group: &Type) -> &[parquet::schema::types::TypePtr] {
    if group.is_group() { group.get_fields() } else { &[] }
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

fn is_list(group: &Type) -> bool {
    let info = group.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::List) || info.converted_type() == ConvertedType::LIST
}

fn is_map(group: &Type) -> bool {
    let info = group.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Map)
        || matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
}
