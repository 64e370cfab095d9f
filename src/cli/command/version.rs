//! `afn version`

use serde_json::json;

use crate::cli::session::Session;
use crate::error::Result;

pub fn run(session: &Session) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if session.printer.is_json() {
        return session.printer.json(&json!({ "version": version }));
    }
    session.printer.line(format!("afn {version}"))
}
