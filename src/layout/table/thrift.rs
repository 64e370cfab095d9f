//! Thrift's compact protocol, as far as Parquet has it, and the shapes of Parquet's structures. The library takes a field that it
//! knows for what it should be, whatever its kind: one of another kind makes it read what follows as something else, up to lists
//! that have more elements than bytes.

use std::ops::RangeInclusive;

use crate::limits;

/// Structures within one another in a footer.
const DEPTH_MAX: u32 = 16;

/// Kinds of values in Thrift's compact protocol, as far as Parquet has them.
const STOP: u8 = 0;
const BOOLEANS: RangeInclusive<u8> = 1..=2;
const BYTE: u8 = 3;
const INTEGERS: RangeInclusive<u8> = 4..=6;
pub(super) const I32: u8 = 5;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// What is left of bytes in Thrift's compact protocol. `None` where they end early or say what no writer of ours does.
pub(super) struct Compact<'a>(pub &'a [u8]);

impl<'a> Compact<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A count or size.
    pub fn count(&mut self) -> Option<usize> {
        let zigzag = self.varint()?;
        (zigzag & 1 == 0).then(|| usize::try_from(zigzag >> 1).ok()).flatten()
    }

    /// The kind of the next field of a structure, whose number is put into `field`. Numbers ascend, so none comes twice.
    fn field(&mut self, field: &mut u64) -> Option<u8> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        if kind == STOP {
            return (head == 0).then_some(STOP);
        }
        let next = match u64::from(head >> 4) {
            0 => self.count()? as u64,
            step => *field + step,
        };
        let ascends = next > *field && next <= i16::MAX as u64;
        *field = next;
        ascends.then_some(kind)
    }

    /// Kind and number of a list's elements, each of which takes a byte at the least.
    pub fn list(&mut self, count_max: usize) -> Option<(u8, usize)> {
        let head = self.byte()?;
        let count = match usize::from(head >> 4) {
            15 => usize::try_from(self.varint()?).ok()?,
            count => count,
        };
        (count <= count_max.min(self.0.len())).then_some((head & 0x0f, count))
    }

    pub fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            kind if BOOLEANS.contains(&kind) => Some(()),
            BYTE => self.take(1).map(drop),
            kind if INTEGERS.contains(&kind) => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                self.take(bytes).map(drop)
            }
            LIST => {
                let (kind, count) = self.list(limits::TABLE_ROWS_MAX)?;
                let is_sized = !BOOLEANS.contains(&kind);
                (0..count).try_for_each(|_| is_sized.then(|| self.skip(kind, depth + 1)).flatten())
            }
            STRUCT if depth < DEPTH_MAX => self.fields(|compact, kind, _| compact.skip(kind, depth + 1)),
            _ => None,
        }
    }

    /// Reads past a value that has this shape.
    pub fn value(&mut self, kind: u8, shape: &Shape, depth: u32) -> Option<()> {
        let fits = match shape {
            Shape::Boolean => BOOLEANS.contains(&kind),
            Shape::Byte => kind == BYTE,
            Shape::Integer => INTEGERS.contains(&kind),
            Shape::Double => kind == DOUBLE,
            Shape::Binary => kind == BINARY,
            Shape::List(_) => kind == LIST,
            Shape::Struct(_) => kind == STRUCT && depth < DEPTH_MAX,
        };
        match shape {
            _ if !fits => None,
            Shape::List(element) => {
                let (kind, count) = self.list(limits::TABLE_ROWS_MAX)?;
                (0..count).try_for_each(|_| self.value(kind, element, depth + 1))
            }
            Shape::Struct(known) => {
                self.fields(|compact, kind, field| compact.field_value(kind, field, known, depth))
            }
            _ => self.skip(kind, depth),
        }
    }

    /// Reads past a field of a structure. One that is not known may be anything.
    pub fn field_value(&mut self, kind: u8, field: u64, known: &[Field], depth: u32) -> Option<()> {
        match known.iter().find(|(number, _)| *number == field) {
            Some((_, shape)) => self.value(kind, shape, depth + 1),
            None => self.skip(kind, depth + 1),
        }
    }

    /// Reads a structure: `read` is given the kind and the number of each field.
    pub fn fields(&mut self, mut read: impl FnMut(&mut Self, u8, u64) -> Option<()>) -> Option<()> {
        let mut field = 0;
        loop {
            match self.field(&mut field)? {
                STOP => return Some(()),
                kind => read(self, kind, field)?,
            }
        }
    }
}

