//! From tables of a recipe to derivations.
//!
//! Knows which input, source and variable goes where; hashing and storing are left to [`Finish`].
//! Invariant: derivations come in an order in which each can be stored, inputs first.

use std::collections::{BTreeMap, HashMap};

use bstr::BString;

use super::derivation::{Derivation, DerivationOutput};
use super::recipe::{Input, InputKind, Recipe, RecipeError, Table};
use super::{StoreDir, StorePath};

/// What the caller does for a derivation in the making. Errors are texts: what went wrong.
pub trait Finish {
    /// Output paths by name of a derivation that is in the store already.
    ///
    /// # Errors
    /// If there is no such derivation, or its paths are not known before it is built.
    fn outputs(&mut self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, String>;

    /// Puts output paths into a derivation whose outputs are deferred, or fixed with a path that
    /// means nothing yet, sets the variables of their names and tells the path of its `.drv`.
    ///
    /// # Errors
    /// If a path cannot be computed.
    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String>;
}

/// A table made into a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Place of the table in [`Recipe::tables`].
    pub table: usize,
    /// Path of its `.drv`.
    pub path: StorePath,
    /// With all its output paths.
    pub derivation: Derivation,
}

/// What all tables of one recipe share.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'s> {
    /// The logical store folder.
    pub dir: &'s StoreDir,
    /// The system of tables that name none.
    pub system: &'s str,
    /// Where each source is in the store, by its text in the recipe.
    pub sources: &'s BTreeMap<String, StorePath>,
}

/// Makes derivations of the tables `order`, which has every table after those it needs.
///
/// # Errors
/// [`RecipeError`] at the line of what cannot be had.
pub fn instantiate(
    recipe: &Recipe,
    order: &[usize],
    around: Surroundings<'_>,
    finish: &mut dyn Finish,
) -> Result<Vec<Instance>, RecipeError> {
    let mut maker = Maker { recipe, around, finish, made: Vec::new(), places: HashMap::new() };
    for &table in order {
        let mut derivation = maker.derivation(&recipe.tables[table])?;
        let path = maker
            .finish
            .finish(&mut derivation)
            .map_err(|e| recipe.error(recipe.tables[table].line, e))?;
        maker.places.insert(table, maker.made.len());
        maker.made.push(Instance { table, path, derivation });
    }
    Ok(maker.made)
}

struct Maker<'m> {
    recipe: &'m Recipe,
    around: Surroundings<'m>,
    finish: &'m mut dyn Finish,
    made: Vec<Instance>,
    /// Table to its place in `made`.
    places: HashMap<usize, usize>,
}

impl Maker<'_> {
    fn derivation(&mut self, table: &Table) -> Result<Derivation, RecipeError> {
        let mut drv = Derivation {
            name: table.name.clone(),
            outputs: self.outputs(table)?,
            input_drvs: BTreeMap::new(),
            input_srcs: std::collections::BTreeSet::new(),
            platform: table.system.as_deref().unwrap_or(self.around.system).into(),
            builder: table.program.builder.as_str().into(),
            args: table.program.args.iter().map(|a| a.as_str().into()).collect(),
            env: own_variables(table),
        };
        for input in &table.inputs {
            let (path, output, value) = self.input(table, input)?;
            drv.input_drvs.entry(path).or_default().outputs.insert(output);
            drv.env.insert(input.variable.as_str().into(), self.around.dir.print(&value).into());
        }
        for source in &table.sources {
            let path = self.around.sources.get(&source.path).ok_or_else(|| {
                self.recipe.error(source.line, format!("source `{}` is missing", source.path))
            })?;
            drv.input_srcs.insert(path.clone());
            drv.env.insert(source.variable.as_str().into(), self.around.dir.print(path).into());
        }
        Ok(drv)
    }

    fn outputs(&self, table: &Table) -> Result<BTreeMap<String, DerivationOutput>, RecipeError> {
        let Some(fixed) = &table.fixed else {
            let deferred = |name: &String| (name.clone(), DerivationOutput::Deferred);
            return Ok(table.outputs.iter().map(deferred).collect());
        };
        let path = StorePath::from_parts(&[0; 20], &table.name)
            .map_err(|e| self.recipe.error(table.line, e.to_string()))?;
        let output = DerivationOutput::Fixed { path, method: fixed.method, hash: fixed.hash };
        Ok(BTreeMap::from([("out".to_owned(), output)]))
    }

    /// The `.drv`, the output's name and the output's path.
    fn input(
        &mut self,
        table: &Table,
        input: &Input,
    ) -> Result<(StorePath, String, StorePath), RecipeError> {
        let fail = |message: String| self.recipe.error(input.line, message);
        let (path, outputs, first) = match &input.kind {
            InputKind::Table(other) => {
                let made = self.places.get(other).map(|&place| &self.made[place]);
                let made = made.ok_or_else(|| {
                    fail(format!("internal error: an input of `{}` comes later", table.name))
                })?;
                let known = |(name, output): (&String, &DerivationOutput)| match output {
                    DerivationOutput::InputAddressed(path)
                    | DerivationOutput::Fixed { path, .. } => Some((name.clone(), path.clone())),
                    DerivationOutput::Floating { .. }
                    | DerivationOutput::Deferred
                    | DerivationOutput::Impure { .. } => None,
                };
                let outputs = made.derivation.outputs.iter().filter_map(known).collect();
                let first = self.recipe.tables[*other].outputs.first().cloned();
                (made.path.clone(), outputs, first)
            }
            InputKind::Derivation(text) => {
                let path = self.around.dir.parse(text.as_bytes());
                let path = path.map_err(|e| fail(e.to_string()))?;
                let outputs = self.finish.outputs(&path).map_err(&fail)?;
                let first = outputs.keys().next().cloned();
                (path, outputs, first)
            }
        };
        let output = match &input.output {
            Some(output) => output.clone(),
            None if outputs.contains_key("out") => "out".to_owned(),
            None => first.unwrap_or_default(),
        };
        let Some(value) = outputs.get(&output).cloned() else {
            let names = outputs.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
            let of = path.name();
            return Err(fail(format!("`{of}` has no output `{output}` (it has `{names}`)")));
        };
        Ok((path, output, value))
    }
}

fn own_variables(table: &Table) -> BTreeMap<BString, BString> {
    let mut env: BTreeMap<BString, BString> =
        table.program.env.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect();
    env.insert("name".into(), table.name.as_str().into());
    env.insert("outputs".into(), table.outputs.join(" ").into());
    if !table.host_paths.is_empty() {
        env.insert("__hostPaths".into(), table.host_paths.join(" ").into());
    }
    env
}
