//! The one test binary of what crosses module borders.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end there")]

/// One run of `drover build`: targets, goals, outputs, what it prints.
mod build;
/// The program from outside: arguments, configuration, exit codes.
mod cli;
/// Commands beside those of real Nix.
mod commands;
/// SIGKILL at any moment.
mod crash;
/// Full disks.
mod disks;
/// What reaches the disk, and when.
mod durable;
/// What a builder finds around it.
mod environment;
/// Builds that fail, and what is said, kept and left of them.
mod failures;
/// Arrows between floors only go down.
mod floors;
/// Bad input and hostile builders.
mod hostile;
/// Sizes, heads and places of things in the source.
mod house;
/// drover and real Nix on one store.
mod interop;
/// Signals, killed helpers, stuck terminals.
mod interrupt;
/// Interrupts in the middle of work that takes long.
mod midway;
/// Many processes on one store.
mod parallel;
/// The README says what is so.
mod readme;
/// Recipes from outside.
mod recipe;
/// One process under its keeper: its world, its end, its limits, its family.
mod sandbox;
/// How often the database is asked.
mod statements;
/// Stores that are not as they should be, and stores of a user's own.
mod stores;
/// The store and the programs that tests work with.
mod support;