/// What a value has to be.
pub(super) enum Shape {
    Boolean,
    Byte,
    /// Of 16, 32 or 64 bits, which are written alike.
    Integer,
    Double,
    Binary,
    /// Of booleans there are none.
    List(&'static Shape),
    Struct(&'static [Field]),
}

/// The number of a field in its structure, and its shape.
pub(super) type Field = (u64, Shape);

use Shape::{Binary, Boolean, Byte, Double, Integer, List, Struct};

// The structures of the format's `parquet.thrift`, under their names there.

const EMPTY: Shape = Struct(&[]);
const TIME_UNIT: Shape = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const TIME_TYPE: Shape = Struct(&[(1, Boolean), (2, TIME_UNIT)]);
const LOGICAL_TYPE: Shape = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Integer), (2, Integer)])),
    (6, EMPTY),
    (7, TIME_TYPE),
    (8, TIME_TYPE),
    (10, Struct(&[(1, Byte), (2, Boolean)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Integer)])),
]);
pub(super) const SCHEMA_ELEMENT: &[Field] = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Binary),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, Integer),
    (9, Integer),
    (10, LOGICAL_TYPE),
];
const STATISTICS: Shape = Struct(&[
    (1, Binary),
    (2, Binary),
    (3, Integer),
    (4, Integer),
    (5, Binary),
    (6, Binary),
    (7, Boolean),
    (8, Boolean),
    (9, Integer),
]);
const KEY_VALUES: Shape = List(&Struct(&[(1, Binary), (2, Binary)]));
const BOUNDING_BOX: Shape = Struct(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);
const COLUMN_META_DATA: Shape = Struct(&[
    (1, Integer),
    (2, List(&Integer)),
    (3, List(&Binary)),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, KEY_VALUES),
    (9, Integer),
    (10, Integer),
    (11, Integer),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Integer), (2, Integer), (3, Integer)]))),
    (14, Integer),
    (15, Integer),
    (16, Struct(&[(1, Integer), (2, List(&Integer)), (3, List(&Integer))])),
    (17, Struct(&[(1, BOUNDING_BOX), (2, List(&Integer))])),
]);
const CRYPTO_META_DATA: Shape = Struct(&[(1, EMPTY), (2, Struct(&[(1, List(&Binary)), (2, Binary)]))]);
const COLUMN_CHUNK: Shape = Struct(&[
    (1, Binary),
    (2, Integer),
    (3, COLUMN_META_DATA),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, CRYPTO_META_DATA),
    (9, Binary),
]);
pub(super) const ROW_GROUP: Shape = Struct(&[
    (1, List(&COLUMN_CHUNK)),
    (2, Integer),
    (3, Integer),
    (4, List(&Struct(&[(1, Integer), (2, Boolean), (3, Boolean)]))),
    (5, Integer),
    (6, Integer),
    (7, Integer),
]);
const ENCRYPTION: Shape = Struct(&[(1, Binary), (2, Binary), (3, Boolean)]);
/// But for the schema and the row groups.
pub(super) const FILE_META_DATA: &[Field] = &[
    (1, Integer),
    (3, Integer),
    (5, KEY_VALUES),
    (6, Binary),
    (7, List(&Struct(&[(1, EMPTY), (2, EMPTY)]))),
    (8, Struct(&[(1, ENCRYPTION), (2, ENCRYPTION)])),
    (9, Binary),
];
/// But for those of the fields that are numbers.
pub(super) const PAGE_HEADER: &[Field] = &[(4, Integer), (6, EMPTY), (8, DATA_PAGE_HEADER_V2)];
const DATA_PAGE_HEADER_V2: Shape = Struct(&[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Boolean),
    (8, STATISTICS),
]);
pub(super) const DATA_PAGE_HEADER: &[Field] = &[(4, Integer), (5, STATISTICS)];
pub(super) const DICTIONARY_PAGE_HEADER: &[Field] = &[(3, Boolean)];

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of every kind, as a field of a structure has them.
    const VALUES: [(u8, &[u8]); 8] = [
        (1, &[]),
        (BYTE, &[7]),
        (I32, &[2]),
        (DOUBLE, &[0; 8]),
        (BINARY, &[1, b'x']),
        (LIST, &[0x15, 2]),
        (LIST, &[0x1c, STOP]),
        (STRUCT, &[STOP]),
    ];

    #[test]
    fn a_known_field_has_its_own_kind() {
        for structure in [FILE_META_DATA, SCHEMA_ELEMENT, PAGE_HEADER, DATA_PAGE_HEADER] {
            for (field, shape) in structure {
                let fits = |(kind, value): &(u8, &[u8])| {
                    let bytes = [&[(*field as u8) << 4 | kind], *value, &[STOP]].concat();
                    let read = |compact: &mut Compact<'_>, kind, field| {
                        compact.field_value(kind, field, structure, 0)
                    };
                    Compact(&bytes).fields(read).is_some()
                };
                let fitting = VALUES.iter().filter(|value| fits(value)).count();
                assert_eq!(fitting, 1, "field {field}");
                assert!(!matches!(shape, Integer) || fits(&(I32, &[2])));
            }
        }
        // What is not known may be of any kind.
        let unknown = |(kind, value): (u8, &[u8])| {
            let bytes = [&[0xf0 | kind], value, &[STOP]].concat();
            Compact(&bytes).fields(|compact, kind, field| compact.field_value(kind, field, FILE_META_DATA, 0))
        };
        assert!(VALUES.into_iter().all(|value| unknown(value).is_some()));
    }
}
