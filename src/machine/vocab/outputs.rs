//! Which outputs of a derivation are wanted: sets that only grow.
//!
//! They do not know which outputs a derivation has: a name that it lacks is found out when it is
//! loaded. Growth is told apart from no growth, since a goal must look again only after the first.

use std::sync::Arc;

/// Names of outputs: sorted, each once. A vector, since there are mostly one or two and there may
/// be millions of edges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Names(Vec<Arc<str>>);

impl<S: Into<Arc<str>>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut list: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
        Self(list)
    }
}

impl Names {
    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(name)).is_ok()
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a joined request asked for something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Nothing new.
    Same,
    /// More than before.
    Grew,
}

/// Which outputs of a derivation are wanted. Only ever grows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outputs {
    /// These.
    Named(Names),
    /// Each that the derivation has.
    All,
}

impl Outputs {
    /// These outputs.
    pub fn named<S: Into<Arc<str>>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Named(names.into_iter().collect())
    }

    /// Whether the output `name` is wanted.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    /// Whether all of `other` is wanted by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Named(_), Self::All) => false,
            (Self::Named(own), Self::Named(more)) => more.iter().all(|name| own.contains(name)),
        }
    }

    /// Adds what `other` wants.
    pub fn widen(&mut self, other: &Self) -> Growth {
        if self.covers(other) {
            return Growth::Same;
        }
        *self = match (&*self, other) {
            (Self::Named(own), Self::Named(more)) => {
                Self::Named(own.iter().chain(more.iter()).cloned().collect())
            }
            (Self::All, _) | (Self::Named(_), Self::All) => Self::All,
        };
        Growth::Grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_only_grow() {
        let mut wanted = Outputs::named(["out", "dev", "out"]);
        assert_eq!(wanted, Outputs::named(["dev", "out"]));
        assert_eq!(wanted.widen(&Outputs::named(["dev"])), Growth::Same);
        assert_eq!(wanted.widen(&Outputs::named(["man"])), Growth::Grew);
        assert!(wanted.covers(&Outputs::named(["man", "out"])) && !wanted.covers(&Outputs::All));
        assert_eq!(wanted.widen(&Outputs::All), Growth::Grew);
        assert_eq!(wanted.widen(&Outputs::named(["doc"])), Growth::Same);
        assert!(wanted.contains("anything"));
    }
}
