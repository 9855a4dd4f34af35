//! Talks: arguments in, text out.

use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    if let Some(code) = crate::sandbox::main_if_keeper() {
        return code;
    }
    ExitCode::FAILURE
}
