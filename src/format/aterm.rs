//! Derivations as text: strict reading and byte-exact printing of ATerm.
//!
//! `Derive([outputs],[inputDrvs],[inputSrcs],platform,builder,[args],[env])`, or
//! `DrvWithVersion("xp-dyn-drv",…)` where an input is dynamic (`src/libstore/derivations.cc` of
//! Nix). Reading accepts exactly what printing gives: sorted lists without duplicates, canonical
//! escapes, no byte after the end. So `print(parse(x)) == x` for every `x` that is accepted, and
//! a hash of the text is a hash of the value.
//!
//! It knows no file and no store beyond the folder's name. Hostile input costs time linear in its
//! length; nesting is bounded by [`MAX_DEPTH`].

use super::derivation::OutputsError;
use super::store_path::StorePathError;
use super::{Derivation, HashError, StoreDir};

mod parse;
mod print;

pub(super) use print::{Mask, print_with_inputs};

/// Deepest nesting of dynamic outputs that is read.
pub const MAX_DEPTH: usize = 64;

/// Largest file that is read as a derivation: far above any real one (a few MiB), far below what
/// would use memory up.
pub const MOST_BYTES: u64 = 256 << 20;

/// Why a text is not a derivation. `offset` counts bytes from the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("derivation `{name}` is malformed at byte {offset}: {kind}")]
pub struct AtermError {
    /// Name of the derivation as given to [`parse()`].
    pub name: String,
    /// Where it stopped being one.
    pub offset: usize,
    /// What is wrong there.
    pub kind: AtermErrorKind,
}

/// What is wrong with the text of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AtermErrorKind {
    /// Another text was expected, e.g. a bracket or a comma.
    #[error("expected `{0}`")]
    Expected(&'static str),
    /// The text ends inside a string.
    #[error("a string does not end")]
    Unterminated,
    /// A string has an escape, or a bare character, that is never printed like this.
    #[error("byte 0x{0:02x} is not written like this in a string")]
    Escape(u8),
    /// A list is not sorted or names something twice.
    #[error("{0} are not sorted, or one is there twice")]
    Order(&'static str),
    /// A path that is not one of this store.
    #[error(transparent)]
    Path(#[from] StorePathError),
    /// A hash or the name of a hash function.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The hash of a fixed output is not lower-case base 16.
    #[error("the hash of output `{0}` is not written in lower-case base 16")]
    HashBase(String),
    /// An output that mixes the fields of several kinds.
    #[error("output `{0}` has a path and a hash that do not go together")]
    OutputFields(String),
    /// Outputs that do not go together.
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    /// A fixed output whose path does not follow from its hash.
    #[error("output `{output}` has path `{found}`, its hash gives `{expected}`")]
    FixedPath {
        /// The output's name.
        output: String,
        /// What the text says.
        found: String,
        /// What the hash says.
        expected: String,
    },
    /// Nothing is asked of an input derivation.
    #[error("no output of an input derivation is named")]
    NoInputOutputs,
    /// An input source or derivation that is not what its list holds.
    #[error("input derivation `{0}` does not end in `.drv`")]
    NotADerivation(String),
    /// The version is not known, or is used without need.
    #[error("derivation format `{0}` is not known, or is not needed here")]
    Version(String),
    /// Dynamic outputs are nested deeper than [`MAX_DEPTH`].
    #[error("dynamic outputs are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Bytes follow the closing parenthesis.
    #[error("bytes follow the end")]
    Trailing,
}

/// Reads `bytes`, the text of the derivation called `name` (without `.drv`).
///
/// # Errors
/// [`AtermError`] with the offset of the first byte that printing would not have given.
pub fn parse(name: &str, bytes: &[u8], dir: &StoreDir) -> Result<Derivation, AtermError> {
    parse::Parser::new(name, bytes, dir).derivation()
}

/// Prints `drv` as Nix does.
#[must_use]
pub fn print(drv: &Derivation, dir: &StoreDir) -> Vec<u8> {
    print::print(drv, dir)
}

#[cfg(test)]
mod tests;
