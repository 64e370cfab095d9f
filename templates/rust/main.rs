//! A function that runs as it is; begin in `handle`.

mod serve;

use serve::{Answer, Call};

/// Runs one call. An error fails the call, with its text as the reason. What is printed goes into the call's log.
fn handle(call: &Call) -> Result<Answer, Box<dyn std::error::Error>> {
    let name = std::str::from_utf8(&call.body)?.trim();
    let name = if name.is_empty() { "World" } else { name };
    println!("greeting {name}");
    Ok(Answer::text(format!("Hello {name}\n")))
}

fn main() -> std::io::Result<()> {
    serve::forever(handle)
}
