//! The repositories whose images a worker runs for those who deploy: its registry login would fetch them any other, too.

use super::credentials::{HUB, registry};
use crate::deploy::pattern::{Patterns, Rule};
use crate::seam::executor::Mismatch;

/// Patterns of repositories; without any, all are allowed.
#[derive(Debug, Clone, Default)]
pub struct AllowedImages {
    given: Vec<String>,
    patterns: Patterns,
}

impl AllowedImages {
    /// `*` and `?` stop at a slash. A pattern allows what it matches and what lies below. Without a registry it is about
    /// Docker's own, as in the names of images.
    pub fn new(given: &[String]) -> Result<AllowedImages, String> {
        let mut patterns = Patterns::default();
        for pattern in given {
            let glob = canonical(pattern.trim_end_matches('/'));
            let rule = Rule { glob, takes_back: false, folders_only: false };
            patterns.add("", &rule).map_err(|why| format!("`{pattern}` {why}"))?;
        }
        Ok(AllowedImages { given: given.to_vec(), patterns })
    }

    /// An image is fetched by its name or, where the deploy recorded one, by a digest with a name of its own.
    pub(super) fn check(&self, reference: &str, digest: Option<&str>) -> Result<(), Mismatch> {
        let named = digest.filter(|digest| digest.contains('@'));
        let is_allowed = |name: &str| self.patterns.matches(&canonical(repository(name)));
        match [Some(reference), named].into_iter().flatten().find(|name| !is_allowed(name)) {
            Some(name) if !self.given.is_empty() => Err(Mismatch(format!(
                "image `{name}` is not allowed here: this worker was started with --allow-images {}",
                self.given.join(" ")
            ))),
            _ => Ok(()),
        }
    }
}

/// A reference without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let end = name.rfind('/').map_or(0, |slash| slash + 1);
    name[end..].find(':').map_or(name, |colon| &name[..end + colon])
}

/// A repository, or a pattern of some, with its registry.
fn canonical(name: &str) -> String {
    let host = registry(name);
    let path = match name.split_once('/') {
        _ if name == "**" => return name.to_owned(),
        // A pattern for a whole registry, or for several.
        None if name.contains(['.', ':']) => return name.to_owned(),
        Some((first, _)) if first.contains('*') => return name.to_owned(),
        Some((_, path)) if host != HUB => path,
        Some(("docker.io" | "index.docker.io", path)) => path,
        _ => name,
    };
    match path.contains('/') || host != HUB {
        true => format!("{host}/{path}"),
        false => format!("{host}/library/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(patterns: &[&str], reference: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        AllowedImages::new(&patterns).unwrap().check(reference, None).is_ok()
    }

    #[test]
    fn a_pattern_is_about_repositories_of_its_registry() {
        for (pattern, allowed, refused) in [
            ("reg.example.com/team/*", "reg.example.com/team/f:1", "reg.example.com/other/f:1"),
            ("reg.example.com/team/", "reg.example.com/team/deep/f@sha256:00", "reg.example.com/team2/f"),
            ("reg.example.com/f-*", "reg.example.com/f-1:1", "evil.com/reg.example.com/f-1:1"),
            ("reg.example.com", "reg.example.com/any/thing:1", "reg.example.com.evil.com/any/thing:1"),
            ("*.example.com/f", "a.example.com/f", "evil.com/a.example.com/f"),
            ("localhost:5000/f", "localhost:5000/f:2", "localhost:5001/f:2"),
            ("busybox", "docker.io/library/busybox:1", "me/busybox:1"),
            ("docker.io/me/*", "me/f:1", "you/f:1"),
            ("me/*", "index.docker.io/me/f:1", "reg.example.com/me/f:1"),
            ("**", "reg.example.com/a/b", ""),
        ] {
            assert!(is_allowed(&[pattern], allowed), "{pattern} {allowed}");
            assert!(refused.is_empty() || !is_allowed(&[pattern], refused), "{pattern} {refused}");
            assert!(is_allowed(&["x/y", pattern], allowed), "{pattern} {allowed}");
        }
        assert!(is_allowed(&[], "any/thing:TAG"));
        // A first part in upper case is a host for Docker.
        for upper in ["EVIL/x", "Evil/library/x", "Reg.example.com/x"] {
            for pattern in ["x", "EVIL*", "docker.io/*/*", "reg.example.com"] {
                assert!(!is_allowed(&[pattern], upper), "{pattern} {upper}");
            }
        }
        assert!(AllowedImages::new(&["a[".to_owned()]).unwrap_err().contains("`a[`"));
    }

    #[test]
    fn a_digest_of_another_repository_is_refused_and_the_flag_is_named() {
        let images = AllowedImages::new(&["reg.example.com/team".to_owned()]).unwrap();
        let (good, bad) = ("reg.example.com/team/f@sha256:00", "reg.example.com/other/f@sha256:00");
        images.check("reg.example.com/team/f:1", Some(good)).unwrap();
        images.check("reg.example.com/team/f:1", Some("sha256:00")).unwrap();
        let why = images.check("reg.example.com/team/f:1", Some(bad)).unwrap_err().to_string();
        assert_eq!(
            why,
            format!(
                "image `{bad}` is not allowed here: this worker was started with --allow-images reg.example.com/team"
            )
        );
    }
}
