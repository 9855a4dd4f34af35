//! `drover derivation instantiate`: from a recipe to derivations in the store.
//!
//! Sources are copied first, then all derivations are computed, then all are written in one
//! batch. It opens the files that the recipe names; what a recipe is, `format::recipe` knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::output_path::{Modulo, fill_output_paths};
use crate::format::recipe::{self, Finish, InputKind, Instance, Recipe, RecipeError, Source};
use crate::format::recipe_make::Surroundings;
use crate::format::{Derivation, StoreDir, StorePath, aterm};
use crate::store::{Store, Text};

use super::interrupt::guarded;
use super::{CliError, derivation_read};
use crate::base::Cancel;
use crate::base::error::with_causes;
use crate::base::fs::read_regular;

/// The longest recipe that is read.
const MOST_BYTES: u64 = 64 << 20;

/// A table of a recipe whose derivation is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instantiated {
    /// Name of the table.
    pub table: String,
    /// Its `.drv`.
    pub drv: StorePath,
    /// Paths of its outputs by name.
    pub outputs: BTreeMap<String, StorePath>,
}

/// Stores the derivations of these tables (all that no other table needs, where none is given) and
/// of all they need; returns those that were asked for. `system` is for tables that name none.
///
/// # Errors
/// [`CliError::Input`] with file and line of what is wrong; [`CliError::Store`] if the store
/// cannot be written. Nothing is registered then but sources.
pub fn instantiate_recipe(
    store: &Store,
    file: &Path,
    tables: &[&str],
    system: &str,
) -> Result<Vec<Instantiated>, CliError> {
    let shown = file.display().to_string();
    let text = read_recipe(file)
        .map_err(|why| CliError::Input(format!("cannot read recipe `{shown}`: {why}")))?;
    let recipe = Recipe::parse(&text, &shown).map_err(input)?;
    let (order, wanted) = recipe.select(tables).map_err(input)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let sources = guarded(|cancel| add_sources(store, &recipe, &order, folder, cancel))?;
    let dir = &store.layout().store_dir;
    let around = Surroundings { dir, system, sources: &sources };
    let mut finisher = Finisher::new(store, valid_inputs(store, &recipe, &order)?);
    let made = recipe::instantiate(&recipe, &order, around, &mut finisher).map_err(input)?;
    let texts: Vec<Text> =
        made.iter().map(|instance| drv_text(&instance.derivation, dir)).collect();
    let paths = store.add_texts(&texts)?;
    let by_table: HashMap<usize, (&Instance, StorePath)> =
        made.iter().zip(paths).map(|(instance, path)| (instance.table, (instance, path))).collect();
    let found = wanted.iter().filter_map(|table| by_table.get(table).map(|made| (table, made)));
    Ok(found
        .map(|(&table, (instance, path))| Instantiated {
            table: recipe.tables[table].name.clone(),
            drv: path.clone(),
            outputs: known_outputs(&instance.derivation),
        })
        .collect())
}

