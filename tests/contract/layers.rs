//! The modules of the crate `api`: their imports form no circle, so that each can be understood
//! and moved with the ones below it alone. Files of one module may use each other.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

/// A file by its module path, such as `["stream", "hub"]`.
type File = Vec<String>;

/// Returns the text of each file, without tests and comments.
fn sources(directory: &Path, module: &[String]) -> BTreeMap<File, String> {
    let comments = Regex::new("//[^\n]*").unwrap();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let file: File = module.iter().cloned().chain([stem.clone()]).collect();
        if stem == "tests" || stem == "lib" {
            continue;
        } else if path.is_dir() {
            found.extend(sources(&path, &file));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.insert(file, comments.replace_all(code, "").into_owned());
        }
    }
    found
}

/// Writes the paths of a `use` tree out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in tree.char_indices().chain([(tree.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = tree[start..at].trim();
                match part.split_once('{') {
                    Some((before, group)) => {
                        let group = group.strip_suffix('}').unwrap();
                        expand(&format!("{prefix}{before}"), group, paths);
                    }
                    None => paths.push(format!("{prefix}{part}")),
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Returns the files that each file imports from.
fn imports(sources: &BTreeMap<File, String>) -> BTreeMap<File, BTreeSet<File>> {
    let uses = Regex::new(r"(?m)^\s*(?:pub(?:\(\w+\))? )?use ([\w:{},*\s]+);").unwrap();
    let inline = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap();
    let of_file = |(file, text): (&File, &String)| {
        let mut paths = vec![];
        for tree in uses.captures_iter(text) {
            expand("", &tree[1], &mut paths);
        }
        let rest = uses.replace_all(text, "");
        paths.extend(inline.find_iter(&rest).map(|path| path.as_str().to_owned()));
        let target = |path: &String| {
            let mut parts = path.split("::").peekable();
            let mut target = match *parts.peek()? {
                "crate" => vec![],
                "self" | "super" => file.clone(),
                _ => return None,
            };
            while parts.peek() == Some(&"super") {
                parts.next();
                target.pop();
            }
            parts.next_if(|part| ["crate", "self"].contains(part));
            target.extend(parts.map(|part| part.trim().to_owned()));
            while !target.is_empty() && !sources.contains_key(&target) {
                target.pop();
            }
            (!target.is_empty() && target != *file).then_some(target)
        };
        (file.clone(), paths.iter().filter_map(target).collect())
    };
    sources.iter().map(of_file).collect()
}

/// Returns the pairs of files that import from each other, directly or through others, and belong
/// to different modules.
fn circles(sources: &BTreeMap<File, String>) -> Vec<(File, File)> {
    let imports = imports(sources);
    let reached_from = |file: &File| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file.clone()]);
        while let Some(next) = open.pop() {
            open.extend(
                imports[&next]
                    .iter()
                    .filter(|to| reached.insert((*to).clone()))
                    .cloned(),
            );
        }
        reached
    };
    let reached: BTreeMap<&File, BTreeSet<File>> = sources
        .keys()
        .map(|file| (file, reached_from(file)))
        .collect();
    let pairs = reached
        .iter()
        .flat_map(|(from, reached)| reached.iter().map(|to| (*from, to)));
    pairs
        .filter(|(from, to)| from < to && from[0] != to[0] && reached[to].contains(*from))
        .map(|(from, to)| (from.clone(), to.clone()))
        .collect()
}

#[test]
fn modules_of_the_api_form_no_circle() {
    let sources = sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/src"),
        &[],
    );
    let file = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect::<File>();
    let imports = imports(&sources);
    assert!(imports[&file(&["router"])].contains(&file(&["app"])));
    assert!(imports[&file(&["stream", "watch"])].contains(&file(&["stream", "shard"])));
    assert_eq!(circles(&sources), []);
}

#[test]
fn circle_is_found_through_groups_and_inline_paths() {
    let file = |path: &str| path.split('/').map(str::to_owned).collect::<File>();
    let circle = BTreeMap::from([
        (
            file("a"),
            "use std::fs;\nuse crate::{b::{c::X, e}, other};".to_owned(),
        ),
        (file("b"), String::new()),
        (file("b/c"), "fn f() { super::d::g() }".to_owned()),
        (file("b/d"), "use crate::a::{self, Y};".to_owned()),
    ]);
    let pairs = [(file("a"), file("b/c")), (file("a"), file("b/d"))];
    assert_eq!(circles(&circle), pairs);
    let open = circle.into_iter().filter(|(path, _)| *path != file("b/d"));
    assert_eq!(circles(&open.collect()), []);
}
