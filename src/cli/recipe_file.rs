//! Recipes on disk: which arguments name one, and where their sources lie.
//!
//! The recipe itself is `format::recipe`, which opens no file. Invariant: sources are found from
//! the recipe's folder, not from the caller's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::format::recipe::{Recipe, RecipeError};

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeFileError {
    /// The file cannot be read.
    #[error("cannot read the recipe {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

/// Splits `jobs.toml` or `jobs.toml#table`; `None` if the argument names no recipe.
#[must_use]
pub fn split(argument: &OsStr) -> Option<(PathBuf, Option<&str>)> {
    const END: &[u8] = b".toml";
    let bytes = argument.as_bytes();
    if bytes.ends_with(END) {
        return Some((argument.into(), None));
    }
    let hash = memchr::memrchr(b'#', bytes)?;
    let table = std::str::from_utf8(&bytes[hash + 1..]).ok()?;
    let file = &bytes[..hash];
    let named = file.ends_with(END) && !table.is_empty();
    named.then(|| (OsStr::from_bytes(file).into(), Some(table)))
}

/// Reads a recipe.
///
/// # Errors
/// [`RecipeFileError`] naming the file, and the line of what is wrong.
pub fn read(path: &Path) -> Result<Recipe, RecipeFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| RecipeFileError::Read { path: path.to_owned(), cause })?;
    Ok(Recipe::parse(&text, &path.display().to_string())?)
}

/// A source to be copied into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSource {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name in the store.
    pub name: String,
}

/// Finds the sources of `tables`, by their text in the recipe, each once.
///
/// # Errors
/// [`RecipeError`] at the line of a source that is not there.
pub fn sources(
    recipe: &Recipe,
    file: &Path,
    tables: &[usize],
) -> Result<BTreeMap<String, FoundSource>, RecipeError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut found = BTreeMap::new();
    for source in tables.iter().flat_map(|&table| &recipe.tables[table].sources) {
        if found.contains_key(&source.path) {
            continue;
        }
        let path = folder.join(source.path.trim_end_matches('/'));
        // The link itself counts, as it does in the store.
        path.symlink_metadata().map_err(|e| {
            let message = format!("source `{}`: {}: {e}", source.path, path.display());
            recipe.error(source.line, message)
        })?;
        found.insert(source.path.clone(), FoundSource { path, name: source.name.clone() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let of = |text: &'static str| {
            split(OsStr::new(text)).map(|(p, t)| (p.to_str().map(str::to_owned), t))
        };
        assert_eq!(of("a/b.toml"), Some((Some("a/b.toml".into()), None)));
        assert_eq!(of("b.toml#x"), Some((Some("b.toml".into()), Some("x"))));
        for other in ["/nix/store/x.drv", "b.toml#", "b.tom#x", "x#y", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn sources_lie_beside_the_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.toml");
        std::fs::write(dir.path().join("there"), "").unwrap();
        let text = "[a]\nbuilder = 'b'\nsources = ['there']\n[b]\nbuilder = 'b'\n\
                    sources = ['there', 'gone']\n";
        std::fs::write(&file, text).unwrap();
        let recipe = read(&file).unwrap();
        let found = sources(&recipe, &file, &[0]).unwrap();
        assert_eq!(found["there"].path, dir.path().join("there"));
        let error = sources(&recipe, &file, &[0, 1]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:6: source `gone`: ", file.display())), "{error}");
        let error = read(&dir.path().join("none.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the recipe "), "{error}");
    }
}