/// The text of a recipe, or why there is none. Links are followed; what they lead to is a file: a
/// pipe or device could never end.
fn read_recipe(file: &Path) -> Result<String, String> {
    let real = std::fs::canonicalize(file).map_err(|e| e.to_string())?;
    let bytes = read_regular(&real, MOST_BYTES).map_err(|e| e.io().to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// A recipe as an argument names it: the file, and the table if one is named.
pub type Named<'a> = (PathBuf, Option<&'a str>);

/// Splits `jobs.toml` or `jobs.toml#table`; `None` if the argument names no recipe.
///
/// # Errors
/// [`CliError::Usage`] if no table follows the `#`, or outputs are named.
pub fn split_argument(argument: &OsStr) -> Result<Option<Named<'_>>, CliError> {
    const END: &[u8] = b".toml";
    let bytes = argument.as_bytes();
    if bytes.ends_with(END) {
        return Ok(Some((argument.into(), None)));
    }
    if let Some(at) = memchr::memmem::find(bytes, b".toml^") {
        return Err(outputs_of_recipe(argument, &bytes[..at + END.len()]));
    }
    let Some(hash) = memchr::memrchr(b'#', bytes) else { return Ok(None) };
    let (file, table) = (&bytes[..hash], std::str::from_utf8(&bytes[hash + 1..]));
    if !file.ends_with(END) {
        return Ok(None);
    }
    let usage = |why: &str| {
        let (all, file) = (argument.to_string_lossy(), String::from_utf8_lossy(file));
        CliError::Usage(format!(
            "cannot use `{all}`: {why} follows the `#`: give `{file}#TABLE`, or `{file}` for all \
             that no other table needs"
        ))
    };
    match table {
        Ok("") => Err(usage("no name of a table")),
        Ok(table) if table.contains(['^', '!']) => {
            let end = hash + 1 + table.find(['^', '!']).unwrap_or(table.len());
            Err(outputs_of_recipe(argument, &bytes[..end]))
        }
        Ok(table) => Ok(Some((OsStr::from_bytes(file).into(), Some(table)))),
        Err(_) => Err(usage("no UTF-8 text")),
    }
}

/// Outputs are chosen of derivations alone: a table always makes all of its own.
fn outputs_of_recipe(argument: &OsStr, without: &[u8]) -> CliError {
    let (all, without) = (argument.to_string_lossy(), String::from_utf8_lossy(without));
    CliError::Usage(format!(
        "cannot use `{all}`: a recipe makes all outputs of its tables: give `{without}`"
    ))
}

/// The text that a derivation has in the store.
#[must_use]
pub fn drv_text(drv: &Derivation, dir: &StoreDir) -> Text {
    let inputs = drv.input_drvs.keys().chain(&drv.input_srcs);
    Text {
        name: format!("{}.drv", drv.name),
        contents: aterm::print(drv, dir),
        references: inputs.cloned().collect(),
        outputs: known_outputs(drv),
    }
}

fn known_outputs(drv: &Derivation) -> BTreeMap<String, StorePath> {
    let known = drv.outputs.iter().filter_map(|(n, o)| Some((n.clone(), o.path()?.clone())));
    known.collect()
}

fn input(error: RecipeError) -> CliError {
    CliError::Input(error.to_string())
}

/// Copies each source of the tables once; returns where it is, by its text.
fn add_sources(
    store: &Store,
    recipe: &Recipe,
    order: &[usize],
    folder: &Path,
    cancel: &Cancel,
) -> Result<BTreeMap<String, StorePath>, CliError> {
    let mut once = BTreeMap::new();
    for source in order.iter().flat_map(|&table| &recipe.tables[table].sources) {
        once.entry(source.path.as_str()).or_insert(source);
    }
    let mut places = Vec::with_capacity(once.len());
    for source in once.values() {
        let place = folder.join(&source.path);
        check_source(&place).map_err(|why| wrong_source(recipe, source, &place, &why))?;
        places.push((place, *source));
    }
    let asked: Vec<(&Path, &str)> =
        places.iter().map(|(place, source)| (place.as_path(), source.name.as_str())).collect();
    let added = store.add_sources(&asked, cancel).map_err(|(which, error)| match &error {
        crate::store::StoreError::Io { .. } => {
            let (place, source) = &places[which];
            wrong_source(recipe, source, place, &with_causes(&error))
        }
        _ => error.into(),
    })?;
    Ok(once.into_keys().map(str::to_owned).zip(added).collect())
}

fn check_source(place: &Path) -> Result<(), String> {
    let kind = place.symlink_metadata().map_err(|e| e.to_string())?.file_type();
    match kind.is_file() || kind.is_dir() || kind.is_symlink() {
        true => Ok(()),
        false => Err("it is neither file nor folder nor symlink".to_owned()),
    }
}

