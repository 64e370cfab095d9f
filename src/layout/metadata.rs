//! The metadata of objects: facts as ASCII JSON of at most 2 KB, which is all that S3 keeps.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::envelope::{self, Envelope};
use crate::error::{Error, Result};
use crate::limits;

/// JSON with every character outside ASCII escaped.
pub fn encode<T: Serialize>(facts: &T) -> Result<String> {
    let json = serde_json::to_string(&Envelope::of(facts))
        .map_err(|error| Error::internal(format!("encode metadata: {error}")))?;
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
    if ascii.len() as u64 > limits::METADATA_BYTES_MAX {
        let (bytes, most) = (ascii.len(), limits::METADATA_BYTES_MAX);
        let why = format!(
            "the headers and names beside the payload take {bytes} bytes as JSON, the most is {most}"
        );
        return Err(Error::invalid(why).with_hint("put what is large into the payload"));
    }
    Ok(ascii)
}

pub fn decode<T: DeserializeOwned>(what: impl Display, metadata: &str) -> Result<T> {
    envelope::open(format_args!("the metadata of {what}"), metadata.as_bytes(), envelope::VERSION)
}
