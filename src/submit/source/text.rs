//! The text of a source, as UTF-8: decompressed, and transcoded. What is no text is refused by name.

use super::decompress::Decompress;
use super::format::{Compression, Format};
use super::head::Head;
use super::identify::{Content, identify, is_enough};
use super::input::Input;
use super::transcode::to_utf_8;
use crate::error::{Error, Result};

/// `given`: a compression that is given, by suffix or option, must be the one that the bytes have; one that is not given is
/// found. Returns the format with what was found.
pub(super) async fn open(
    input: Box<dyn Input>,
    given: Format,
    name: &str,
) -> Result<(Box<dyn Input>, Format)> {
    let head = Head::read(input, is_enough).await?;
    if head.bytes().is_empty() {
        return Ok((Box::new(head), given));
    }
    let Some(compression) = compression(head.bytes(), given.compression, name)? else {
        return Ok((to_utf_8(head, name), given));
    };
    let inflated = Decompress::new(Box::new(head), compression, name.to_owned());
    let head = Head::read(Box::new(inflated), is_enough).await?;
    match identify(head.bytes()) {
        Content::Text => {}
        Content::Compressed(inner) => {
            let what =
                format!("`{name}` is compressed twice: it is {} within {}", inner.name(), compression.name());
            return Err(Error::invalid(what).with_hint("decompress it once"));
        }
        Content::Foreign(what, way_out) => {
            let what =
                format!("`{name}` has no records to read: it is {what}, within {}", compression.name());
            return Err(Error::invalid(what).with_hint(way_out));
        }
    }
    let format = Format { compression: Some(compression), ..given };
    Ok((to_utf_8(head, name), format))
}

fn compression(head: &[u8], given: Option<Compression>, name: &str) -> Result<Option<Compression>> {
    match (identify(head), given) {
        (Content::Text, None) => Ok(None),
        (Content::Compressed(found), None) => Ok(Some(found)),
        (Content::Compressed(found), Some(given)) if found == given => Ok(Some(found)),
        (Content::Compressed(found), Some(given)) => {
            let what =
                format!("`{name}` is no {}: its first bytes are those of {}", given.name(), found.name());
            let hint = format!(
                "rename it to end in .{found}, or leave the compression out of its name and of `--format`"
            );
            Err(Error::invalid(what).with_hint(hint))
        }
        (Content::Text, Some(given)) => {
            let what =
                format!("`{name}` is no {}: its first bytes are not those of any compression", given.name());
            Err(Error::invalid(what)
                .with_hint("it is damaged, or it has a wrong name: rename it if it is text"))
        }
        (Content::Foreign(what, way_out), _) => {
            Err(Error::invalid(format!("`{name}` has no records to read: it is {what}")).with_hint(way_out))
        }
    }
}