fn wrong_source(recipe: &Recipe, source: &Source, place: &Path, why: &str) -> CliError {
    let message = format!(
        "cannot use source `{}` ({}): {why}; sources are files and folders relative to the \
         recipe: correct the entry or make the file",
        source.path,
        place.display()
    );
    input(recipe.error(source.line, message))
}

/// Those of the derivations that these tables name by path that are valid.
fn valid_inputs(
    store: &Store,
    recipe: &Recipe,
    order: &[usize],
) -> Result<BTreeSet<StorePath>, CliError> {
    let dir = &store.layout().store_dir;
    let inputs = order.iter().flat_map(|&table| &recipe.tables[table].inputs);
    let named = inputs.filter_map(|input| match &input.kind {
        InputKind::Derivation(text) => dir.parse(text.as_bytes()).ok(),
        InputKind::Table(_) => None,
    });
    let named: BTreeSet<StorePath> = named.collect();
    Ok(if named.is_empty() { named } else { store.view().valid(&named)? })
}

/// Computes output paths; keeps what it made, since that is not in the store yet.
struct Finisher<'s> {
    store: &'s Store,
    modulo: Modulo,
    made: HashMap<StorePath, Arc<Derivation>>,
    /// Of the derivations that the recipe names by path.
    valid: BTreeSet<StorePath>,
}

impl<'s> Finisher<'s> {
    fn new(store: &'s Store, valid: BTreeSet<StorePath>) -> Self {
        let modulo = Modulo::new(store.layout().store_dir.clone());
        Self { store, modulo, made: HashMap::new(), valid }
    }
}

impl Finish for Finisher<'_> {
    fn outputs(&mut self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, String> {
        let remedy = "put it into the store (`nix-instantiate`, `drover derivation instantiate` \
                      or `drover add` do) or correct the path";
        let read = derivation_read::read(self.store, drv).map_err(|e| format!("{e}; {remedy}"))?;
        if !self.valid.contains(drv) {
            let shown = self.store.layout().store_dir.print(drv);
            return Err(format!("derivation `{shown}` is not valid; {remedy}"));
        }
        let outputs = known_outputs(&read);
        self.made.insert(drv.clone(), Arc::new(read));
        Ok(outputs)
    }

    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String> {
        let (store, made) = (self.store, &self.made);
        let mut load = |path: &StorePath| match made.get(path) {
            Some(drv) => Ok(Arc::clone(drv)),
            None => derivation_read::load(store, path),
        };
        fill_output_paths(drv, &mut self.modulo, &mut load).map_err(|e| with_causes(&e))?;
        let text = drv_text(drv, &store.layout().store_dir);
        let path = text.path(&store.layout().store_dir).map_err(|e| e.to_string())?;
        self.made.insert(path.clone(), Arc::new(drv.clone()));
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let of = |text: &'static str| {
            let named = split_argument(OsStr::new(text)).unwrap();
            named.map(|(p, t)| (p.to_str().map(str::to_owned), t))
        };
        assert_eq!(of("a/b.toml"), Some((Some("a/b.toml".into()), None)));
        assert_eq!(of("b.toml#x"), Some((Some("b.toml".into()), Some("x"))));
        for other in ["/nix/store/x.drv", "b.tom#x", "b.tom#", "x#y", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        for bad in [&b"b.toml#"[..], b"b.toml#\xff"] {
            let error = split_argument(OsStr::from_bytes(bad)).unwrap_err();
            assert!(matches!(&error, CliError::Usage(why) if why.contains("b.toml#TABLE")));
        }
        let outputs = [("b.toml^out", "`b.toml`"), ("b.toml#x^*", "`b.toml#x`")];
        for (bad, better) in outputs {
            let error = split_argument(OsStr::new(bad)).unwrap_err();
            assert!(matches!(&error, CliError::Usage(why) if why.ends_with(better)), "{error}");
        }
    }
}
