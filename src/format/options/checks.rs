//! Rules for outputs: references, sizes, scanning.
//!
//! What a derivation asks for, not whether it is met: `engine::judge` compares it with what was
//! built. The environment has one set of rules for all outputs and structured attributes one for
//! each, and they differ in whether a reference to oneself counts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Derivation, StoreDir, StorePath};
use super::{lossy, split};

/// What a rule about references names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefSpec {
    /// This path.
    Path(StorePath),
    /// The output of this name, or nothing that exists: the judge of the build says which.
    Output(String),
}

impl RefSpec {
    /// A store path, or else a name of an output.
    #[must_use]
    pub fn parse(text: &str, dir: &StoreDir) -> Self {
        dir.parse(text.as_bytes()).map_or_else(|_| Self::Output(text.to_owned()), Self::Path)
    }
}

/// What one output must fulfil. `None` is no rule; an empty set allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputChecks {
    /// References to itself do not count (rules in the environment).
    pub ignore_self_refs: bool,
    /// Bytes that its NAR may have.
    pub max_size: Option<u64>,
    /// Bytes that all NARs of its closure may have.
    pub max_closure_size: Option<u64>,
    /// What it may refer to.
    pub allowed_references: Option<BTreeSet<RefSpec>>,
    /// What its closure may hold.
    pub allowed_requisites: Option<BTreeSet<RefSpec>>,
    /// What it must not refer to.
    pub disallowed_references: BTreeSet<RefSpec>,
    /// What its closure must not hold.
    pub disallowed_requisites: BTreeSet<RefSpec>,
}

/// What the outputs must fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// Rules of one output by its name (structured attributes).
    pub per_output: BTreeMap<String, OutputChecks>,
    /// Rules of each output that has none of its own (environment).
    pub all: Option<OutputChecks>,
    /// `unsafeDiscardReferences`: outputs that are not scanned.
    pub discard_references: BTreeSet<String>,
}

impl Checks {
    /// The rules of the output called `name`, if it has any.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&OutputChecks> {
        self.per_output.get(name).or(self.all.as_ref())
    }

    /// Whether the output called `name` is not scanned for references.
    #[must_use]
    pub fn discards(&self, name: &str) -> bool {
        self.discard_references.contains(name)
    }

    pub(super) fn from_env(drv: &Derivation, dir: &StoreDir) -> Self {
        let refs = |name: &str| -> Option<BTreeSet<RefSpec>> {
            let text = drv.env.get(name.as_bytes())?;
            Some(split(text).into_iter().map(|t| RefSpec::parse(&lossy(t), dir)).collect())
        };
        let all = OutputChecks {
            ignore_self_refs: true,
            max_size: None,
            max_closure_size: None,
            allowed_references: refs("allowedReferences"),
            allowed_requisites: refs("allowedRequisites"),
            disallowed_references: refs("disallowedReferences").unwrap_or_default(),
            disallowed_requisites: refs("disallowedRequisites").unwrap_or_default(),
        };
        let nothing = OutputChecks { ignore_self_refs: true, ..OutputChecks::default() };
        Self { all: (all != nothing).then_some(all), ..Self::default() }
    }
}
