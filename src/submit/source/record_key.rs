//! The key of one record, from the value of its field.

use crate::limits;
use crate::model::json_object::{members, text};

/// The key in a field of a record, or why there is none.
pub(super) fn key_in(payload: &[u8], field: &str) -> Result<String, String> {
    let members = members(payload).ok_or_else(|| format!("it has no fields, so no key `{field}`"))?;
    let member = members.iter().find(|member| member.name == field);
    key(field, member.map(|member| member.json))
}

/// A key from the value of a field: a text, or a number as it is written.
pub(super) fn key(field: &str, json: Option<&str>) -> Result<String, String> {
    let Some(json) = json.filter(|json| *json != "null") else {
        return Err(format!("it has no key `{field}`"));
    };
    if json.starts_with(['{', '[', 't', 'f']) {
        return Err(format!("its key `{field}` is neither a text nor a number"));
    }
    let key = text(json).into_owned();
    match key.len() {
        0 => Err(format!("its key `{field}` is empty")),
        bytes if bytes > limits::KEY_BYTES_MAX => {
            Err(format!("its key `{field}` has {bytes} bytes, the most is {}", limits::KEY_BYTES_MAX))
        }
        _ => Ok(key),
    }
}
