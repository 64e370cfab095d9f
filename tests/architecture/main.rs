//! ARCHITECTURE.md against the sources: arrows between modules, habits, reasons. The page is the one source of truth.

mod imports;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const LINES_MAX: usize = 500;
/// What every module may use.
const EVERYBODYS: [&str; 3] = ["error", "limits", "planted"];
/// Where people are printed for.
const PRINTS: [&str; 2] = ["cli", "main"];

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("the page")
}

/// Module → what it may use: a module, or a part of one (`submit::send`).
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = page();
    let block = page
        .split("```arrows\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a block of arrows");
    let arrows = block.lines().map(|line| {
        let (module, uses) = line.split_once('→').expect("an arrow in each line");
        (module.trim().to_owned(), uses.split_whitespace().map(str::to_owned).collect())
    });
    arrows.collect()
}

/// Fails with all that was found, not with the first.
fn nothing(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_module_is_on_the_map() {
    let modules: BTreeSet<String> = source::all()
        .iter()
        .map(|source| source.module().to_owned())
        .filter(|module| module != "lib" && module != "main")
        .collect();
    assert_eq!(modules, allowed().into_keys().collect());
}

#[test]
fn every_arrow_is_on_the_map_and_none_is_there_for_nothing() {
    let allowed = allowed();
    let mut surplus = Vec::new();
    let mut walked = BTreeSet::new();
    let sources = source::all();
    for source in sources.iter().filter(|source| source.module() != "lib" && source.module() != "main") {
        let module = source.module();
        for path in source.crate_paths() {
            let target = path.split("::").next().expect("a first part");
            let is_allowed =
                |arrow: &String| arrow == "*" || path == *arrow || path.starts_with(&format!("{arrow}::"));
            if target == module || EVERYBODYS.contains(&target) {
                continue;
            }
            match allowed[module].iter().find(|arrow| is_allowed(arrow)) {
                Some(arrow) => {
                    walked.insert((module, arrow.as_str()));
                }
                None => surplus.push(format!("{module} → {path} in {}", source.path)),
            }
        }
    }
    nothing("arrows that are not on the map of ARCHITECTURE.md", surplus);
    let drawn = allowed
        .iter()
        .flat_map(|(module, arrows)| arrows.iter().map(|arrow| (module.as_str(), arrow.as_str())));
    let unused = drawn.filter(|(_, arrow)| *arrow != "*").filter(|arrow| !walked.contains(arrow));
    nothing(
        "arrows on the map that nothing walks",
        unused.map(|(module, arrow)| format!("{module} → {arrow}")).collect(),
    );
}

#[test]
fn arrows_go_one_way() {
    let allowed = allowed();
    // Takes away whatever leads nowhere that is left, until nothing is left or a circle is.
    let mut left: BTreeMap<&str, BTreeSet<&str>> = allowed
        .iter()
        .map(|(module, arrows)| {
            let targets =
                arrows.iter().filter(|arrow| *arrow != "*").map(|arrow| arrow.split("::").next().unwrap());
            (module.as_str(), targets.collect())
        })
        .collect();
    while let Some(leaf) =
        left.iter().find(|(_, targets)| targets.iter().all(|target| !left.contains_key(target)))
    {
        let leaf = *leaf.0;
        left.remove(leaf);
    }
    assert!(left.is_empty(), "arrows that go round: {left:?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    // The program's own file has the crate's path too.
    let sources: Vec<_> = source::all().into_iter().filter(|source| source.path != "main.rs").collect();
    let circles = imports::circles(&imports::Imports::of(&sources).edges());
    let shown = circles.iter().map(|circle| circle.iter().copied().collect::<Vec<_>>().join(", "));
    nothing("files that import each other in a circle", shown.collect());
}

#[test]
fn every_select_is_biased() {
    let mut found = Vec::new();
    for source in source::all() {
        for (index, _) in source.code.match_indices("select!") {
            let body = source.code[index..].split_once('{').map_or("", |(_, body)| body);
            if !body.trim_start().starts_with("biased;") {
                found.push(format!("{}:{}", source.path, source.line_of(index)));
            }
        }
    }
    nothing("`select!` without `biased;`, whose choice differs from run to run", found);
}

#[test]
fn the_engine_does_not_print() {
    let mut found = Vec::new();
    for source in source::all().iter().filter(|source| !PRINTS.contains(&source.module())) {
        for print in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            for (index, _) in source.code.match_indices(print) {
                let part_of_a_word =
                    source.code[..index].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if !part_of_a_word {
                    found.push(format!("{print} in {}:{}", source.path, source.line_of(index)));
                }
            }
        }
    }
    nothing("printing outside of cli", found);
}

/// What afn makes for itself is its user's alone, by one helper; what a user asks for by name is the user's document.
#[test]
fn folders_are_made_in_one_place() {
    const DOCUMENTS: [&str; 2] = ["deploy/init/", "results/export/"];
    let mut found = Vec::new();
    let sources = source::all().into_iter().filter(|source| source.module() != "folder");
    for source in sources.filter(|source| !DOCUMENTS.iter().any(|place| source.path.contains(place))) {
        for maker in ["create_dir(", "create_dir_all(", "DirBuilder", "tempdir(", "tempdir_in("] {
            for (index, _) in source.code.match_indices(maker) {
                found.push(format!("{maker} in {}:{}", source.path, source.line_of(index)));
            }
        }
    }
    nothing("folders that are not made by `folder`", found);
}

#[test]
fn no_file_is_a_warehouse() {
    let long = source::all().into_iter().map(|source| (source.text.lines().count(), source.path));
    let long =
        long.filter(|(lines, _)| *lines > LINES_MAX).map(|(lines, path)| format!("{path}: {lines} lines"));
    nothing("files that hold more than one idea", long.collect());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = source::all().into_iter().filter(|source| source.module() != "main");
    let silent = silent.filter(|source| !source.text.starts_with("//!"));
    nothing(
        "files without a first line that says what they are for",
        silent.map(|source| source.path).collect(),
    );
}

/// `H4`, `N13`.
fn holes(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_hole = |word: &&str| {
        let digits = word.strip_prefix(['H', 'N']).unwrap_or_default();
        (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    words.filter(is_hole).map(str::to_owned).collect()
}

#[test]
fn every_hole_that_is_cited_is_explained() {
    let page = page();
    let table = page.lines().filter(|line| line.starts_with("| H") || line.starts_with("| N"));
    let explained: BTreeSet<String> =
        table.filter_map(|line| line.split('|').nth(1)).map(|name| name.trim().to_owned()).collect();
    let mut missing: Vec<String> =
        holes(&page).difference(&explained).map(|hole| format!("{hole} on the page")).collect();
    for source in source::all() {
        missing.extend(
            holes(&source.comments()).difference(&explained).map(|hole| format!("{hole} in {}", source.path)),
        );
    }
    nothing("holes that no row of ARCHITECTURE.md explains", missing);
    assert!(!explained.is_empty());
}
