//! What ends a builder's whole family.

use std::process::ExitCode;

/// Turns this process into a keeper if it was started as one. `main` calls this before anything
/// else.
pub fn main_if_keeper() -> Option<ExitCode> {
    None
}
