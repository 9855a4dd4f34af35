//! drover: a synchronous, thread-per-build engine that realises Nix-format derivations.
//!
//! # The house
//! ```text
//!         cli                  talks      arguments in, text out
//!          |
//!        engine        hook    connects   threads, channels, one build from top to bottom
//!       /   |   \      /
//!  machine store sandbox fetch            decides | remembers | runs one process | gets paths
//!       \   |   |   /
//!   format     base            bytes <-> values, pure | the operating system, said politely
//! ```
//! Arrows only go down and siblings do not see each other; `tests/floors.rs` holds every `crate::`
//! path to this. `machine` imports `format` only, `sandbox` imports `base` only.
//!
//! # Data flow
//! `cli::args` parses, `cli::config` resolves arguments, files and environment once. A command
//! opens the [`store`] and hands targets and settings to [`engine`]. There each turn is the same:
//! an event enters the [`machine`], the machine changes its goals and returns effects, the
//! dispatcher performs them. A launch hands a copy of what a job needs to a thread of its own; the
//! thread sends its moments back, again as events. Values go up, calls go down.

pub mod base;
pub mod format;

pub mod fetch;
pub mod machine;
pub mod sandbox;
pub mod store;

pub mod engine;

pub mod cli;
