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
//! path to this. `machine` imports `format` only, `sandbox` imports `base` only. [`fetch`] (sources
//! of paths) is empty so far, and `hook` (programs that speak the build-hook protocol) has its
//! place in the picture alone.
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
//! a thread for each job at work, one registrar that is the only writer while a run goes on, one
//! that turns signals into messages, and the console. Builders hang under keepers, small processes
//! forked by a nursery, which end everything a builder leaves behind, also when drover itself is
//! killed.
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
//!
//! # Changing it
//! | to add | touch |
//! |---|---|
//! | a state or transition | the table in the head of [`machine::derivation`] or [`machine::substitution`], its line in the code below it, its row in the tests |
//! | a reason to fail | a variant in [`machine::failure`], the place that finds it, its words in [`engine::failure_words`] |
//! | a step of a builder's setup | its row in [`sandbox::steps`], its bytes in `sandbox::order`, its arm in `sandbox::child` |
//! | a kind of job | a variant of [`machine::vocab::Job`], a file in [`engine`], its arm in `engine::jobs` |
//! | a setting | its row in [`cli::settings`], its meaning in [`cli::config`] |
//! | a command | a file in [`cli`], its variant in [`cli::args`], its arm in `cli`, its row in the README |

pub mod base;
pub mod format;

pub mod fetch;
pub mod machine;
pub mod sandbox;
pub mod store;

pub mod engine;

pub mod cli;
