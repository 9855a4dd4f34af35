//! What a derivation asks of the engine: attributes with a meaning beyond the builder's own
//! (`src/libstore/derivation-options.cc` of Nix).
//!
//! They stand in the environment, or, with structured attributes, in the JSON of `__json`. A value
//! of the wrong shape is an error, as in Nix, not silently the default. Which outputs exist, which
//! paths are valid and what the settings allow is not known here.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use serde_json::{Map, Value};

use super::store_path::StorePathError;
use super::structured_attrs::{self, StructuredAttrsError};
use super::{Derivation, StoreDir, StorePath};

mod checks;
mod structured;

pub use checks::{Checks, OutputChecks, RefSpec};

const REFERENCES_GRAPH: &str = "exportReferencesGraph";
const BUILD_REFERENCES_GRAPH: &str = "exportBuildReferencesGraph";

/// Why the attributes of a derivation cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The structured attributes are not JSON of the right shape.
    #[error(transparent)]
    Structured(#[from] StructuredAttrsError),
    /// A list of pairs with one half missing.
    #[error("odd number of tokens in '{attribute}': '{text}'")]
    OddTokens {
        /// `exportReferencesGraph` or `exportBuildReferencesGraph`.
        attribute: &'static str,
        /// Its value.
        text: String,
    },
    /// A file name that is not allowed.
    #[error("invalid file name '{name}' in '{attribute}'")]
    FileName {
        /// As in `OddTokens`.
        attribute: &'static str,
        /// The name.
        name: String,
    },
    /// A path outside the store, or one that is not a store path.
    #[error("'{attribute}' contains a non-store path '{path}': {cause}")]
    NotInStore {
        /// As in `OddTokens`.
        attribute: &'static str,
        /// The path.
        path: String,
        /// What is wrong with it.
        cause: StorePathError,
    },
    /// A value of another type than the attribute has.
    #[error("while parsing attribute '{attribute}': expected {expected}, found {found}")]
    Type {
        /// The attribute, dotted where it is nested.
        attribute: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Text that must be UTF-8 and is not.
    #[error("attribute '{0}' is not UTF-8")]
    NotUtf8(String),
}

/// Graphs that are handed to the builder as files or, with structured attributes, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exports {
    /// `exportReferencesGraph`: closures of these paths by file name or JSON key.
    pub references_graph: BTreeMap<String, BTreeSet<StorePath>>,
    /// `exportBuildReferencesGraph`: file name and path, whose build-time graph is realised first
    /// and written (of a derivation: its closure and all outputs in it).
    pub build_references_graph: BTreeMap<String, StorePath>,
}

/// What a derivation asks of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivationOptions {
    /// Whether outputs may come from elsewhere; true unless said otherwise.
    pub allow_substitutes: bool,
    /// Whether this host is better than a remote one.
    pub prefer_local_build: bool,
    /// `__noChroot`: asks to be built without sandbox.
    pub no_chroot: bool,
    /// Features that a host must have.
    pub required_system_features: BTreeSet<String>,
    /// Variables of the caller that a fixed derivation's builder sees.
    pub impure_env_vars: BTreeSet<BString>,
    /// Variables that are handed over as files; empty with structured attributes.
    pub pass_as_file: BTreeSet<BString>,
    /// Graphs for the builder.
    pub exports: Exports,
    /// What outputs must fulfil, and which are not scanned.
    pub outputs: Checks,
    /// `__hostPaths`: paths of the host that the builder asks to see, white space between them.
    pub host_paths: BTreeSet<BString>,
    /// What is there and has no effect, a line each.
    pub warnings: Vec<String>,
}

impl DerivationOptions {
    /// Reads the attributes of `drv`.
    ///
    /// # Errors
    /// [`OptionsError`] with the attribute and what is wrong.
    pub fn from(drv: &Derivation, dir: &StoreDir) -> Result<Self, OptionsError> {
        match structured_attrs::parse(drv)? {
            Some(attrs) => structured::options(drv, &attrs, dir),
            None => from_env(drv, dir),
        }
    }
}

