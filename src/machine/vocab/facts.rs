//! What the machine must know of one derivation: the dispatcher's answer to [`Question::Load`].
//!
//! The engine reads the `.drv` and judges systems, features and validity; the machine only ever
//! sees these verdicts. Invariant: nothing here changes while a goal lives.

use std::sync::Arc;

#[cfg(doc)]
use super::Question;
use super::{Failure, Outputs, StorePath};

/// Answer to [`Question::Load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// The `.drv` is not valid.
    Missing,
    /// It cannot be realised whatever is valid: unreadable, or of a kind that has no fixed paths.
    Bad(Failure),
    /// What it says and what of it is valid.
    Facts(Box<DrvFacts>),
}

/// What the machine must know of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrvFacts {
    /// All its outputs, sorted by name.
    pub outputs: Vec<OutputFacts>,
    /// Its input derivations and what it wants of each.
    pub input_drvs: Vec<(StorePath, Outputs)>,
    /// Those input sources that are *not* valid: each must come from a source.
    pub invalid_srcs: Vec<StorePath>,
    /// Derivations whose whole build-time graph it wants (`exportBuildReferencesGraph`).
    pub forced_drvs: Vec<StorePath>,
    /// System and features it needs, as a text; equal texts are one class of work for a hook.
    pub needs: Arc<str>,
    /// Whether this host can build it, by system and features. Slots are the machine's matter.
    pub here: Here,
    /// Whether a local build is tried before the hook.
    pub locality: Locality,
    /// Whether its outputs may come from sources.
    pub substitutes: Substitutes,
    /// Why it cannot be built, told only if it has to be.
    pub obstacle: Option<Failure>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Its path.
    pub path: StorePath,
    /// Whether it is there.
    pub validity: Validity,
}

/// Whether a path is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is (committed, or ingested by this run and pending).
    Valid,
    /// It is not.
    Invalid,
}

/// The engine's verdict on system and features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Here {
    /// This host can.
    Can,
    /// This host cannot: what it offers, as a text.
    Cannot {
        /// Systems and features offered.
        offered: Arc<str>,
    },
}

/// Where a build is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// At the hook.
    HookFirst,
    /// On this host (`preferLocalBuild`).
    LocalFirst,
}

/// Whether outputs may come from sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substitutes {
    /// Yes.
    Allowed,
    /// No (`allowSubstitutes` unset in the derivation).
    Never,
}
