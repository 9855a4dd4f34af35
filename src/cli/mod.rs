//! Talks: arguments in, text out.

use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
