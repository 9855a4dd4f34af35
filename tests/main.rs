//! The one test binary of what crosses module borders.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end there")]

/// The program as a caller sees it.
mod cli;
/// Recipes from file to derivation.
mod recipe;
/// One process under its keeper: its world, its end, its limits, its family.
mod sandbox;
