//! Which files of a function's folder are left out: by the rules of `.dockerignore`, for image builds and for archives
//! alike; where there is none, by git's. Files that mostly hold secrets are left out unless a rule names them with `!`.
//!
//! The rules are Docker's: the last pattern that matches a path or one of its parents decides, `!` takes back, `*` and
//! `?` stop at a slash, `**` does not, `#` begins a comment, a leading slash means nothing.

use std::fs;
use std::path::Path;

use super::pattern::{Patterns, Rule};
use super::{git, read_optional, secrets};
use crate::error::{Error, Result};

/// The file that the rules are read from.
pub const FILE: &str = ".dockerignore";

#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Patterns,
    /// As git does, nothing is taken back out of a folder that is ignored.
    git: bool,
    /// Paths that a build has made. They and all below them are included, whatever git ignores and whatever their names.
    built: Vec<String>,
}

/// A file, folder or link that is not ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the folder, with slashes.
    pub path: String,
    pub kind: EntryKind,
}

/// What a folder holds, by the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    pub entries: Vec<Entry>,
    /// Left out only because the list of [`secrets`] names it. `.git` is not in it.
    pub withheld: Vec<String>,
    /// Sent although that list names it, since a `!` does.
    pub permitted: Vec<String>,
    /// The topmost paths that git ignores.
    pub ignored_by_git: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Folder,
    Link,
}

impl Entry {
    /// The size of a file in `dir`; 0 for folders and links.
    pub fn bytes(&self, dir: &Path) -> u64 {
        match self.kind {
            EntryKind::File => fs::metadata(dir.join(&self.path)).map_or(0, |file| file.len()),
            EntryKind::Folder | EntryKind::Link => 0,
        }
    }
}

impl Ignore {
    /// Reads the folder's `.dockerignore`; without one, the rules are git's.
    pub fn load(dir: &Path) -> Result<Ignore> {
        match Ignore::load_file(&dir.join(FILE))? {
            Some(ignore) => Ok(ignore),
            None => Ok(Ignore { patterns: git::load(dir)?, git: true, ..Ignore::default() }),
        }
    }

    /// Reads an ignore file. `None` when it does not exist.
    pub fn load_file(file: &Path) -> Result<Option<Ignore>> {
        let text = read_optional(file)?;
        text.map(|text| Ignore::parse(&text).map_err(|error| error.context(file.display()))).transpose()
    }

    pub fn parse(text: &str) -> Result<Ignore> {
        let mut ignore = Ignore::default();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_back, glob) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let glob = clean(glob);
            if glob.is_empty() {
                continue;
            }
            let rule = Rule { glob, takes_back, folders_only: false };
            let added = ignore.patterns.add("", &rule);
            added.map_err(|why| Error::invalid(format!("line {}: pattern `{line}` {why}", index + 1)))?;
        }
        Ok(ignore)
    }

    /// Includes what a build has made, although git ignores it and packages bring certificates.
    pub fn with_built(self, built: &[String]) -> Ignore {
        Ignore { built: built.to_vec(), ..self }
    }

    /// Whether a path, relative to the folder and with slashes, is ignored. By Docker's rules a folder that is ignored may
    /// still hold files that are taken back.
    pub fn is_ignored(&self, path: &str, is_folder: bool) -> bool {
        if self.git && self.built.iter().any(|built| lies_in(path, built) || lies_in(built, path)) {
            return false;
        }
        match self.git {
            true => self.patterns.git_ignores(path, is_folder),
            false => self.patterns.docker_ignores(path, is_folder),
        }
    }

    /// Whether the list of secrets has the name of a path, which a build has not made.
    fn is_secret(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        secrets::is_listed(name) && !self.built.iter().any(|built| lies_in(path, built))
    }

    /// Whether a rule of afn's own file, or Docker's, names a path. What git may keep is not yet what a worker may have.
    fn permits(&self, path: &str, is_folder: bool) -> bool {
        !self.git && self.patterns.take_back_by_name(path, is_folder)
    }

    /// All that is not ignored, sorted by path, so that the same folder always gives the same list. A folder comes before
    /// what is in it; links are not followed; sockets and devices are left out.
    pub fn walk(&self, dir: &Path) -> Result<Contents> {
        let mut contents = Contents::default();
        self.walk_into(dir, "", &mut contents)?;
        contents.entries.sort_by(|a, b| a.path.cmp(&b.path));
        contents.withheld.sort();
        contents.permitted.sort();
        contents.ignored_by_git.sort();
        Ok(contents)
    }

    /// `prefix`: the way from `dir` to the folder that is read, empty or with a slash at the end.
    fn walk_into(&self, dir: &Path, prefix: &str, contents: &mut Contents) -> Result<()> {
        let here = dir.join(prefix);
        let cannot_read =
            |why: &dyn std::fmt::Display| Error::invalid(format!("cannot read {}: {why}", here.display()));
        for entry in fs::read_dir(&here).map_err(|error| cannot_read(&error))? {
            let entry = entry.map_err(|error| cannot_read(&error))?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|name| cannot_read(&format!("{name:?} is not UTF-8")))?;
            let path = format!("{prefix}{name}");
            let kind = match entry.file_type().map_err(|error| cannot_read(&error))? {
                kind if kind.is_dir() => EntryKind::Folder,
                kind if kind.is_symlink() => EntryKind::Link,
                kind if kind.is_file() => EntryKind::File,
                _ => continue,
            };
            let is_folder = kind == EntryKind::Folder;
            let ignored = self.is_ignored(&path, is_folder);
            if !ignored && self.is_secret(&path) {
                if self.permits(&path, is_folder) {
                    contents.permitted.push(path.clone());
                } else {
                    if path != ".git" {
                        contents.withheld.push(path);
                    }
                    continue;
                }
            }
            if is_folder && (!ignored || (self.patterns.take_back() && !self.git)) {
                self.walk_into(dir, &format!("{path}/"), contents)?;
            }
            if !ignored {
                contents.entries.push(Entry { path, kind });
            } else if self.git {
                contents.ignored_by_git.push(path);
            }
        }
        Ok(())
    }
}

