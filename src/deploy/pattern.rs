//! Patterns of paths, as ignore files have them: `*` and `?` stop at a slash, `**` does not, `!` takes a path back. Each
//! becomes a regular expression, which matches in linear time whatever the pattern. Knows no files.

use regex_lite::Regex;

/// Patterns in the order of their file: a later one wins over those before it.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    /// Leads from the folder where the patterns' paths begin to the function's: empty, or `functions/f/`.
    base: String,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    takes_back: bool,
    folders_only: bool,
    /// The last part of its path has a letter, not only wildcards.
    has_name: bool,
}

/// A pattern as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub glob: String,
    pub takes_back: bool,
    pub folders_only: bool,
}

impl Pattern {
    fn matches(&self, (path, is_folder): &(String, bool)) -> bool {
        (*is_folder || !self.folders_only) && self.regex.is_match(path)
    }
}

impl Patterns {
    /// Without patterns yet. `base` is empty or ends in a slash.
    pub fn new(base: String) -> Patterns {
        Patterns { base, patterns: Vec::new() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Adds a pattern whose paths begin in `folder`, which is empty or ends in a slash. `Err`: what is wrong with it.
    pub fn add(&mut self, folder: &str, rule: &Rule) -> Result<(), &'static str> {
        let (glob, has_name) = translate(&rule.glob)?;
        let regex = Regex::new(&format!("(?s)^{}{glob}$", regex_lite::escape(folder)));
        let regex = regex.map_err(|_| "is not valid or too long")?;
        let Rule { takes_back, folders_only, .. } = *rule;
        self.patterns.push(Pattern { regex, takes_back, folders_only, has_name });
        Ok(())
    }

    /// Whether any pattern matches a path or a folder that leads to it.
    pub fn matches(&self, path: &str) -> bool {
        let levels = self.levels(path, false);
        self.patterns.iter().any(|pattern| levels.iter().any(|level| pattern.matches(level)))
    }

    /// By Docker's rules: a folder that is ignored may still hold files that are taken back.
    pub fn docker_ignores(&self, path: &str, is_folder: bool) -> bool {
        let levels = self.levels(path, is_folder);
        let decides = |pattern: &&Pattern| levels.iter().any(|level| pattern.matches(level));
        self.patterns.iter().rev().find(decides).is_some_and(|pattern| !pattern.takes_back)
    }

    /// By git's rules: nothing is taken back out of a folder that is ignored.
    pub fn git_ignores(&self, path: &str, is_folder: bool) -> bool {
        self.levels(path, is_folder).iter().any(|level| {
            let last = self.patterns.iter().rev().find(|pattern| pattern.matches(level));
            last.is_some_and(|pattern| !pattern.takes_back)
        })
    }

    /// Whether any pattern takes something back.
    pub fn take_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }

    /// Whether a pattern takes back this very path by a name, and not by wildcards alone.
    pub fn take_back_by_name(&self, path: &str, is_folder: bool) -> bool {
        let path = (format!("{}{path}", self.base), is_folder);
        self.patterns.iter().any(|pattern| pattern.takes_back && pattern.has_name && pattern.matches(&path))
    }

    /// Each folder that leads to a path, and the path itself, from where the patterns begin; with whether it is a folder.
    fn levels(&self, path: &str, is_folder: bool) -> Vec<(String, bool)> {
        let folders = path.match_indices('/').map(|(end, _)| (&path[..end], true));
        let levels = folders.chain([(path, is_folder)]);
        levels.map(|(path, is_folder)| (format!("{}{path}", self.base), is_folder)).collect()
    }
}

/// A glob as a regular expression, and whether its last part has a letter.
fn translate(glob: &str) -> Result<(String, bool), &'static str> {
    let mut regex = String::new();
    let mut has_name = false;
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                regex += if chars.peek().is_none() { ".*" } else { "(.*/)?" };
            }
            '*' => regex += "[^/]*",
            '?' => regex += "[^/]",
            '[' => class(&mut chars, &mut regex)?,
            c => {
                let literal = if c == '\\' { chars.next().ok_or("ends in a backslash")? } else { c };
                has_name = literal != '/';
                regex += &regex_lite::escape(literal.encode_utf8(&mut [0; 4]));
            }
        }
    }
    Ok((regex, has_name))
}

/// `[a-z]`, `[^a-z]`. A class never matches `/`, and a range that ends before it begins matches nothing.
fn class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    regex: &mut String,
) -> Result<(), &'static str> {
    const OPEN: &str = "has a `[` without its `]`";
    let is_negated = chars.next_if_eq(&'^').is_some();
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut is_first = true;
    loop {
        let mut member = match chars.next().ok_or(OPEN)? {
            ']' if !is_first => break,
            '\\' => chars.next().ok_or(OPEN)?,
            c => c,
        };
        is_first = false;
        let begin = member;
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
            chars.next();
            member = match chars.next().ok_or(OPEN)? {
                '\\' => chars.next().ok_or(OPEN)?,
                c => c,
            };
        }
        match begin <= '/' && '/' <= member {
            true => ranges.extend([(begin, '.'), ('0', member)]),
            false => ranges.push((begin, member)),
        }
    }
    ranges.retain(|(begin, end)| begin <= end);
    if ranges.is_empty() && !is_negated {
        // Matches nothing.
        *regex += r"[^\s\S]";
        return Ok(());
    }
    *regex += if is_negated { "[^/" } else { "[" };
    for (begin, end) in ranges {
        *regex += &format!(r"\x{{{:x}}}-\x{{{:x}}}", u32::from(begin), u32::from(end));
    }
    regex.push(']');
    Ok(())
}
