//! Which variables the things of a table take.
//!
//! Invariant: no two things of one table claim the same variable, and none a variable that every
//! builder gets.

use std::collections::HashMap;

use super::recipe::{RecipeError, Table};

/// Variables that every builder gets whatever its derivation says, and those
/// that this file writes itself.
const FORCED: [&str; 14] = [
    "NIX_BUILD_TOP",
    "TMPDIR",
    "TEMPDIR",
    "TMP",
    "TEMP",
    "PWD",
    "NIX_LOG_FD",
    "TERM",
    "NIX_OUTPUT_CHECKED",
    "NIX_ATTRS_JSON_FILE",
    "NIX_ATTRS_SH_FILE",
    "name",
    "outputs",
    "__hostPaths",
];

/// Variables that `env` may set but that an input or source must not take by accident.
const KEPT: [&str; 4] = ["PATH", "HOME", "NIX_STORE", "NIX_BUILD_CORES"];

/// Who has a variable of [`FORCED`] or [`KEPT`].
const EVERY: &str = "what every builder gets";

/// A name as a variable: what a shell cannot read becomes `_`.
pub(super) fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Refuses two claims on one variable. `env_line` is the line of the table's `env`.
pub(super) fn check(table: &Table, env_line: usize, file: &str) -> Result<(), RecipeError> {
    let mut claims = Claims { table, file, owners: HashMap::new() };
    for output in &table.outputs {
        claims.add(output, ("output", output), table.line)?;
    }
    for name in table.program.env.keys() {
        claims.add(name, ("`env`", name), env_line)?;
    }
    let inputs = table.inputs.iter().map(|i| (&i.variable, ("input", &i.text), i.line));
    let sources = table.sources.iter().map(|s| (&s.variable, ("source", &s.path), s.line));
    for (variable, (kind, text), line) in inputs.chain(sources) {
        if KEPT.contains(&variable.as_str()) {
            return Err(claims.taken(variable, (kind, text), line, EVERY));
        }
        claims.add(variable, (kind, text), line)?;
    }
    Ok(())
}

/// Who has which variable: a kind of owner and its name.
struct Claims<'c> {
    table: &'c Table,
    file: &'c str,
    owners: HashMap<&'c str, (&'static str, &'c str)>,
}

impl<'c> Claims<'c> {
    fn add(
        &mut self,
        variable: &'c str,
        owner: (&'static str, &'c str),
        line: usize,
    ) -> Result<(), RecipeError> {
        if FORCED.contains(&variable) {
            return Err(self.taken(variable, owner, line, EVERY));
        }
        match self.owners.insert(variable, owner) {
            None => Ok(()),
            Some((kind, name)) => {
                Err(self.taken(variable, owner, line, &format!("{kind} `{name}`")))
            }
        }
    }

    fn taken(&self, variable: &str, owner: (&str, &str), line: usize, by: &str) -> RecipeError {
        let (table, (kind, name)) = (&self.table.name, owner);
        let message = format!(
            "in table `{table}`, {kind} `{name}` needs the variable `{variable}`, which is taken \
             by {by}: give one of them another name"
        );
        RecipeError { file: self.file.to_owned(), line, message }
    }
}
