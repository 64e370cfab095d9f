//! The rule for the URL of a webhook.

use crate::error::{Error, Result};

/// Refuses what is no `http://` or `https://` URL with a host, and a URL with a user or password in it: the URL is stored
/// with the batch, so everyone who reads the bucket would read the password.
pub fn check_webhook_url(url: &str) -> Result<()> {
    if has_userinfo(url) {
        return Err(Error::invalid(
            "a webhook URL with a user or password in it is refused: sign the webhook instead",
        ));
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.starts_with(['/', '?', '#']) && !rest.is_empty() => {}
        _ => return Err(Error::invalid(format!("`{url}` is not a URL like https://example.com/done"))),
    }
    if url.contains(char::is_whitespace) {
        return Err(Error::invalid(format!("`{url}` is not a URL: it has white space in it")));
    }
    Ok(())
}

/// Whether a URL has a user or password before its host.
pub fn has_userinfo(url: &str) -> bool {
    let authority = url.split_once("//").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_webhook_has_a_host_and_no_password() {
        for right in ["https://x.example/a?user=b@c", "http://x", "https://x:8443/done"] {
            check_webhook_url(right).unwrap();
        }
        for wrong in ["https://me:secret@x.example/", "http://me@x?y", "HTTPS://me:secret@x#y"] {
            let why = check_webhook_url(wrong).unwrap_err().to_string();
            assert!(why.contains("user or password") && !why.contains("secret"), "{why}");
        }
        for wrong in ["ftp://x", "https://", "https:///x", "x.example", "https://x/a b"] {
            assert!(check_webhook_url(wrong).unwrap_err().to_string().contains("URL"), "{wrong}");
        }
    }
}
