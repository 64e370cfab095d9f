//! A function that runs as it is; begin in `handle`.

mod serve;

use serve::{Answer, Call};

/// Runs one call. An error fails the call, with its text as the reason. What is printed goes into the call's log.
fn handle(call: &Call) -> Result<Answer, Box<dyn std::error::Error>> {
    let text = std::str::from_utf8(&call.body)?.trim();
    let name = match text.starts_with('{') {
        true => name_in(text).ok_or(r#"the payload is no name and no JSON like {"name": "Ada"}"#)?,
        false if text.is_empty() => "World",
        false => text,
    };
    println!("greeting {name}");
    Ok(Answer::text(format!("Hello {name}\n")))
}

/// A name without escapes, in JSON; the crate serde_json reads any.
fn name_in(json: &str) -> Option<&str> {
    let (_, rest) = json.split_once("\"name\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (name, _) = value.split_once('"')?;
    (!name.contains('\\')).then_some(name)
}

fn main() -> std::io::Result<()> {
    serve::forever(handle)
}
