//! Recipes: a TOML file with one table per derivation, so that a batch needs no evaluator.
//!
//! ```toml
//! [report]
//! builder = "/bin/sh"
//! args = ["-c", "sort $numbers_txt $draft > $out"]
//! inputs = ["draft"]              # other tables, `.drv` paths; `draft^dev` for another output
//! sources = ["numbers.txt"]       # files and folders relative to the recipe
//! env = { LANG = "C" }
//! ```
//! Further keys: `outputs`, `hash` and `hash-mode` (`flat` or `recursive`), `system`,
//! `host-paths`. Inputs and sources arrive as variables of their names, every character that a
//! shell cannot read as `_`: `numbers.txt` as `$numbers_txt`, `draft` and `draft^out` as `$draft`,
//! `draft^dev` as `$draft_dev`, `/nix/store/<hash>-hello-2.12.drv` as `$hello_2_12`. An input
//! without `^` is its output `out`, or its first where it has no `out`.
//!
//! Pure: no file is opened here. Every error names the file and the line. [`Recipe::parse`] checks
//! all that can be known without a store; tables come in the order of the file, and
//! [`Recipe::order`] lists each after its inputs.

use std::collections::{BTreeMap, HashMap};

use super::derivation::Method;
use super::{Hash, near, recipe_order, recipe_read};

pub use super::recipe_make::{Finish, Instance, instantiate};

/// Tables that an error lists.
const MOST_LISTED: usize = 8;

/// What is wrong with a recipe, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct RecipeError {
    /// The file as it was given.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// What an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// Another table, by its place in [`Recipe::tables`].
    Table(usize),
    /// The full path of a `.drv` as written.
    Derivation(String),
}

/// One output of another derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The entry as written.
    pub text: String,
    /// Whose.
    pub kind: InputKind,
    /// Which; `None` is `out`, or the first where there is no `out`.
    pub output: Option<String>,
    /// The variable that tells the builder its path.
    pub variable: String,
    /// Line of the entry.
    pub line: usize,
}

/// A file or folder that is copied into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Relative to the recipe, as written.
    pub path: String,
    /// Its name in the store.
    pub name: String,
    /// The variable that tells the builder its path.
    pub variable: String,
    /// Line of the entry.
    pub line: usize,
}

/// Program, arguments and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What to run.
    pub builder: String,
    /// After `argv[0]`.
    pub args: Vec<String>,
    /// Own variables.
    pub env: BTreeMap<String, String>,
}

/// Contents known before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Flat or recursive.
    pub method: Method,
    /// Their hash.
    pub hash: Hash,
}

/// One derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name: the table's.
    pub name: String,
    /// Line of its head.
    pub line: usize,
    /// What runs.
    pub program: Program,
    /// Outputs of others that it needs.
    pub inputs: Vec<Input>,
    /// Files and folders that it needs.
    pub sources: Vec<Source>,
    /// Names of its outputs in the order of the file; at least one.
    pub outputs: Vec<String>,
    /// Set for a fixed output.
    pub fixed: Option<Fixed>,
    /// System that can build it; `None` is this machine's.
    pub system: Option<String>,
    /// What of the host its builder may use.
    pub host_paths: Vec<String>,
}

/// A recipe whose inputs are all known and go in no circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The file as it was given, for messages.
    pub file: String,
    /// In the order of the file.
    pub tables: Vec<Table>,
    /// Places in `tables`, each after the tables it needs.
    pub order: Vec<usize>,
}

impl Recipe {
    /// Reads a recipe. `file` is what messages call it.
    ///
    /// # Errors
    /// [`RecipeError`] with the first line that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, RecipeError> {
        let tables = recipe_read::tables(text, file)?;
        let order = recipe_order::order(&tables, file)?;
        Ok(Self { file: file.to_owned(), tables, order })
    }

    /// The tables of these names (all that nothing else needs, where none is given) and all they
    /// need, each after its inputs. The second value tells which of them were asked for.
    ///
    /// # Errors
    /// [`RecipeError`] if there is no table of a name.
    pub fn select(&self, names: &[&str]) -> Result<(Vec<usize>, Vec<usize>), RecipeError> {
        let places: HashMap<&str, usize> =
            self.tables.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        let mut wanted = Vec::new();
        for name in names {
            wanted.push(*places.get(name).ok_or_else(|| {
                let near = near::nearest(name, places.keys().copied());
                self.error(1, format!("there is no table `{name}`{near} ({})", self.listed()))
            })?);
        }
        if names.is_empty() {
            wanted = self.roots();
        }
        let mut needed = vec![false; self.tables.len()];
        wanted.iter().for_each(|&i| needed[i] = true);
        for &i in self.order.iter().rev() {
            if needed[i] {
                self.tables[i].needs().for_each(|n| needed[n] = true);
            }
        }
        Ok((self.order.iter().copied().filter(|&i| needed[i]).collect(), wanted))
    }

    /// The tables there are, some of them if they are many.
    fn listed(&self) -> String {
        if self.tables.is_empty() {
            return "the recipe has none".to_owned();
        }
        let names = self.tables.iter().take(MOST_LISTED).map(|table| format!("`{}`", table.name));
        let more = match self.tables.len().saturating_sub(MOST_LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("the recipe has {}{more}", names.collect::<Vec<_>>().join(", "))
    }

    fn roots(&self) -> Vec<usize> {
        let mut used = vec![false; self.tables.len()];
        self.tables.iter().flat_map(Table::needs).for_each(|n| used[n] = true);
        (0..self.tables.len()).filter(|&i| !used[i]).collect()
    }

    /// An error at a line of this recipe: also for what only its reader can see, such as a source
    /// that is missing.
    #[must_use]
    pub fn error(&self, line: usize, message: String) -> RecipeError {
        RecipeError { file: self.file.clone(), line, message }
    }
}

impl Table {
    /// The tables it needs, repeated as often as they are written.
    pub fn needs(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().filter_map(|input| match input.kind {
            InputKind::Table(place) => Some(place),
            InputKind::Derivation(_) => None,
        })
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
