//! `afn completion`

use crate::cli::args::CompletionArgs;
use crate::cli::definition;
use crate::cli::session::Session;
use crate::error::Result;

pub fn run(session: &Session, args: CompletionArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "afn", &mut script);
    session.printer.data(script)
}
