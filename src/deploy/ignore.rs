//! What of a function's folder stays at home: the rules of `.dockerignore`, for image builds and for archives alike.
//! Knows files and patterns; what is done with what it finds is its callers' affair.
//!
//! The rules are Docker's: the last pattern that matches a path or one of its parents decides, `!` takes back, `*` and
//! `?` stop at a slash, `**` does not, `#` begins a comment, a leading slash means nothing.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// The file that the rules are read from.
pub const FILE: &str = ".dockerignore";

#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    tokens: Vec<Token>,
    takes_back: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**` at the end
    Rest,
    /// `**/`: any number of whole folders
    Folders,
    /// `[a-z]`, `[^a-z]`
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

/// A file, folder or link that is not ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the folder, with slashes.
    pub path: String,
    pub kind: FoundKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    File,
    Folder,
    Link,
}

impl Ignore {
    /// Reads the folder's `.dockerignore`; without one nothing is ignored.
    pub fn load(dir: &Path) -> Result<Ignore> {
        let file = dir.join(FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Ignore::parse(&text).map_err(|error| error.context(file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ignore::default()),
            Err(error) => Err(Error::invalid(format!("cannot read {}: {error}", file.display()))),
        }
    }

    pub fn parse(text: &str) -> Result<Ignore> {
        let mut patterns = Vec::new();
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
            let tokens = tokens(&glob)
                .map_err(|why| Error::invalid(format!("line {}: pattern `{line}` {why}", index + 1)))?;
            patterns.push(Pattern { tokens, takes_back });
        }
        Ok(Ignore { patterns })
    }

    /// Whether a path, relative to the folder and with slashes, is ignored. Docker's patterns do not tell files from
    /// folders; a folder that is ignored may still hold files that are taken back.
    pub fn is_ignored(&self, path: &str, _is_dir: bool) -> bool {
        let path: Vec<char> = path.chars().collect();
        let parents = path.iter().enumerate().filter(|(_, c)| **c == '/').map(|(index, _)| index);
        let ends: Vec<usize> = parents.chain([path.len()]).collect();
        let decides = |pattern: &&Pattern| ends.iter().any(|end| matches(&pattern.tokens, &path[..*end]));
        self.patterns.iter().rev().find(decides).is_some_and(|pattern| !pattern.takes_back)
    }

    /// All that is not ignored, in the order of its paths, so that the same folder is always the same row. A folder
    /// comes before what is in it; links are not followed; sockets and devices are no part of a function.
    pub fn walk(&self, dir: &Path) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        self.walk_into(dir, "", &mut found)
            .map_err(|(path, error)| Error::invalid(format!("cannot read {path}: {error}")))?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn walk_into(&self, dir: &Path, prefix: &str, found: &mut Vec<Found>) -> Result<(), (String, io::Error)> {
        let here = if prefix.is_empty() { dir.to_owned() } else { dir.join(prefix) };
        let at = |error| (here.display().to_string(), error);
        for entry in fs::read_dir(&here).map_err(at)? {
            let entry = entry.map_err(at)?;
            let name = entry.file_name().into_string().map_err(|name| {
                at(io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not UTF-8")))
            })?;
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let file_type = entry.file_type().map_err(at)?;
            let kind = if file_type.is_dir() {
                FoundKind::Folder
            } else if file_type.is_symlink() {
                FoundKind::Link
            } else if file_type.is_file() {
                FoundKind::File
            } else {
                continue;
            };
            let ignored = self.is_ignored(&path, kind == FoundKind::Folder);
            if kind == FoundKind::Folder && (!ignored || self.takes_back()) {
                self.walk_into(dir, &path, found)?;
            }
            if !ignored {
                found.push(Found { path, kind });
            }
        }
        Ok(())
    }

    fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }
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

fn tokens(glob: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Folders }
            }
            '*' => Token::Star,
            '?' => Token::One,
            '[' => class(&mut chars)?,
            '\\' => Token::Literal(chars.next().ok_or("ends in a backslash")?),
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "has a `[` without its `]`";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let member = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        Some('\\') => chars.next().ok_or(OPEN),
        Some(c) => Ok(c),
        None => Err(OPEN),
    };
    while chars.peek() != Some(&']') || ranges.is_empty() {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
    chars.next();
    Ok(Token::Class { ranges, negated })
}

/// Follows all places that the tokens can have come to at once, so that no pattern is slow.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    let end = path.len();
    let mut places = vec![false; end + 1];
    places[0] = true;
    for token in tokens {
        let mut next = vec![false; end + 1];
        // Star, Rest and Folders go on from any place before; the others take one character.
        let mut reached = false;
        for place in 0..=end {
            reached |= places[place];
            match token {
                Token::Star => {
                    next[place] |= places[place] || (place > 0 && next[place - 1] && path[place - 1] != '/');
                }
                Token::Rest => next[place] |= reached,
                Token::Folders => {
                    next[place] |= places[place];
                    if reached && place < end && path[place] == '/' {
                        next[place + 1] = true;
                    }
                }
                one => {
                    if places[place] && place < end && takes(one, path[place]) {
                        next[place + 1] = true;
                    }
                }
            }
        }
        places = next;
    }
    places[end]
}

fn takes(token: &Token, c: char) -> bool {
    match token {
        Token::Literal(literal) => *literal == c,
        Token::One => c != '/',
        Token::Class { ranges, negated } => {
            c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        Token::Star | Token::Rest | Token::Folders => false,
    }
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

        let found = Ignore::load(dir.path()).unwrap().walk(dir.path()).unwrap();
        let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, [".dockerignore", "a", "a/1", "a/2", "b.txt", "link", "skip/deep/keep"]);
        assert_eq!(found[5].kind, FoundKind::Link);
    }

    #[test]
    fn without_a_file_nothing_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Ignore::load(dir.path()).unwrap().is_ignored("anything", false));
    }
}
