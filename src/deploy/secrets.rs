//! Files that mostly hold secrets: they are never part of a function unless its ignore file names them with `!`.

/// As patterns of an ignore file, for people.
pub const LISTED: [&str; 11] =
    [".git", ".env*", ".aws", ".ssh", "*.pem", "*.key", "id_*", ".npmrc", ".netrc", ".pypirc", "*.tfstate*"];

/// Whether the name of a file or folder is one of [`LISTED`].
pub fn is_listed(name: &str) -> bool {
    LISTED.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mostly_holds_secrets_is_listed() {
        for name in [".env", ".env.production", "server.pem", "a.key", "id_rsa", "x.tfstate.backup", ".npmrc"]
        {
            assert!(is_listed(name), "{name}");
        }
        for name in ["env", "keys", "pem.txt", "identity", "tfstate", "func.py", ".gitignore"] {
            assert!(!is_listed(name), "{name}");
        }
    }
}
