//! Gets paths from elsewhere: caches, files, other stores.
//!
//! No source is built in yet. The machine already knows sources by number and asks them in order
//! (`machine::substitution`); until there is one, a run has none, and what only a source could give
//! is absent.
