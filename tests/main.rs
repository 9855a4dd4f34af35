//! The one test binary of what crosses module borders.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end there")]

/// The program from outside: arguments, configuration, exit codes.
mod cli;
/// Arrows between floors only go down.
mod floors;
/// drover and real Nix on one store.
mod interop;
/// Recipes from outside.
mod recipe;
/// Processes: limits, families, keepers.
mod sandbox;
/// The world tests live in.
mod support;
