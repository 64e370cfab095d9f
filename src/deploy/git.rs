//! What git ignores: the rules of `.gitignore` files, those of the folder, below it, and above it up to the repository's
//! own folder.

use std::fs;
use std::path::Path;

use super::pattern::{Patterns, Rule};
use super::{cannot_read, read_optional};
use crate::error::{Error, Result};

pub const FILE: &str = ".gitignore";

/// All that git would ignore in a folder. The folder itself is taken, wherever it lies.
pub fn load(dir: &Path) -> Result<Patterns> {
    let dir = fs::canonicalize(dir).map_err(cannot_read(dir))?;
    let root = dir.ancestors().find(|above| above.join(".git").exists()).unwrap_or(&dir);
    let from_root = |dir: &Path| match dir.strip_prefix(root).unwrap_or(dir).to_string_lossy() {
        way if way.is_empty() => String::new(),
        way => format!("{way}/"),
    };
    let mut patterns = Patterns::new(from_root(&dir));
    let mut above: Vec<&Path> = dir.ancestors().skip(1).take_while(|above| above.starts_with(root)).collect();
    above.reverse();
    for level in above {
        read(level, &from_root(level), &mut patterns)?;
    }
    read_below(&dir, "", &mut patterns)?;
    Ok(patterns)
}

/// `path` leads from the function's folder to this one: empty, or with a slash at the end.
fn read_below(dir: &Path, path: &str, patterns: &mut Patterns) -> Result<()> {
    let here = dir.join(path);
    read(&here, &format!("{}{path}", patterns.base()), patterns)?;
    let mut folders: Vec<String> = Vec::new();
    for entry in fs::read_dir(&here).map_err(cannot_read(&here))? {
        let entry = entry.map_err(cannot_read(&here))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(cannot_read(&here))?.is_dir() && name != ".git" {
            folders.push(format!("{path}{name}"));
        }
    }
    folders.sort();
    for folder in folders {
        if !patterns.git_ignores(&folder, true) {
            read_below(dir, &format!("{folder}/"), patterns)?;
        }
    }
    Ok(())
}

/// `folder`: the way to `dir` from the repository's folder.
fn read(dir: &Path, folder: &str, patterns: &mut Patterns) -> Result<()> {
    let file = dir.join(FILE);
    let Some(text) = read_optional(&file)? else { return Ok(()) };
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if let Some(rule) = rule(line) {
            patterns.add(folder, &rule).map_err(|why| {
                Error::invalid(format!("{}: line {}: pattern `{line}` {why}", file.display(), index + 1))
            })?;
        }
    }
    Ok(())
}

/// A line as a pattern in Docker's syntax, whose paths begin in the file's own folder.
fn rule(line: &str) -> Option<Rule> {
    let line = match line.strip_suffix(|c: char| c.is_whitespace()) {
        Some(rest) if rest.ends_with('\\') => line,
        _ => line.trim_end(),
    };
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (takes_back, glob) = match line.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (folders_only, glob) = match glob.strip_suffix('/') {
        Some(rest) => (true, rest),
        None => (false, glob),
    };
    // A name alone is meant at any depth.
    let glob = match glob.contains('/') {
        true => glob.trim_start_matches('/').to_owned(),
        false => format!("**/{glob}"),
    };
    Some(Rule { glob: glob.replace("[!", "[^"), takes_back, folders_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ignores_what_git_ignores() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        fs::create_dir(dir.path().join(".git")).unwrap();
        write(".gitignore", "*.log\n/functions/f/made\nbuild/\n!keep.log\n\\#odd\n[!a-z]x\n  \n# comment\n");
        write("functions/.gitignore", "f/deep/*.tmp\n");
        write("functions/f/sub/.gitignore", "/only\nlocal\n");
        write("functions/f/build/inner", "");
        let patterns = load(&dir.path().join("functions/f")).unwrap();
        for (path, is_dir, expected) in [
            ("a.log", false, true),
            ("x/y/a.log", false, true),
            ("keep.log", false, false),
            ("made", false, true),
            ("x/made", false, false),
            ("build", true, true),
            ("build", false, false),
            ("build/keep.log", false, true),
            ("#odd", false, true),
            ("1x", false, true),
            ("bx", false, false),
            ("deep/a.tmp", false, true),
            ("deep/er/a.tmp", false, false),
            ("sub/only", false, true),
            ("sub/x/only", false, false),
            ("sub/x/local", true, true),
            ("local", false, false),
        ] {
            assert_eq!(patterns.git_ignores(path, is_dir), expected, "{path}");
        }
    }
}
