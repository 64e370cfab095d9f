//! The version in `func.yaml`, raised where it stands: one line changes, comments and quotes stay.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::func_yaml::{self, Node, VERSION_DEFAULT, Value, error_at};
use crate::error::{Error, Result};

/// Which number is raised; those behind it begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    Major,
    Minor,
    #[default]
    Patch,
}

/// A `func.yaml` with its version raised, not yet written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bump {
    pub path: PathBuf,
    /// The version's new label.
    pub version: String,
    before: String,
    after: String,
}

/// Raises the version in a folder's `func.yaml`, and answers the new one.
pub fn bump(dir: &Path, part: Part) -> Result<String> {
    let bump = Bump::plan(&func_yaml::find(dir)?, part)?;
    bump.write()?;
    Ok(bump.version)
}

impl Bump {
    pub fn plan(path: &Path, part: Part) -> Result<Bump> {
        let before = func_yaml::read(path)?;
        let (version, after) = raise(&path.display().to_string(), &before, part)?;
        Ok(Bump { path: path.to_owned(), version, before, after })
    }

    pub fn write(&self) -> Result<()> {
        replace(&self.path, &self.after)
    }

    /// Puts the file back as it was, unless somebody has edited it since.
    pub fn undo(&self) -> Result<()> {
        if func_yaml::read(&self.path)? == self.after { replace(&self.path, &self.before) } else { Ok(()) }
    }
}

/// The new version, and the text that has it.
fn raise(file: &str, text: &str, part: Part) -> Result<(String, String)> {
    let root = func_yaml::parse_tree(file, text)?;
    let Value::Map(entries) = &root.value else {
        return Err(error_at(file, root.line, "there are no keys like `name: myfn`"));
    };
    let (line, version, after) = match entries.iter().find(|entry| entry.key == "version") {
        Some(entry) if !entry.value.is_null() => {
            let Value::Scalar { text: version, .. } = &entry.value.value else {
                return Err(error_at(file, entry.line, "`version` is no text"));
            };
            let next = next(version, part).ok_or_else(|| {
                error_at(file, entry.line, format!("version `{version}` cannot be raised"))
                    .hint("one of three numbers can, like 0.0.1; `--no-bump` deploys under yours")
            })?;
            let after = exchange(text, &entry.value, version, &next);
            (entry.line, next, after)
        }
        Some(entry) => (entry.line, VERSION_DEFAULT.to_owned(), None),
        None => (root.line, VERSION_DEFAULT.to_owned(), Some(add(text, &root))),
    };
    // Whatever the file looks like: it must read the same as before, but for its version.
    let says_so = |after: &String| {
        func_yaml::parse_tree(file, after).is_ok_and(|after| is_raised(&root, &after, &version))
    };
    match after.filter(says_so) {
        Some(after) => Ok((version, after)),
        None => Err(error_at(file, line, "there is no version here that can be changed in place")
            .hint(format!("write it on a line of its own: `version: {VERSION_DEFAULT}`"))),
    }
}

/// The text with one version in the place of another.
fn exchange(text: &str, node: &Node, version: &str, next: &str) -> Option<String> {
    let start = offset(text, node)?;
    let quote = text[start..].chars().next().filter(|c| *c == '"' || *c == '\'').map_or(0, char::len_utf8);
    let value = start + quote;
    let mut after = text.to_owned();
    text[value..].starts_with(version).then(|| after.replace_range(value..value + version.len(), next))?;
    Some(after)
}

/// A file without a version is at [`VERSION_DEFAULT`], and gets a line that says so.
fn add(text: &str, root: &Node) -> String {
    let mut after = text.to_owned();
    let at = root_start(text, root);
    if at == text.len() && !text.is_empty() && !text.ends_with('\n') {
        after.push('\n');
        after.push_str(&format!("version: {VERSION_DEFAULT}\n"));
    } else {
        after.insert_str(at, &format!("version: {VERSION_DEFAULT}\n"));
    }
    after
}

/// Whether two files differ in their version alone.
fn is_raised(before: &Node, after: &Node, version: &str) -> bool {
    let fields = |node: &Node| -> Option<BTreeMap<String, serde_json::Value>> {
        let Value::Map(entries) = &node.value else { return None };
        Some(entries.iter().map(|entry| (entry.key.clone(), func_yaml::json(&entry.value))).collect())
    };
    let (Some(mut before), Some(mut after)) = (fields(before), fields(after)) else { return false };
    before.remove("version");
    after.remove("version") == Some(version.into()) && before == after
}

/// Where the first key's line begins; at the end when there is none.
fn root_start(text: &str, root: &Node) -> usize {
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => line_start(text, root.line).unwrap_or(0),
        _ => text.len(),
    }
}

fn line_start(text: &str, line: usize) -> Option<usize> {
    match line.checked_sub(2) {
        None => Some(0),
        Some(breaks) => text.match_indices('\n').nth(breaks).map(|(index, _)| index + 1),
    }
}

