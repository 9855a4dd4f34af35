//! Store paths from what they hold: sources, texts, fixed outputs, outputs of derivations.
//!
//! A path's hash part is the folded sha256 of `type:sha256:<base 16>:<store>:<name>`
//! (`src/libstore/store-dir-config.cc` of Nix). It knows no file: hashes and references come in as
//! values. Derivations that depend on others go through [`Modulo`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::derivation::Method;
use super::hash::fold_to_20;
use super::store_path::StorePathError;
use super::{Algorithm, Derivation, Hash, StoreDir, StorePath, base32};

mod invariants;
mod modulo;

pub use invariants::{check_invariants, fill_output_paths};
pub use modulo::{DrvHash, Modulo};

/// An error of whoever loads derivations.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Gives the derivation at a path; [`Modulo`] asks for each path once.
pub type Load<'a> = dyn FnMut(&StorePath) -> Result<Arc<Derivation>, BoxError> + 'a;

/// Why output paths cannot be computed or are wrong.
#[derive(Debug, thiserror::Error)]
pub enum OutputPathError {
    /// A name that no store path may have.
    #[error(transparent)]
    Name(#[from] StorePathError),
    /// Outputs that do not go together.
    #[error("derivation `{name}`: {cause}")]
    Outputs {
        /// Its name.
        name: String,
        /// The rule that is broken.
        cause: super::derivation::OutputsError,
    },
    /// A platform that cannot be written.
    #[error("derivation `{0}` has a platform with a quote or backslash in it")]
    Platform(String),
    /// An input derivation could not be read.
    #[error("cannot read input derivation `{path}`: {cause}")]
    Load {
        /// The derivation.
        path: StorePath,
        /// Why.
        #[source]
        cause: BoxError,
    },
    /// Derivations that depend on each other.
    #[error("derivation `{0}` depends on itself")]
    Cycle(StorePath),
    /// An input derivation has no output of this name.
    #[error("derivation `{drv}` needs output `{output}` of `{input}`, which has none of this name")]
    NoSuchOutput {
        /// Name of the derivation that needs it.
        drv: String,
        /// The input derivation.
        input: StorePath,
        /// The output's name.
        output: String,
    },
    /// The name in the value is not that of the path.
    #[error("derivation `{path}` has name `{name}` that does not match its path")]
    NameMismatch {
        /// The full path.
        path: String,
        /// The name in the value.
        name: String,
    },
    /// An output path is not the one that follows from the derivation.
    #[error("derivation `{drv}` has incorrect output `{found}`, should be `{expected}`")]
    Incorrect {
        /// The derivation: its full path, or its name where it has no path yet.
        drv: String,
        /// The full path that it states.
        found: String,
        /// The full path that follows, or `deferred`.
        expected: String,
    },
    /// An environment variable of an output's name is missing or is not the output's path.
    #[error(
        "derivation `{drv}` has incorrect environment variable `{variable}`, should be `{expected}`"
    )]
    Variable {
        /// The derivation, as in `Incorrect`.
        drv: String,
        /// The variable, named like the output.
        variable: String,
        /// The output's full path.
        expected: String,
    },
}

/// Whether the contents of a path name the path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelfReference {
    /// They do.
    Yes,
    /// They do not.
    No,
}

/// Joins type, hash and name to a path: the rule that all others use.
///
/// # Errors
/// [`StorePathError::Name`] if `name` breaks the rules.
pub fn make_store_path(
    dir: &StoreDir,
    kind: &str,
    hash: &Hash,
    name: &str,
) -> Result<StorePath, StorePathError> {
    let fingerprint = format!("{kind}:{}:{dir}:{name}", hash.typed_base16());
    StorePath::from_parts(&fold_to_20(&Hash::sha256(fingerprint.as_bytes())), name)
}

/// The path of a text with sha256 `hash` that refers to `references`, such as a `.drv`.
///
/// # Errors
/// As [`make_store_path`].
pub fn text_path(
    dir: &StoreDir,
    name: &str,
    hash: &Hash,
    references: &BTreeSet<StorePath>,
) -> Result<StorePath, StorePathError> {
    make_store_path(dir, &with_references(dir, "text", references), hash, name)
}

/// The path of a file or folder whose NAR has sha256 `hash`. `references` are the others; a path
/// that names itself says so in `own`.
///
/// # Errors
/// As [`make_store_path`].
pub fn source_path(
    dir: &StoreDir,
    name: &str,
    hash: &Hash,
    references: &BTreeSet<StorePath>,
    own: SelfReference,
) -> Result<StorePath, StorePathError> {
    let mut kind = with_references(dir, "source", references);
    if own == SelfReference::Yes {
        kind.push_str(":self");
    }
    make_store_path(dir, &kind, hash, name)
}

/// The path of contents without references, by method and hash.
///
/// # Errors
/// As [`make_store_path`].
pub fn fixed_output_path(
    dir: &StoreDir,
    name: &str,
    method: Method,
    hash: &Hash,
) -> Result<StorePath, StorePathError> {
    match (method, hash.algorithm()) {
        (Method::Recursive, Algorithm::Sha256) => make_store_path(dir, "source", hash, name),
        (Method::Text, _) => make_store_path(dir, "text", hash, name),
        (Method::Flat | Method::Recursive | Method::Git, _) => {
            let text = format!("fixed:out:{}{}:", method.prefix(), hash.typed_base16());
            make_store_path(dir, "output:out", &Hash::sha256(text.as_bytes()), name)
        }
    }
}

/// The path of output `output` of a derivation called `name` with this hash modulo.
///
/// # Errors
/// As [`make_store_path`].
pub fn input_addressed_path(
    dir: &StoreDir,
    name: &str,
    output: &str,
    modulo: &Hash,
) -> Result<StorePath, StorePathError> {
    make_store_path(dir, &format!("output:{output}"), modulo, &output_path_name(name, output))
}

/// The name of an output's path: the derivation's, with `-output` unless it is `out`.
#[must_use]
pub fn output_path_name(drv_name: &str, output: &str) -> String {
    if output == "out" { drv_name.to_owned() } else { format!("{drv_name}-{output}") }
}

/// Checks a name for an output of a new derivation: a store path name other than `drv`.
///
/// # Errors
/// [`StorePathError::Name`] with the rule that is broken.
pub fn check_output_name(name: &str) -> Result<(), StorePathError> {
    if name == "drv" {
        return Err(StorePathError::Name {
            name: name.to_owned(),
            why: "`drv` is reserved, an output cannot be called so",
        });
    }
    super::store_path::check_name(name.as_bytes())
}

/// What stands for the path of output `output` in a derivation that does not know it yet.
#[must_use]
pub fn placeholder(output: &str) -> String {
    let hash = Hash::sha256(format!("nix-output:{output}").as_bytes());
    format!("/{}", base32::encode(hash.digest()))
}

fn with_references(dir: &StoreDir, kind: &str, references: &BTreeSet<StorePath>) -> String {
    let mut text = kind.to_owned();
    for path in references {
        text.push(':');
        text.push_str(&dir.print(path));
    }
    text
}

#[cfg(test)]
mod tests;