/// Whether a path is this one, or in it.
fn lies_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A pattern without `.`, `..` and empty parts.
fn clean(glob: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in glob.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).unwrap().is_ignored(path, false)
    }

    #[test]
    fn a_pattern_stands_for_the_path_and_all_below_it() {
        for (rules, path, expected) in [
            ("target", "target", true),
            ("target", "target/debug/afn", true),
            ("target", "src/target", false),
            ("/target/", "target/x", true),
            ("./target", "target", true),
            ("a/../target", "target", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*/*.md", "docs/README.md", true),
            ("**/*.md", "README.md", true),
            ("**/*.md", "a/b/c/README.md", true),
            ("**/node_modules", "a/node_modules/b/c.js", true),
            ("**/node_modules", "a/my_node_modules", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "ab/z", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "anything/at/all", true),
            ("temp?", "temp1", true),
            ("temp?", "temp", false),
            ("temp?", "temp/x", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "aXb", false),
            ("# comment\n\n  \n", "# comment", false),
            (" spaced.txt ", "spaced.txt", true),
            ("größe", "größe/ß", true),
        ] {
            assert_eq!(ignored(rules, path), expected, "{rules:?} on {path}");
        }
    }

    #[test]
    fn the_last_match_decides() {
        let rules = "*.md\n!README.md\n";
        assert!(ignored(rules, "NOTES.md"));
        assert!(!ignored(rules, "README.md"));
        assert!(ignored("!README.md\n*.md\n", "README.md"));
        assert!(!ignored("data\n!data/keep\n", "data/keep/x"));
    }

    #[test]
    fn a_broken_pattern_names_its_line() {
        let error = Ignore::parse("ok\n[a-").unwrap_err();
        assert_eq!(error.message(), "line 2: pattern `[a-` has a `[` without its `]`");
        assert!(Ignore::parse("a\\").unwrap_err().message().ends_with("ends in a backslash"));
    }

    #[test]
    fn a_hostile_pattern_is_not_slow() {
        let rules = "*a".repeat(200);
        assert!(!ignored(&rules, &"a".repeat(150)));
    }

    #[test]
    fn walking_finds_what_is_left_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for path in ["b.txt", "a/1", "a/2", "skip/deep/1", "skip/deep/keep", ".dockerignore"] {
            write(path);
        }
        std::os::unix::fs::symlink("b.txt", dir.path().join("link")).unwrap();
        fs::write(dir.path().join(FILE), "skip\n!skip/deep/keep\n").unwrap();

        let found = Ignore::load(dir.path()).unwrap().walk(dir.path()).unwrap().entries;
        let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, [".dockerignore", "a", "a/1", "a/2", "b.txt", "link", "skip/deep/keep"]);
        assert_eq!(found[5].kind, EntryKind::Link);
    }

    #[test]
    fn without_a_file_nothing_is_ignored_but_what_git_ignores() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Ignore::load(dir.path()).unwrap().is_ignored("anything", false));
        fs::write(dir.path().join(git::FILE), "node_modules\ntarget/\n").unwrap();
        for path in ["node_modules/a.js", "target/x", "func.py"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let paths = |ignore: Ignore| -> Vec<String> {
            ignore.walk(dir.path()).unwrap().entries.into_iter().map(|found| found.path).collect()
        };
        let ignore = Ignore::load(dir.path()).unwrap();
        assert_eq!(paths(ignore.clone()), [".gitignore", "func.py"]);
        let made = ignore.with_built(&["node_modules".to_owned()]);
        assert_eq!(paths(made), [".gitignore", "func.py", "node_modules", "node_modules/a.js"]);
        fs::write(dir.path().join(FILE), "").unwrap();
        assert_eq!(paths(Ignore::load(dir.path()).unwrap()).len(), 7, "a file of its own replaces git's");
    }

    #[test]
    fn secrets_stay_unless_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [".env", "a/server.pem", "a/id_rsa", ".ssh/config", "func.py", ".git/HEAD", "a/.git/HEAD"]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let withheld = |rules: &str| Ignore::parse(rules).unwrap().walk(dir.path()).unwrap().withheld;
        assert_eq!(withheld(""), [".env", ".ssh", "a/.git", "a/id_rsa", "a/server.pem"]);
        // That a folder, or everything, is taken back names no secret.
        assert_eq!(withheld("*\n!a/**\n!a\n"), ["a/.git", "a/id_rsa", "a/server.pem"]);
        assert_eq!(withheld("!.env\n!**/*.pem\n!.ssh\n!a/.git"), ["a/id_rsa"]);
        let permitted = |rules: &str| Ignore::parse(rules).unwrap().walk(dir.path()).unwrap().permitted;
        assert_eq!(permitted("!.env\n!a/*.pem\n!func.py"), [".env", "a/server.pem"]);
        // That git keeps a file sends it nowhere.
        fs::write(dir.path().join(git::FILE), "!.env*\n!id_rsa\n").unwrap();
        let contents = Ignore::load(dir.path()).unwrap().walk(dir.path()).unwrap();
        assert_eq!(contents.withheld, [".env", ".ssh", "a/.git", "a/id_rsa", "a/server.pem"]);
        assert_eq!(contents.permitted, [""; 0]);
    }
}
