//! The one test binary of what crosses module borders.

/// Commands beside those of real Nix.
mod commands;
/// One process under its keeper: its world, its end, its limits, its family.
mod sandbox;
/// The store and the programs that tests work with.
mod support;
