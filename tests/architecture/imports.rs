//! Which file imports which: a file imports another when it names an item of it, by `use` or by path. A `mod` line and a
//! re-export (`pub use`) import nothing; who names an item by its re-export imports the file that defines it. What a file shares
//! with the files below its own folder is no import either: `context/open.rs` may use what `context/mod.rs` defines.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

type Path = Vec<String>;

/// Names at the crate's files: a module or an item, by its way from the crate.
pub struct Imports<'a> {
    files: BTreeMap<Path, File<'a>>,
    by_path: BTreeMap<&'a str, Path>,
}

struct File<'a> {
    source: &'a Source,
    /// A name that `use` binds here, and what it stands for; more than one where `cfg` decides.
    names: BTreeMap<String, BTreeSet<Path>>,
    /// Everything that it names, re-exports apart.
    mentions: BTreeSet<Path>,
}

impl<'a> Imports<'a> {
    pub fn of(sources: &'a [Source]) -> Imports<'a> {
        let modules: BTreeSet<Path> = sources.iter().map(|source| source.module_path()).collect();
        let files = sources.iter().map(|source| (source.module_path(), File::read(source, &modules)));
        let by_path = sources.iter().map(|source| (source.path.as_str(), source.module_path()));
        Imports { files: files.collect(), by_path: by_path.collect() }
    }

    /// File → the files that it imports.
    pub fn edges(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let edges = self.files.values().map(|file| {
            let mut targets = BTreeSet::new();
            file.mentions.iter().for_each(|path| self.resolve(path, 0, &mut targets));
            let own = file.source.module_path();
            targets.retain(|target| !own.starts_with(&self.by_path[target]));
            (file.source.path.as_str(), targets)
        });
        edges.collect()
    }

    /// The files that define what a path names; none for a module, which is no item of its file.
    fn resolve(&self, path: &[String], depth: usize, found: &mut BTreeSet<&'a str>) {
        assert!(depth < 20, "re-exports that go round: {path:?}");
        for end in 0..path.len() {
            // A module and an item may have one name: both are looked at.
            let Some(file) = self.files.get(&path[..end]) else { continue };
            let further = &path[end + 1..];
            let is_module = self.files.contains_key(&path[..=end]);
            let targets = file.names.get(&path[end]).into_iter().flatten();
            if file.defines(&path[end]) {
                found.extend((!is_module || further.is_empty()).then_some(file.source.path.as_str()));
            } else if targets.clone().next().is_some() {
                let leads_on =
                    |target: &&Path| !is_module || further.is_empty() || self.files.contains_key(*target);
                let targets = targets.filter(|target| path[..=end] != **target).filter(leads_on);
                targets.for_each(|target| self.resolve(&[target, further].concat(), depth + 1, found));
            } else if !is_module {
                found.insert(&file.source.path);
            }
        }
    }
}

/// The files that import each other in a circle, circle by circle.
pub fn circles<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reached = |from: &'a str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(edges.get(file).into_iter().flatten().filter(|target| reached.insert(**target)));
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached(file))).collect();
    let circle = |file: &&'a str| -> BTreeSet<&'a str> {
        reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect()
    };
    let circles: BTreeSet<_> = edges.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    circles.into_iter().collect()
}

impl<'a> File<'a> {
    fn defines(&self, item: &str) -> bool {
        let words = ["fn", "struct", "enum", "trait", "type", "const", "static", "macro_rules!"];
        let code = &self.source.code;
        words.iter().any(|word| {
            let head = format!("{word} {item}");
            code.match_indices(&head).any(|(index, _)| {
                !code[..index].ends_with(is_word) && !code[index + head.len()..].starts_with(is_word)
            })
        })
    }

    fn read(source: &'a Source, modules: &BTreeSet<Path>) -> File<'a> {
        let own = source.module_path();
        let child = |name: &str| [&own[..], &[name.to_owned()]].concat();
        let (uses, rest) = split_uses(&source.code);
        let (mut names, mut mentions) = (BTreeMap::<String, BTreeSet<Path>>::new(), BTreeSet::new());
        for (is_public, tree) in uses {
            let mut leaves = Vec::new();
            expand(&[], tree, &mut leaves);
            for (path, name) in leaves {
                let first = path.first().map(String::as_str).unwrap_or_default();
                let Some(path) = absolute(&own, &path)
                    .or_else(|| modules.contains(&child(first)).then(|| [&own[..], &path[..]].concat()))
                else {
                    continue;
                };
                if !is_public {
                    mentions.insert(path.clone());
                }
                names.entry(name).or_default().insert(path);
            }
        }
        for path in paths(&rest) {
            let first = path[0].clone();
            match absolute(&own, &path) {
                Some(path) => _ = mentions.insert(path),
                None if modules.contains(&child(&first)) => {
                    mentions.insert([&own[..], &path[..]].concat());
                }
                None => {
                    let bound = names.get(&first).into_iter().flatten();
                    let further = bound.map(|target| [&target[..], &path[1..]].concat());
                    mentions.extend(further.collect::<Vec<_>>());
                }
            }
        }
        File { source, names, mentions }
    }
}

/// `None`: it begins at neither crate nor module.
fn absolute(own: &[String], path: &[String]) -> Option<Path> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([own, &path[1..]].concat()),
        "super" => Some([&own[..own.len().checked_sub(ups)?], &path[ups..]].concat()),
        _ => None,
    }
}