fn offset(text: &str, node: &Node) -> Option<usize> {
    let start = line_start(text, node.line)?;
    let line = &text[start..];
    // A byte order mark is no character of the first line's.
    let start =
        if start == 0 && line.starts_with('\u{feff}') { start + '\u{feff}'.len_utf8() } else { start };
    let (index, _) = text[start..].char_indices().nth(node.column)?;
    Some(start + index)
}

fn next(version: &str, part: Part) -> Option<String> {
    let numbers: Vec<u64> = version.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [major, minor, patch] = numbers[..] else { return None };
    let (major, minor, patch) = match part {
        Part::Major => (major.checked_add(1)?, 0, 0),
        Part::Minor => (major, minor.checked_add(1)?, 0),
        Part::Patch => (major, minor, patch.checked_add(1)?),
    };
    Some(format!("{major}.{minor}.{patch}"))
}

/// Writes a file whole: whoever reads it finds the old text or the new one.
fn replace(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        // Through a link, to what it leads to.
        let path = fs::canonicalize(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(|error| Error::invalid(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raised(text: &str) -> (String, String) {
        raise("func.yaml", text, Part::Patch).unwrap()
    }

    #[test]
    fn one_line_changes_and_everything_else_stays() {
        for (before, after) in [
            ("name: f\nversion: 0.0.1\nruntime: go\n", "name: f\nversion: 0.0.2\nruntime: go\n"),
            ("version:   0.0.9   # mine\nname: f", "version:   0.0.10   # mine\nname: f"),
            ("version: \"0.0.1\" # keep\r\nname: f\r\n", "version: \"0.0.2\" # keep\r\nname: f\r\n"),
            ("# ünï\nname: é\nversion: '1.2.3'", "# ünï\nname: é\nversion: '1.2.4'"),
            ("\u{feff}version: 0.0.1\n", "\u{feff}version: 0.0.2\n"),
            ("{\"name\": \"ü\", \"version\": \"0.0.1\"}", "{\"name\": \"ü\", \"version\": \"0.0.2\"}"),
            ("config:\n  version: 7.7.7\nversion: 0.0.1\n", "config:\n  version: 7.7.7\nversion: 0.0.2\n"),
            ("version:\n  0.0.1\n", "version:\n  0.0.2\n"),
        ] {
            assert_eq!(raised(before).1, after);
        }
    }

    #[test]
    fn each_part_begins_those_behind_it_anew() {
        assert_eq!(next("1.2.3", Part::Patch).unwrap(), "1.2.4");
        assert_eq!(next("1.2.3", Part::Minor).unwrap(), "1.3.0");
        assert_eq!(next("1.2.3", Part::Major).unwrap(), "2.0.0");
    }

    #[test]
    fn a_file_without_a_version_gets_one() {
        for (before, after) in [
            ("# mine\n\nname: f\n", "# mine\n\nversion: 0.0.1\nname: f\n"),
            ("", "version: 0.0.1\n"),
            ("---\nname: f\n", "---\nversion: 0.0.1\nname: f\n"),
        ] {
            assert_eq!(raised(before), ("0.0.1".to_owned(), after.to_owned()));
            func_yaml::parse_tree("func.yaml", after).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_raised_says_so() {
        for (text, expected) in [
            ("version: 1.2\n", "func.yaml:1: version `1.2` cannot be raised"),
            ("version: 1.2.x\n", "func.yaml:1: version `1.2.x` cannot be raised"),
            (
                "version: 0.0.18446744073709551615\n",
                "func.yaml:1: version `0.0.18446744073709551615` cannot be raised",
            ),
            ("version: [1]\n", "func.yaml:1: `version` is no text"),
            (
                "version: \"0\\x2e0.1\"\n",
                "func.yaml:1: there is no version here that can be changed in place",
            ),
            ("{\"name\": \"f\"}", "func.yaml:1: there is no version here that can be changed in place"),
        ] {
            assert_eq!(raise("func.yaml", text, Part::Patch).unwrap_err().message(), expected);
        }
    }

    #[test]
    fn a_bump_can_be_undone_unless_the_file_was_edited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("func.yaml");
        fs::write(&path, "version: 0.0.1\n").unwrap();
        assert_eq!(bump(dir.path(), Part::Minor).unwrap(), "0.1.0");
        let bump = Bump::plan(&path, Part::Patch).unwrap();
        bump.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 0.1.1\n");
        bump.undo().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 0.1.0\n");
        bump.write().unwrap();
        fs::write(&path, "version: 0.1.1\nname: mine\n").unwrap();
        bump.undo().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 0.1.1\nname: mine\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_lose_the_file(text in "(version: |name: |\"|'|[0-9.]{0,5}|\\n|#|é|\\{|\\}|:){0,20}") {
            if let Ok((version, after)) = raise("func.yaml", &text, Part::Patch) {
                let file = func_yaml::parse_tree("func.yaml", &after).unwrap();
                let Value::Map(entries) = file.value else { panic!("a map") };
                let entry = entries.into_iter().find(|entry| entry.key == "version").unwrap();
                let Value::Scalar { text, .. } = entry.value.value else { panic!("a text") };
                prop_assert_eq!(text, version);
            }
        }
    }
}
