//! Writes a `func.yaml` with what was asked for and no more, in the order that people expect.

use serde_json::{Map, Value, json};

use super::InitRequest;
use super::boilerplate::Boilerplate;
use crate::deploy::func_yaml::VERSION_DEFAULT;

pub fn render(request: &InitRequest, runtime: &str, boilerplate: &Boilerplate) -> String {
    let mut text = String::new();
    for (key, value) in fields(request, runtime, boilerplate) {
        match value {
            Value::Object(entries) => {
                text.push_str(&format!("{key}:\n"));
                for (key, value) in entries {
                    text.push_str(&format!("  {}: {}\n", plain(&key), scalar(&value)));
                }
            }
            value => text.push_str(&format!("{key}: {}\n", scalar(&value))),
        }
    }
    text
}

/// The same for a `func.json` that is written anew.
pub fn render_json(request: &InitRequest, runtime: &str, boilerplate: &Boilerplate) -> String {
    format!("{:#}\n", Value::Object(fields(request, runtime, boilerplate)))
}

fn fields(request: &InitRequest, runtime: &str, boilerplate: &Boilerplate) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value);
        }
    };
    let own = Some(boilerplate.entrypoint.clone()).filter(|own| !own.is_empty());
    put("name", Some(json!(request.name)));
    put("type", request.kind.map(|kind| json!(kind)));
    put("version", Some(json!(request.version.as_deref().unwrap_or(VERSION_DEFAULT))));
    put("runtime", Some(json!(runtime)));
    put("entrypoint", request.entrypoint.clone().or(own).map(Value::String));
    put("cmd", request.cmd.clone().map(Value::String));
    put("format", request.format.or(boilerplate.format).map(|format| json!(format)));
    put("memory", request.memory_mib.map(|memory| json!(memory)));
    put("timeout", request.timeout_ms.map(duration));
    put("idle_timeout", request.idle_timeout_ms.map(duration));
    put("config", (!request.config.is_empty()).then(|| json!(request.config)));
    put("annotations", (!request.annotations.is_empty()).then(|| json!(request.annotations)));
    fields
}

/// In whole seconds, as Fn has it, where that is possible.
fn duration(ms: u64) -> Value {
    if ms.is_multiple_of(1_000) { json!(ms / 1_000) } else { json!(format!("{ms}ms")) }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        // JSON is YAML.
        other => other.to_string(),
    }
}

/// Without quotes where that can be read in one way only.
fn plain(text: &str) -> String {
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.' || c == '/') || is_version(text);
    let simple =
        text.chars().all(|c| c.is_ascii_alphanumeric() || "./_- ".contains(c)) && text.trim() == text;
    let word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&&*text.to_lowercase());
    let number = text.parse::<f64>().is_ok();
    if begins && simple && !word && !number { text.to_owned() } else { Value::from(text).to_string() }
}

/// `0.0.1` is no number.
fn is_version(text: &str) -> bool {
    text.split('.').count() > 2 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
