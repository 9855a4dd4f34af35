//! References as a tree or as a graph, in the very text of `nix-store --query`.
//!
//! Works on what was read from the database, and asks it nothing. The way down is kept on a heap,
//! so a chain of references of any length is printed.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::format::{StoreDir, StorePath};

use super::query::{Infos, references_first};

const COLOURS: [&str; 6] = ["black", "red", "green", "blue", "magenta", "burlywood"];

/// A line of the tree that is still to be printed.
struct Line {
    path: StorePath,
    /// What stands before the path.
    head: String,
    /// What stands before the lines of its references.
    tail: String,
}

/// Prints each path with all that it refers to below it; what was printed before ends in `[...]`.
///
/// # Errors
/// Those of `out`.
pub(super) fn tree(
    paths: &[StorePath],
    infos: &Infos,
    dir: &StoreDir,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut done = BTreeSet::new();
    let root =
        |path: &StorePath| Line { path: path.clone(), head: String::new(), tail: String::new() };
    let mut left: Vec<Line> = paths.iter().rev().map(root).collect();
    while let Some(Line { path, head, tail }) = left.pop() {
        if done.contains(&path) {
            writeln!(out, "{head}{} [...]", dir.print(&path))?;
            continue;
        }
        writeln!(out, "{head}{}", dir.print(&path))?;
        let references = infos.get(&path).map(|info| &info.references);
        done.insert(path);
        let Some(references) = references else { continue };
        let sorted = references_first(references, |p| infos.get(p).map(|info| &info.references));
        let mut last = true;
        for path in sorted.into_iter().rev() {
            let (head, below) =
                if last { ("└───", "    ") } else { ("├───", "│   ") };
            left.push(Line { path, head: format!("{tail}{head}"), tail: format!("{tail}{below}") });
            last = false;
        }
    }
    Ok(())
}

/// Prints a graph of all that the paths need, in the language of Graphviz.
///
/// # Errors
/// Those of `out`.
pub(super) fn graph(paths: &[StorePath], infos: &Infos, out: &mut dyn Write) -> io::Result<()> {
    let mut left: BTreeSet<&StorePath> = paths.iter().collect();
    let mut done = BTreeSet::new();
    let mut colours = COLOURS.iter().cycle();
    writeln!(out, "digraph G {{")?;
    while let Some(path) = left.pop_first() {
        if !done.insert(path) {
            continue;
        }
        let name = path.name();
        writeln!(
            out,
            "\"{path}\" [label = \"{name}\", shape = box, style = filled, fillcolor = \"#ff0000\"];"
        )?;
        let references = infos.get(path).into_iter().flat_map(|info| &info.references);
        for (reference, colour) in references.filter(|r| *r != path).zip(&mut colours) {
            left.insert(reference);
            writeln!(out, "\"{reference}\" -> \"{path}\" [color = \"{colour}\"];")?;
        }
    }
    writeln!(out, "}}")
}
