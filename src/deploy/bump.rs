//! Raises the version in `func.yaml` in place: one line changes, comments and quotes stay.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::func_yaml::{self, Node, VERSION_DEFAULT, Value, error_at};
use crate::error::{Error, Result};

/// Which number is raised; those after it become 0.
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

/// A `func.yaml` that was written with its new version. Unless it is kept, dropping this restores the file.
pub struct Raised(Option<Bump>);

/// Raises the version in a folder's `func.yaml`, and returns the new one.
pub fn bump(dir: &Path, part: Part) -> Result<String> {
    let bump = Bump::plan(&func_yaml::find(dir)?, part)?;
    let version = bump.version.clone();
    bump.write()?.keep();
    Ok(version)
}

impl Bump {
    pub fn plan(path: &Path, part: Part) -> Result<Bump> {
        let before = func_yaml::read(path)?;
        let (version, after) = raise(&path.display().to_string(), &before, part)?;
        Ok(Bump { path: path.to_owned(), version, before, after })
    }

    pub fn write(self) -> Result<Raised> {
        replace(&self.path, &self.after)?;
        Ok(Raised(Some(self)))
    }
}

impl Raised {
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // A file that was edited since stays. So does one that cannot be restored: a skipped version number is no harm.
        if let Some(bump) = self.0.take()
            && func_yaml::read(&bump.path).is_ok_and(|text| text == bump.after)
        {
            let _ = replace(&bump.path, &bump.before);
        }
    }
}

/// The new version, and the text with it.
fn raise(file: &str, text: &str, part: Part) -> Result<(String, String)> {
    let root = func_yaml::parse_tree(file, text)?;
    let Value::Map(entries) = &root.value else {
        return Err(error_at(file, root.line, "there are no keys like `name: myfn`"));
    };
    let (line, version, after) = match entries.iter().find(|entry| entry.key == "version") {
        // A file without a version is at the default one, and gets a line for it.
        None => (root.line, VERSION_DEFAULT.to_owned(), Some(with_version(text, root.offset))),
        Some(entry) if entry.value.is_null() => (entry.line, VERSION_DEFAULT.to_owned(), None),
        Some(entry) => {
            let Value::Scalar { text: version, .. } = &entry.value.value else {
                return Err(error_at(file, entry.line, "`version` is no text"));
            };
            let next = next(version, part).ok_or_else(|| {
                error_at(file, entry.line, format!("version `{version}` cannot be raised"))
                    .with_hint("one of three numbers can, like 0.0.1; `--no-bump` deploys under yours")
            })?;
            let (before, rest) = text.split_at(entry.value.offset);
            let quote = if rest.starts_with(['"', '\'']) { &rest[..1] } else { "" };
            let rest = rest[quote.len()..].strip_prefix(version.as_str());
            let after = rest.map(|rest| format!("{before}{quote}{next}{rest}"));
            (entry.line, next, after)
        }
    };
    // However the file is written: it must read the same as before, but for its version.
    let is_raised = |after: &String| {
        let after = func_yaml::parse_tree(file, after);
        after.is_ok_and(|after| fields(&after, Some(&version)) == fields(&root, None))
    };
    match after.filter(is_raised) {
        Some(after) => Ok((version, after)),
        None => Err(error_at(file, line, "there is no version here that can be changed in place")
            .with_hint(format!("write it on a line of its own: `version: {VERSION_DEFAULT}`"))),
    }
}

fn with_version(text: &str, offset: usize) -> String {
    let (before, rest) = text.split_at(offset);
    let line_end = if rest.is_empty() && !before.is_empty() && !before.ends_with('\n') { "\n" } else { "" };
    format!("{before}{line_end}version: {VERSION_DEFAULT}\n{rest}")
}

/// All fields but the version. `None` when the version is not the expected one.
fn fields(root: &Node, expected: Option<&str>) -> Option<BTreeMap<String, serde_json::Value>> {
    let Value::Map(entries) = &root.value else { return None };
    let fields = entries.iter().map(|entry| (entry.key.clone(), func_yaml::json(&entry.value)));
    let mut fields: BTreeMap<_, _> = fields.collect();
    let version = fields.remove("version");
    (expected.is_none() || version.as_ref().and_then(|version| version.as_str()) == expected)
        .then_some(fields)
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

/// Replaces a file as a whole: a reader finds the old text or the new one.
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
        let bump = || Bump::plan(&path, Part::Patch).unwrap().write().unwrap();
        let raised = bump();
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 0.1.1\n");
        drop(raised);
        assert_eq!(fs::read_to_string(&path).unwrap(), "version: 0.1.0\n");
        let raised = bump();
        fs::write(&path, "version: 0.1.1\nname: mine\n").unwrap();
        drop(raised);
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
