//! Facts that ride on an object as metadata: ASCII JSON of at most 2 KB, since S3 keeps no more and no other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::limits;

/// JSON with every character outside ASCII escaped.
pub fn encode<T: Serialize>(facts: &T) -> Result<String> {
    let json =
        serde_json::to_string(facts).map_err(|error| Error::internal(format!("encode a note: {error}")))?;
    let mut ascii = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            _ => {
                for unit in c.encode_utf16(&mut units) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    if ascii.len() as u64 > limits::NOTE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the headers and names that travel with the payload take {} bytes as JSON, the most is {}",
            ascii.len(),
            limits::NOTE_BYTES_MAX
        ))
        .hint("put what is large into the payload"));
    }
    Ok(ascii)
}

pub fn decode<T: DeserializeOwned>(what: &str, note: &str) -> Result<T> {
    serde_json::from_str(note)
        .map_err(|error| Error::internal(format!("the note on {what} cannot be read: {error}")))
}
