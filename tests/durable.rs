//! What reaches the disk before a row calls it valid: the real program's flushes, seen by strace.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside the functions marked as such")]

use std::collections::HashMap;

use crate::support::{World, shell, texts, traced};

/// A system call of drover or of a process below it.
struct Call {
    /// Places in the trace where it begins and where it has returned.
    begin: usize,
    end: usize,
    /// Name, arguments (descriptors with their paths) and result.
    text: String,
}

impl Call {
    /// Whether it is a call of `name` that succeeded on a descriptor of `path`.
    fn flushed(&self, name: &str, path: &str) -> bool {
        let fine = self.text.trim_end().ends_with("= 0");
        fine && self.text.starts_with(&format!("{name}("))
            && self.text.contains(&format!("<{path}>"))
    }

    fn is_flush(&self) -> bool {
        ["fsync(", "fdatasync(", "syncfs(", "sync(", "sync_file_range("]
            .iter()
            .any(|name| self.text.starts_with(name))
    }
}

/// Lines of strace as calls: one that others interrupted stands in two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut done = Vec::new();
    let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
    for (place, line) in trace.lines().enumerate() {
        let (thread, text) = line.split_once(' ').unwrap();
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (place, start));
        } else if text.starts_with("<... ") {
            let (begin, start) = open.remove(thread).unwrap();
            let (_, rest) = text.split_once(" resumed>").unwrap();
            done.push(Call { begin, end: place, text: format!("{start}{rest}") });
        } else {
            done.push(Call { begin: place, end: place, text: text.to_owned() });
        }
    }
    done
}

/// Builds a derivation of `script` in `world`. Its output, and what was flushed and written to
/// the database.
fn built(world: &World, script: &str) -> (String, Vec<Call>) {
    let drv = world.instantiate_one(&shell("kept", "", script));
    let trace = world.path("work/trace");
    let what = "fsync,fdatasync,syncfs,sync,sync_file_range,pwrite64,write";
    let mut command = traced(world, what, &["-s", "5000", "-o", trace.to_str().unwrap()]);
    let output = command.args(["build", "--no-link", &drv]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output));
    let path = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    (path, calls(&std::fs::read_to_string(trace).unwrap()))
}

/// The first write of the row of `output` to the database or its log.
fn row_of<'c>(calls: &'c [Call], world: &World, output: &str) -> &'c Call {
    let database = format!("<{}/", world.path("var/db").display());
    let is = |call: &&Call| {
        let write = call.text.starts_with("pwrite64(") || call.text.starts_with("write(");
        write && call.text.contains(&database) && call.text.contains(output)
    };
    calls.iter().filter(is).min_by_key(|call| call.begin).expect("no write carries the row")
}

const TREE: &str = "mkdir -p $out/lib/deep; echo 1 > $out/one; echo 2 > $out/lib/two; \
                    echo 3 > $out/lib/deep/three; ln -s one $out/link";

#[test]
fn contents_are_flushed_before_their_row_is_written() {
    let world = World::new();
    let (output, calls) = built(&world, TREE);
    let row = row_of(&calls, &world, &output);
    let store = world.store().display().to_string();
    let inside = ["", "/one", "/lib", "/lib/two", "/lib/deep", "/lib/deep/three"];
    for path in inside.map(|name| format!("{output}{name}")).into_iter().chain([store]) {
        let before = |call: &&Call| call.flushed("fsync", &path) && call.end < row.begin;
        assert_eq!(calls.iter().filter(before).count(), 1, "flushes of {path} before its row");
    }
    // And the row itself is on disk when drover says so.
    let log = world.path("var/db/db.sqlite-wal").display().to_string();
    assert!(calls.iter().any(|call| call.flushed("fsync", &log) && call.begin > row.end));
}

#[test]
fn a_large_tree_is_flushed_with_its_file_system() {
    let world = World::new();
    let (output, calls) = built(&world, "mkdir $out; cd $out; seq 1001 | xargs touch");
    let row = row_of(&calls, &world, &output);
    let store = world.store().display().to_string();
    let before = |call: &&Call| call.flushed("syncfs", &store) && call.end < row.begin;
    assert_eq!(calls.iter().filter(before).count(), 1);
    assert!(!calls.iter().any(|call| call.is_flush() && call.text.contains(&output)));
}

#[test]
fn the_setting_turns_the_flushes_off() {
    for setting in ["fsync-store-paths = false", "fsync-metadata = false"] {
        let world = World::new();
        world.configure(setting);
        let (output, calls) = built(&world, TREE);
        row_of(&calls, &world, &output);
        let store = world.store().display().to_string();
        for call in calls.iter().filter(|call| call.is_flush()) {
            let everything = call.text.starts_with("sync");
            assert!(!everything && !call.text.contains(&store), "{setting}: {}", call.text);
        }
    }
}
