//! Talks: arguments in, text out.

pub mod config;
pub mod config_files;
pub mod config_store;
pub mod environment;
pub mod platform;
pub mod settings;

use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
