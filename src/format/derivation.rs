//! The derivation as a value: outputs, inputs, platform, builder, arguments, environment.
//!
//! It does not know how it is written: ATerm and JSON are neighbours that read and print it.
//! Strings that a builder sees are bytes, as in Nix. Collections are ordered as the printed forms
//! are, so equal derivations print alike. Kinds that cannot be built yet are values all the same,
//! so that they can be shown and copied.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::StorePath;

/// One output of a derivation as its `.drv` says it.
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

impl Method {
    /// The prefix that the hash algorithm of a derivation's output carries.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Recursive => "r:",
            Self::Text => "text:",
            Self::Git => "git:",
        }
    }

    /// The word that derivation JSON has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Recursive => "nar",
            Self::Text => "text",
            Self::Git => "git",
        }
    }

    /// Takes the prefix off a text such as `r:sha256`.
    #[must_use]
    pub fn split(text: &str) -> (Self, &str) {
        for method in [Self::Recursive, Self::Text, Self::Git] {
            if let Some(rest) = text.strip_prefix(method.prefix()) {
                return (method, rest);
            }
        }
        (Self::Flat, text)
    }

    /// Reads the word of derivation JSON.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Flat, Self::Recursive, Self::Text, Self::Git].into_iter().find(|m| m.word() == word)
    }
}

/// What kind of derivation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Output paths follow from the inputs.
    InputAddressed,
    /// One output whose contents are known before the build.
    Fixed,
    /// Content-addressed outputs, not known before the build.
    Floating,
    /// Output paths follow from floating inputs.
    Deferred,
    /// Built anew each time.
    Impure,
}

/// Why the outputs of a derivation do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputsError {
    /// There is none.
    #[error("a derivation must have at least one output")]
    None,
    /// Two outputs are of different kinds.
    #[error("output `{0}` is of another kind than the first output")]
    Mixed(String),
    /// A fixed output beside another.
    #[error("a derivation with a fixed output cannot have other outputs")]
    SeveralFixed,
    /// A fixed output with another name.
    #[error("the output of a fixed derivation must be named `out`, not `{0}`")]
    FixedName(String),
    /// Floating outputs with different hash functions.
    #[error("all floating outputs must use one hash algorithm, output `{0}` uses another")]
    FloatingAlgorithm(String),
}

impl DerivationOutput {
    /// The path, where it is known before the build.
    #[must_use]
    pub fn path(&self) -> Option<&StorePath> {
        match self {
            Self::InputAddressed(path) | Self::Fixed { path, .. } => Some(path),
            Self::Floating { .. } | Self::Deferred | Self::Impure { .. } => None,
        }
    }

    /// The kind of derivation that has outputs like this.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::InputAddressed(_) => Kind::InputAddressed,
            Self::Fixed { .. } => Kind::Fixed,
            Self::Floating { .. } => Kind::Floating,
            Self::Deferred => Kind::Deferred,
            Self::Impure { .. } => Kind::Impure,
        }
    }
}

impl Derivation {
    /// The path of the output called `name`, where there is one and its path is known.
    #[must_use]
    pub fn output_path(&self, name: &str) -> Option<&StorePath> {
        self.outputs.get(name).and_then(DerivationOutput::path)
    }

    /// Checks that the outputs go together and tells the kind.
    ///
    /// # Errors
    /// [`OutputsError`] with the rule that is broken.
    pub fn check_outputs(&self) -> Result<Kind, OutputsError> {
        let mut outputs = self.outputs.iter();
        let (name, first) = outputs.next().ok_or(OutputsError::None)?;
        for (other, output) in outputs {
            if output.kind() != first.kind() {
                return Err(OutputsError::Mixed(other.clone()));
            }
            match (first, output) {
                (DerivationOutput::Fixed { .. }, _) => return Err(OutputsError::SeveralFixed),
                (
                    DerivationOutput::Floating { algorithm: a, .. },
                    DerivationOutput::Floating { algorithm: b, .. },
                ) if a != b => return Err(OutputsError::FloatingAlgorithm(other.clone())),
                _ => {}
            }
        }
        if first.kind() == Kind::Fixed && name != "out" {
            return Err(OutputsError::FixedName(name.clone()));
        }
        Ok(first.kind())
    }

    /// The kind, by the first output: all are alike after [`Derivation::check_outputs`], which
    /// every reader calls. Without outputs it is input-addressed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.outputs.values().next().map_or(Kind::InputAddressed, DerivationOutput::kind)
    }

    /// Whether the contents are known before the build.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.kind() == Kind::Fixed
    }

    /// Whether the builder is a part of the engine (`builtin:…`).
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.builder.starts_with(b"builtin:")
    }

    /// Whether the platform can be written: it is printed without escapes, so a quote or backslash
    /// in it would make other fields of what is read back.
    #[must_use]
    pub fn platform_is_plain(&self) -> bool {
        memchr::memchr2(b'"', b'\\', &self.platform).is_none()
    }

    /// Why a derivation of this kind cannot be built, if it cannot.
    #[must_use]
    pub fn unsupported_reason(&self) -> Option<String> {
        let what = match self.kind() {
            // Its outputs are deferred as well; this is why.
            _ if self.input_drvs.values().any(|node| !node.dynamic.is_empty()) => {
                "dynamic derivations (outputs of outputs)"
            }
            Kind::Floating => "floating content-addressed outputs",
            Kind::Deferred => "outputs that depend on floating content-addressed ones",
            Kind::Impure => "impure derivations",
            Kind::InputAddressed | Kind::Fixed => return None,
        };
        Some(what.to_owned())
    }

    /// The path of the `.drv` file of this derivation.
    ///
    /// # Errors
    /// [`StorePathError`](super::store_path::StorePathError) if its name is no store path name.
    pub fn drv_path(
        &self,
        dir: &super::StoreDir,
    ) -> Result<StorePath, super::store_path::StorePathError> {
        let mut references = self.input_srcs.clone();
        references.extend(self.input_drvs.keys().cloned());
        let hash = super::Hash::sha256(&super::aterm::print(self, dir));
        super::output_path::text_path(dir, &format!("{}.drv", self.name), &hash, &references)
    }
}
