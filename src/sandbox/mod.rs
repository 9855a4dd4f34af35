//! Runs one process: from a plan to its exit and its log. Knows paths and plain data only.
//!
//! [`plan::SpawnPlan`] holds everything decided; [`steps::steps`] turns it into named steps, a pure
//! function; [`child`] performs them between clone and exec; [`run::run`] watches the process, reads
//! its log and returns when the process, and all it left behind, has ended.

pub mod child;
pub mod log;
pub mod plan;
pub mod run;
pub mod steps;

pub use log::{Lines, LogSink, Tail};
pub use plan::{Limits, Personality, SpawnPlan};
pub use run::{Ended, Exit, Family, SandboxError, Usage, run};
