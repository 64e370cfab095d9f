//! `afn wanted`

use crate::cli::session::Session;
use crate::cli::text::Text;
use crate::cli::view;
use crate::error::Result;
use crate::results::wanted::slots_wanted;

pub async fn run(session: &Session) -> Result<()> {
    let engine = session.open().await?;
    let wanted = slots_wanted(&engine.deps).await?;
    if wanted.open.has_more {
        session.printer.warning(format!(
            "only the newest {} batches were looked at: open ones that are older are not counted",
            wanted.open.looked_at
        ));
    }
    session.printer.answer(&view::value(&wanted)?, &Text::from_iter([wanted.slots.to_string()]))
}
