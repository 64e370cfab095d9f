//! Changes bytes as an attacker or a bad disk would.

use afn::seam::Rng;
use afn::seam::rng::RngExt as _;
use bytes::Bytes;
use serde_json::Value;

use crate::world::Object;

/// What takes the place of a number.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "1099511627776",
    "1099511627775",
    "4294967295",
    "1e300",
];

/// Changes the body or the note.
pub fn object(rng: &dyn Rng, object: &mut Object, other: &Object) {
    if let Some(note) = &object.note
        && rng.below(2) == 0
    {
        let note = text(rng, note);
        // A store takes no others.
        object.note = Some(note.chars().filter(|c| matches!(c, ' '..='~')).take(1_900).collect());
        return;
    }
    object.body = body(rng, &object.body, &other.body);
}

pub fn message(rng: &dyn Rng, body: &str) -> String {
    text(rng, body)
}

fn text(rng: &dyn Rng, body: &str) -> String {
    String::from_utf8_lossy(&self::body(rng, body.as_bytes(), b"[1]")).into_owned()
}

fn body(rng: &dyn Rng, body: &[u8], foreign: &[u8]) -> Bytes {
    let below = |most: usize| rng.below(most.max(1) as u64) as usize;
    if rng.below(3) > 0
        && let Ok(mut value) = serde_json::from_slice::<Value>(body)
    {
        // The version stays, or nothing behind it is read.
        for _ in 0..=rng.below(2) {
            let count = leaves(&mut value, &mut usize::MAX.clone(), &mut |_| {});
            let mut at = below(count);
            leaves(&mut value, &mut at, &mut |leaf| *leaf = replaced(rng, leaf));
        }
        return serde_json::to_vec(&value).expect("JSON").into();
    }
    let mut bytes = body.to_vec();
    match rng.below(7) {
        0 => bytes.truncate(below(bytes.len())),
        1 => return Bytes::copy_from_slice(foreign),
        2 => bytes.clear(),
        3 => bytes = bytes.iter().map(|_| below(256) as u8).collect(),
        // Digits, as many as before: the lengths around them stay true.
        4 => {
            let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
            if let Some(mut at) = digits.get(below(digits.len())).copied() {
                let digit = [b'0', b'9'][below(2)];
                while at < bytes.len() && bytes[at].is_ascii_digit() {
                    bytes[at] = digit;
                    at += 1;
                }
            }
        }
        _ => {
            // A footer is where most numbers are.
            let from = if rng.below(2) == 0 { 0 } else { bytes.len().saturating_sub(2_000) };
            for _ in 0..=rng.below(4) {
                let at = from + below(bytes.len() - from);
                let run = 1 + below(4);
                let fill = [0x00, 0xff, 0x7f, 0x80, below(256) as u8][below(5)];
                bytes.iter_mut().skip(at).take(run).for_each(|byte| *byte = fill);
            }
        }
    }
    bytes.into()
}

/// Visits leaf number `at`, counted down, and returns how many there are.
fn leaves(value: &mut Value, at: &mut usize, visit: &mut dyn FnMut(&mut Value)) -> usize {
    match value {
        Value::Object(members) => {
            let members = members.iter_mut().filter(|(name, _)| *name != "v");
            members.map(|(_, member)| leaves(member, at, visit)).sum()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter_mut().map(|item| leaves(item, at, visit)).sum()
        }
        leaf => {
            if *at == 0 {
                visit(leaf);
            }
            *at = at.wrapping_sub(1);
            1
        }
    }
}

fn replaced(rng: &dyn Rng, leaf: &Value) -> Value {
    let extreme =
        || serde_json::from_str(NUMBERS[rng.below(NUMBERS.len() as u64) as usize]).expect("a number");
    match leaf {
        Value::Number(number) => match rng.below(4) {
            0 => number.as_u64().map_or(Value::Null, |number| number.wrapping_add(1).into()),
            1 => number.as_u64().map_or(Value::Null, |number| number.wrapping_sub(1).into()),
            _ => extreme(),
        },
        Value::String(text) => match rng.below(5) {
            0 => "".into(),
            1 => "x".repeat(100_000).into(),
            2 => "9999-12-31T23:59:59.999Z".into(),
            3 => text.chars().rev().collect::<String>().into(),
            _ => extreme(),
        },
        _ => match rng.below(3) {
            0 => serde_json::json!([[0, u64::MAX, 0]]),
            1 => Value::Null,
            _ => extreme(),
        },
    }
}
