//! Arrows only go down: every `crate::` path in `src/` against the table of floors.

use std::path::{Path, PathBuf};

/// Floor, and the floors that it may name.
const FLOORS: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("format", &[]),
    ("machine", &["format"]),
    ("store", &["base", "format"]),
    ("sandbox", &["base"]),
    ("fetch", &["base", "format"]),
    ("engine", &["base", "format", "machine", "store", "sandbox", "fetch"]),
    ("hook", &["base", "format", "machine", "store", "sandbox", "fetch"]),
    ("cli", &["base", "format", "machine", "store", "sandbox", "fetch", "engine", "hook"]),
];

#[test]
fn arrows_only_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let floor = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == floor) else { continue };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for named in names_after_crate(line) {
                checked += 1;
                if named != floor && !allowed.contains(&named) {
                    let place = format!("{}:{}", inside.display(), number + 1);
                    wrong.push(format!("{place}: {floor} may not name {named}"));
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} paths found: is the search broken?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_floor_stands_in_the_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(src).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_floor = entry.path().is_dir();
        assert!(!is_floor || FLOORS.iter().any(|(floor, _)| *floor == name), "{name} has no row");
    }
}

/// The words after `crate::`, also in groups such as `crate::{base, format::Hash}`.
fn names_after_crate(line: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let preceded = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &line[at + "crate::".len()..];
        if preceded {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(group.split(',').map(|part| {
                let part = part.trim().trim_end_matches(['}', ';']);
                &part[..word(part).unwrap_or(part.len())]
            }));
        } else {
            names.push(&rest[..word(rest).unwrap_or(rest.len())]);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
