//! The order of a recipe's tables: each after those it needs, otherwise as in the file.
//!
//! Without recursion, so that a chain of 100,000 tables needs no deep stack. A circle is named
//! with all its tables.

use super::recipe::{RecipeError, Table};

/// How far a table has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// Orders `tables`.
///
/// # Errors
/// [`RecipeError`] if tables need each other in a circle.
pub(super) fn order(tables: &[Table], file: &str) -> Result<Vec<usize>, RecipeError> {
    let mut marks = vec![Mark::New; tables.len()];
    let mut order = Vec::with_capacity(tables.len());
    for root in 0..tables.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        // Tables on the way from `root`, each with what it still waits for.
        let mut path = vec![(root, tables[root].needs())];
        while let Some((table, needs)) = path.last_mut() {
            let Some(next) = needs.next() else {
                marks[*table] = Mark::Done;
                order.push(*table);
                path.pop();
                continue;
            };
            match marks[next] {
                Mark::Done => {}
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, tables[next].needs()));
                }
                Mark::Open => {
                    let ring: Vec<usize> = path.iter().map(|(table, _)| *table).collect();
                    return Err(circle(tables, &ring, next, file));
                }
            }
        }
    }
    Ok(order)
}

fn circle(tables: &[Table], path: &[usize], again: usize, file: &str) -> RecipeError {
    /// More names than this help nobody.
    const SHOWN: usize = 10;
    let start = path.iter().position(|&t| t == again).unwrap_or(0);
    let ring = &path[start..];
    let mut names: Vec<String> =
        ring.iter().take(SHOWN).map(|&t| format!("`{}`", tables[t].name)).collect();
    if ring.len() > SHOWN {
        names.push(format!("({} more)", ring.len() - SHOWN));
    }
    names.push(format!("`{}`", tables[again].name));
    RecipeError {
        file: file.to_owned(),
        line: tables[again].line,
        message: format!("tables need each other in a circle: {}", names.join(" -> ")),
    }
}
