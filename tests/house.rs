//! The rules of the house that no lint knows: sizes, heads, where unsafe code, clocks and the
//! environment may be, what stands at the top.

use std::path::{Path, PathBuf};

/// Lines of a file without its head and its tests.
const MOST_LINES: usize = 400;
/// Lines with words in the head of a file that is no test.
const LEAST_HEAD: usize = 3;
const MOST_COLUMNS: usize = 100;
/// In tests, which quote texts of other languages that read better whole.
const MOST_COLUMNS_IN_TESTS: usize = 150;
/// Words in a head that excuse a longer file; the reason follows.
const LONGER: &str = "Longer than 400 lines because";

/// The only files with unsafe code; tests of locks fork.
const UNSAFE: [&str; 5] = [
    "src/base/fd.rs",
    "src/base/keeper.rs",
    "src/base/process.rs",
    "src/sandbox/child.rs",
    "src/base/lock/tests.rs",
];

/// What may stand at the top beside hidden files.
const TOP: [&str; 9] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "fuzz",
    "scripts",
    "src",
    "tests",
];

/// What is not to be found: where it is looked for, the words, the files that may have it.
const FORBIDDEN: [(&str, &[&str], &[&str]); 9] = [
    ("", &["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("], &["tests/house.rs"]),
    // Numbers of a text that is not in the project.
    ("", &["(semantics"], &["tests/house.rs"]),
    ("", &["#[allow(", "#![allow("], &["tests/house.rs"]),
    ("src/machine", &["std::time", "std::env", "std::thread", "std::fs", "std::net"], &[]),
    ("src/format", &["std::time", "std::env", "std::thread", "std::net"], &[]),
    ("src", &["env::var", "env::set_var", "env::remove_var"], &["src/cli/environment.rs"]),
    // Limits and waits go by a clock that nobody sets; this one is for reports.
    ("src", &["SystemTime::now", "RealtimeCoarse", "ClockId::Realtime"], &["src/engine/build.rs"]),
    // The thread that all others wait for reads no contents: hashing belongs to the jobs.
    ("src/engine/dispatcher.rs", &["ingest", "hash", "Hash", "digest", "nar::", "std::fs"], &[]),
    // Tests wait for events. Pauses between tries are where another program gives no event: SQLite
    // and the lock of roots.
    (
        "",
        &["thread::sleep", "thread::park_timeout"],
        &["src/store/db/mod.rs", "src/store/roots.rs", "tests/house.rs"],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct File {
    /// From the top of the project, with `/`.
    name: String,
    text: String,
}

impl File {
    fn is_test(&self) -> bool {
        let stem = self.name.trim_end_matches(".rs");
        let test = ["tests", "_tests", "/test_support", "/fixtures"];
        !self.name.starts_with("src/") || test.iter().any(|end| stem.ends_with(end))
    }

    fn head(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| line.starts_with("//!"))
    }

    /// Without the tests at its end.
    fn code(&self) -> &str {
        let end = if self.is_test() { None } else { self.text.find("\n#[cfg(test)]\nmod tests") };
        &self.text[..end.unwrap_or(self.text.len())]
    }
}

fn files() -> Vec<File> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "fuzz/fuzz_targets"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 100, "only {} files: is the search broken?", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push(File { name, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !file.is_test()) {
        let lines = file.code().lines().count() - file.head().count();
        let excused = file.head().any(|line| line.contains(LONGER));
        if lines > MOST_LINES && !excused {
            wrong.push(format!("{}: {lines} lines, split it by idea", file.name));
        }
        if lines <= MOST_LINES && excused {
            wrong.push(format!("{}: {lines} lines need no excuse", file.name));
        }
    }
    none(&wrong);
}

#[test]
fn lines_are_short() {
    let mut wrong = Vec::new();
    for file in files() {
        let most = if file.is_test() { MOST_COLUMNS_IN_TESTS } else { MOST_COLUMNS };
        for (number, line) in file.text.lines().enumerate() {
            // Rows of tables cannot be broken.
            let row = line.trim_start().starts_with("//! |");
            if line.chars().count() > most && !row {
                wrong.push(format!("{}:{}: too long", file.name, number + 1));
            }
        }
    }
    none(&wrong);
}

#[test]
fn files_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !file.is_test()) {
        let lines = file.head().filter(|line| line.len() > "//!".len()).count();
        if lines < LEAST_HEAD {
            wrong.push(format!(
                "{}: its head (`//!`) has {lines} lines: say what it is, what it does not know, \
                 which invariant it keeps",
                file.name
            ));
        }
    }
    none(&wrong);
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "#[unsafe("];
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.name != "tests/house.rs") {
        let has = words.iter().any(|word| file.text.contains(word));
        if has && !UNSAFE.contains(&file.name.as_str()) {
            wrong.push(format!("{}: unsafe code", file.name));
        }
    }
    none(&wrong);
}

#[test]
fn nothing_forbidden_is_found() {
    let mut wrong = Vec::new();
    let files = files();
    for (place, _, except) in FORBIDDEN {
        let found = files.iter().any(|file| file.name.starts_with(place));
        assert!(found, "{place}: no such file, so its rule forbids nothing");
        for name in except {
            assert!(files.iter().any(|file| file.name == *name), "{name}: no such file to except");
        }
    }
    for file in files {
        for (place, words, except) in FORBIDDEN {
            let everywhere = place.is_empty();
            let there = everywhere || (file.name.starts_with(place) && !file.is_test());
            if !there || except.contains(&file.name.as_str()) {
                continue;
            }
            let text = if everywhere { &file.text } else { file.code() };
            for (number, line) in text.lines().enumerate() {
                if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{}: {word}", file.name, number + 1));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_top_is_tidy() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // What builds leave is not in the repository (`.gitignore`).
        let made = name == "target" || name.starts_with("result");
        if !name.starts_with('.') && !made && !TOP.contains(&name.as_str()) {
            wrong.push(format!("{name}: does not belong at the top"));
        }
    }
    none(&wrong);
}
