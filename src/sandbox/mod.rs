//! Runs one process: from a plan to its exit and its log. Knows paths and plain data only.
//!
//! [`plan::SpawnPlan`] holds everything decided; [`steps::steps`] turns it into named steps, a pure
//! function; [`child`] performs them between clone and exec; [`run::run`] watches the process,
//! reads its log and returns when the process, and all it left behind, has ended.

pub mod child;
pub mod log;
mod order;
pub mod plan;
pub mod run;
pub mod steps;

pub use log::{Lines, LogSink, Tail};
pub use plan::{Limits, Locks, Personality, SpawnPlan};
pub use run::{Ended, Exit, Family, SandboxError, Usage, run};

/// Turns this process into what keeps builders if it was started as that. `main` calls this before
/// anything else.
pub fn main_if_keeper() -> Option<std::process::ExitCode> {
    crate::base::keeper::main_if_keeper(child::launch)
}
