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
//! path to this. `machine` imports `format` only, `sandbox` imports `base` only. The places of
//! `hook` (programs that speak the build-hook protocol) and [`fetch`] (sources of paths) are kept;
//! nothing lives there yet.
//!
//! # Data flow
//! `cli::args` parses, `cli::config` resolves arguments, files and environment once. A command
//! opens the [`store`] and hands targets and settings to [`engine`]. There each turn is the same:
//! an event enters the [`machine`], the machine changes its goals and returns effects, the
//! dispatcher performs them. A launch hands a copy of what a job needs to a thread of its own; the
//! thread sends its moments back, again as events. Values go up, calls go down.
//!
//! # Threads of a run
//! The dispatcher (the caller's), one prober that answers what goals ask of the store in batches,
//! one thread a job, one registrar that is the process's only writer, one that turns signals into
//! messages, and the console. Builders hang under keepers, small processes forked by a nursery,
//! which end everything a builder leaves behind, also when drover itself is killed.
//!
//! # Invariants
//! - The machine has no clock, no I/O and no threads: the same events give the same effects. Every
//!   goal ends exactly once; nobody is left waiting; slots are conserved.
//! - A slot is held from its grant to the builder's exit, never by hashing, registration or waits.
//! - A path is valid when its row is committed, and its contents are on disk before that.
//! - Output locks are held until the commit: nobody sees a row without its contents.
//! - Control messages never block and are never lost; log lines may be, and are counted then.
//! - What goes wrong is either a `Failure` (why a goal did not succeed, plain data) or an `Error`
//!   (we could not do our work); neither is printed where it happens.

pub mod base;
pub mod format;

pub mod fetch;
pub mod machine;
pub mod sandbox;
pub mod store;

pub mod engine;

pub mod cli;