/// The trees of all `use` lines and whether each is a re-export, and the code without them.
fn split_uses(code: &str) -> (Vec<(bool, &str)>, String) {
    let (mut uses, mut rest, mut at) = (Vec::new(), String::new(), 0);
    for line in code.split_inclusive('\n') {
        let start = line.as_ptr() as usize - code.as_ptr() as usize;
        if start < at {
            continue;
        }
        let words = line.trim_start();
        let visible = words.starts_with("pub").then(|| words.find(" use ")).flatten();
        let head = if words.starts_with("use ") { Some(0) } else { visible.map(|at| at + 1) };
        let Some(head) = head else {
            rest.push_str(line);
            continue;
        };
        let from = start + (line.len() - words.len()) + head + "use ".len();
        let end = code[from..].find(';').map_or(code.len(), |end| from + end);
        uses.push((visible.is_some(), &code[from..end]));
        at = end + 1;
    }
    (uses, rest)
}

/// Reads `a::b`, `a::{self, b as c}`: each path, and the name that it gets.
fn expand(prefix: &[String], tree: &str, leaves: &mut Vec<(Path, String)>) {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{').and_then(|group| group.strip_suffix('}')) {
        items(group).into_iter().for_each(|item| expand(prefix, item, leaves));
        return;
    }
    if let Some((word, rest)) = tree.split_once("::").filter(|(word, _)| !word.contains('{')) {
        expand(&[prefix, &[word.trim().to_owned()]].concat(), rest, leaves);
        return;
    }
    let (word, name) =
        tree.split_once(" as ").map_or((tree, tree), |(word, name)| (word.trim(), name.trim()));
    let path = match word {
        "self" => prefix.to_vec(),
        word => [prefix, &[word.to_owned()]].concat(),
    };
    let name = if name == "self" { path.last().cloned().unwrap_or_default() } else { name.to_owned() };
    leaves.push((path, name));
}

/// The items of a group, split at its own commas.
fn items(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let own_comma = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    group.split(own_comma).filter(|item| !item.trim().is_empty()).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All paths of two parts and more.
fn paths(code: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_word) {
        let is_method = rest[..start].ends_with(['.', '\'']);
        rest = &rest[start..];
        let mut path = Vec::new();
        loop {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(more) if more.starts_with(is_word) => rest = more,
                _ => break,
            }
        }
        if path.len() > 1 && !is_method {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn an_import_is_an_item_of_another_file() {
    let sources = [
        Source::new("lib.rs", "pub mod a;\npub mod b;\npub use a::Top;\n"),
        Source::new(
            "a/mod.rs",
            "mod one;\nmod two;\npub use one::{First, Second as Other};\npub struct Top;\n",
        ),
        Source::new("a/one.rs", "use super::two;\npub fn f() { two::g() }\npub struct First;\n"),
        Source::new(
            "a/two.rs",
            "pub fn g() {} // crate::b::x()\n#[cfg(test)]\nmod tests {\n    use crate::b::x;\n}\n",
        ),
        Source::new("b.rs", "use crate::{Top,\n    a::{self, First}};\nfn x() { a::Other::new() }\n"),
    ];
    let edges = Imports::of(&sources).edges();
    let edge = |file: &str| edges[file].iter().copied().collect::<Vec<_>>();
    assert_eq!(edge("lib.rs"), [""; 0]);
    assert_eq!(edge("a/mod.rs"), [""; 0]);
    assert_eq!(edge("a/one.rs"), ["a/two.rs"]);
    assert_eq!(edge("a/two.rs"), [""; 0]);
    assert_eq!(edge("b.rs"), ["a/mod.rs", "a/one.rs"]);
    assert!(circles(&edges).is_empty());

    let sources = [
        Source::new("a.rs", "use crate::b::B;\n"),
        Source::new("b.rs", "fn b() { super::c::c() }\n"),
        Source::new("c.rs", "use super::a::A;\n"),
        Source::new("lib.rs", "use crate::a::A;\n"),
    ];
    let edges = Imports::of(&sources).edges();
    assert_eq!(circles(&edges), [BTreeSet::from(["a.rs", "b.rs", "c.rs"])]);
}