fn from_env(drv: &Derivation, dir: &StoreDir) -> Result<DerivationOptions, OptionsError> {
    let value = |name: &str| drv.env.get(name.as_bytes()).map(|v| v.as_slice());
    let flag = |name, default| value(name).map_or(default, |v| v == b"1");
    let tokens = |name| -> BTreeSet<BString> {
        value(name).map(split).unwrap_or_default().into_iter().map(BString::from).collect()
    };
    let required = tokens("requiredSystemFeatures").into_iter().map(|token| {
        String::from_utf8(token.into())
            .map_err(|_| OptionsError::NotUtf8("requiredSystemFeatures".to_owned()))
    });
    Ok(DerivationOptions {
        allow_substitutes: flag("allowSubstitutes", true),
        prefer_local_build: flag("preferLocalBuild", false),
        no_chroot: flag("__noChroot", false),
        required_system_features: required.collect::<Result<_, _>>()?,
        impure_env_vars: tokens("impureEnvVars"),
        pass_as_file: tokens("passAsFile"),
        exports: exports(drv, dir)?,
        outputs: Checks::from_env(drv, dir),
        host_paths: tokens("__hostPaths"),
        warnings: Vec::new(),
    })
}

fn exports(drv: &Derivation, dir: &StoreDir) -> Result<Exports, OptionsError> {
    let text = |name: &str| drv.env.get(name.as_bytes()).map_or(&b""[..], |v| v.as_slice());
    let graphs = pairs(REFERENCES_GRAPH, text(REFERENCES_GRAPH), dir, is_graph_name)?;
    Ok(Exports {
        references_graph: graphs.into_iter().map(|(name, path)| (name, [path].into())).collect(),
        build_references_graph: build_graph(text(BUILD_REFERENCES_GRAPH), dir)?,
    })
}

/// Reads the value of `exportBuildReferencesGraph`.
fn build_graph(text: &[u8], dir: &StoreDir) -> Result<BTreeMap<String, StorePath>, OptionsError> {
    // A store path name has no `/`, so a file called so stays in the build folder.
    let allowed = |name: &[u8]| super::store_path::check_name(name).is_ok();
    Ok(pairs(BUILD_REFERENCES_GRAPH, text, dir, allowed)?.into_iter().collect())
}

/// Reads `file path file path…`.
fn pairs(
    attribute: &'static str,
    text: &[u8],
    dir: &StoreDir,
    allowed: impl Fn(&[u8]) -> bool,
) -> Result<Vec<(String, StorePath)>, OptionsError> {
    let tokens = split(text);
    if !tokens.len().is_multiple_of(2) {
        return Err(OptionsError::OddTokens { attribute, text: lossy(text) });
    }
    let mut pairs = Vec::with_capacity(tokens.len() / 2);
    for pair in tokens.chunks_exact(2) {
        if !allowed(pair[0]) {
            return Err(OptionsError::FileName { attribute, name: lossy(pair[0]) });
        }
        pairs.push((lossy(pair[0]), store_path(attribute, pair[1], dir)?));
    }
    Ok(pairs)
}

/// The store path at or above `path`.
fn store_path(
    attribute: &'static str,
    path: &[u8],
    dir: &StoreDir,
) -> Result<StorePath, OptionsError> {
    match dir.parse_inside(path) {
        Ok((store_path, _)) => Ok(store_path),
        Err(cause) => Err(OptionsError::NotInStore { attribute, path: lossy(path), cause }),
    }
}

/// `[A-Za-z_][A-Za-z0-9_.-]*`, so a name stays in the build folder.
fn is_graph_name(name: &[u8]) -> bool {
    let start = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    name.first().is_some_and(start)
        && name.iter().all(|b| start(b) || b.is_ascii_digit() || b".-".contains(b))
}

/// Tokens between blanks, tabs and line ends.
fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split(|b| b" \t\n\r".contains(b)).filter(|token| !token.is_empty()).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A JSON object; key and value types of structured attributes.
type Attrs = Map<String, Value>;

#[cfg(test)]
mod tests;
