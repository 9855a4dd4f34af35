//! The derivation as a value: outputs, inputs, platform, builder, arguments, environment.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::StorePath;

/// One output of a derivation as its `.drv` says it (semantics B5, B6).
///
/// The text of the hash algorithm keeps its method prefix (`r:`, `text:`, `git:`) apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DerivationOutput {
    /// A path computed from the inputs.
    InputAddressed(StorePath),
    /// A path computed from contents that are known before the build.
    Fixed {
        /// Where it goes.
        path: StorePath,
        /// How the contents are turned into bytes to hash.
        method: Method,
        /// The hash that the contents must have.
        hash: super::Hash,
    },
    /// Content-addressed, hash not known before the build (parsed and printed only).
    Floating {
        /// How the contents are turned into bytes to hash.
        method: Method,
        /// The hash function.
        algorithm: super::Algorithm,
    },
    /// A path that depends on floating inputs (parsed and printed only).
    Deferred,
    /// An impure output (parsed and printed only).
    Impure {
        /// How the contents are turned into bytes to hash.
        method: Method,
        /// The hash function.
        algorithm: super::Algorithm,
    },
}

/// How contents become the bytes that a content address hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The bytes of one regular file (no prefix).
    Flat,
    /// The NAR of any file or folder (`r:`).
    Recursive,
    /// A text with references (`text:`).
    Text,
    /// A git tree (`git:`).
    Git,
}

/// What is asked of one input derivation: some outputs, and outputs of outputs (dynamic
/// derivations, parsed and printed only).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputNode {
    /// Names of outputs.
    pub outputs: BTreeSet<String>,
    /// Outputs that are themselves derivations.
    pub dynamic: BTreeMap<String, InputNode>,
}

/// A derivation. All collections are ordered, as the printed form is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// Name without `.drv`.
    pub name: String,
    /// Outputs by name.
    pub outputs: BTreeMap<String, DerivationOutput>,
    /// Input derivations and what is asked of each.
    pub input_drvs: BTreeMap<StorePath, InputNode>,
    /// Input sources.
    pub input_srcs: BTreeSet<StorePath>,
    /// System that can build it.
    pub platform: BString,
    /// Program to run.
    pub builder: BString,
    /// Its arguments after `argv[0]`.
    pub args: Vec<BString>,
    /// Environment as written in the derivation.
    pub env: BTreeMap<BString, BString>,
}
