//! The sources as the rules look at them: without comments and without what only tests compile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

pub struct Source {
    /// Below `src`.
    pub path: String,
    pub text: String,
    /// The text with comments and test code blanked out, line by line.
    pub code: String,
}

/// Every source that is not a test's.
pub fn all() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    gather(&src, "", &mut sources);
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    // `worker/tests` stands for `worker/tests.rs` and all below `worker/tests/`.
    sources.retain(|source| {
        let stem = source.path.trim_end_matches(".rs");
        !tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")))
    });
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

fn gather(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a type").is_dir() {
            gather(&entry.path(), &format!("{path}/"), sources);
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a text");
            sources.push(Source::new(&path, &text));
        }
    }
}

/// Blanks out comments, and items under `#[cfg(test)]`: with rustfmt an item ends at the first line that closes at its
/// own indentation.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            code.push('\n');
            let indentation = line.len() - line.trim_start().len();
            for line in lines.by_ref() {
                code.push('\n');
                let at_home = line.len() - line.trim_start().len() == indentation;
                let first_and_last = at_home && line.trim_end().ends_with(';');
                if first_and_last || (at_home && line.trim_start().starts_with('}')) {
                    break;
                }
            }
            continue;
        }
        let comment = line.find("//").filter(|index| !line[..*index].contains('"')).unwrap_or(line.len());
        code.push_str(&line[..comment]);
        code.push('\n');
    }
    code
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: code(text) }
    }

    /// Its way from the crate: `worker/run.rs` is `worker`, `run`.
    pub fn module_path(&self) -> Vec<String> {
        let parts = self.path.trim_end_matches(".rs").split('/');
        parts.filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned).collect()
    }

    /// The module at the top that it belongs to.
    pub fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    pub fn line_of(&self, index: usize) -> usize {
        self.code[..index].matches('\n').count() + 1
    }

    pub fn comments(&self) -> String {
        let comments = self.text.lines().filter_map(|line| line.find("//").map(|index| &line[index..]));
        comments.collect::<Vec<_>>().join("\n")
    }

    /// Where its modules lie that only tests compile, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.path.trim_end_matches(".rs");
        let folder = folder.strip_suffix("mod").unwrap_or(folder);
        let folder =
            if folder.is_empty() || folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") };
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
            let name = pair[1].strip_suffix(';')?.rsplit_once("mod ")?.1;
            Some(format!("{folder}{name}"))
        });
        declared.collect()
    }

    /// Every path that begins at the crate, as far as its second part: `seam`, `seam::store`.
    pub fn crate_paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for (index, found) in self.code.match_indices("crate::") {
            expand("", &self.code[index + found.len()..], &mut paths);
        }
        // As many `super`s as the module is deep lead to the crate too.
        let to_the_top = "super::".repeat(self.depth());
        for (index, found) in self.code.match_indices(&to_the_top) {
            let inside_a_longer_chain = self.code[..index].ends_with("super::");
            if self.depth() > 0 && !inside_a_longer_chain {
                expand("", &self.code[index + found.len()..], &mut paths);
            }
        }
        // Whatever begins with a capital is a name of `error`'s that the crate shows at its top.
        paths.retain(|path| !path.starts_with(|c: char| c.is_uppercase()));
        paths
    }

    fn depth(&self) -> usize {
        self.module_path().len()
    }
}

/// Reads `a::b`, `a::{b, c::d}` or `{a, b::c}`.
fn expand(prefix: &str, text: &str, paths: &mut BTreeSet<String>) {
    let text = text.trim_start();
    let parts = prefix.split("::").filter(|part| !part.is_empty()).count();
    if let Some(group) = text.strip_prefix('{') {
        for item in items(group) {
            expand(prefix, item, paths);
        }
        return;
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.is_empty() {
        // `*`, or nothing behind the last comma.
        paths.extend((!prefix.is_empty()).then(|| prefix.to_owned()));
        return;
    }
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}::{word}") };
    match rest.strip_prefix("::") {
        Some(rest) if parts == 0 => expand(&path, rest, paths),
        _ => {
            paths.insert(path);
        }
    }
}

/// The items of a group whose brace is open, split at its own commas.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..index]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

#[test]
fn paths_are_read_in_all_their_forms() {
    let text = "use crate::seam::{Store, store::{ETag, List}};\nuse crate::{limits, layout::Key as K};\n\
                fn f() -> crate::Result<()> { crate::model::name::x() } // crate::cli\n\
                use super::super::api::serve;\nuse super::sibling;\n\
                #[cfg(test)]\nmod tests {\n    use crate::backend;\n}\n#[cfg(test)]\nuse crate::cli;\nuse crate::event::*;\n";
    let paths = Source::new("worker/run.rs", text).crate_paths();
    let expected =
        ["api::serve", "event", "layout::Key", "limits", "model::name", "seam::Store", "seam::store"];
    assert_eq!(paths, expected.map(str::to_owned).into());
    let parent =
        Source::new("worker/mod.rs", "#[cfg(test)]\nmod fixture;\nmod run;\n#[cfg(test)]\nmod tests;\n");
    assert_eq!(parent.test_modules(), ["worker/fixture", "worker/tests"]);
    let parent = Source::new("pool.rs", "#[cfg(test)]\nmod tests;\n");
    assert_eq!(parent.test_modules(), ["pool/tests"]);
}
