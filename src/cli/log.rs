//! Not joined yet.
use super::CliError;
use super::args::LogArgs;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &LogArgs) -> Result<(), CliError> {
    Err(CliError::NotJoined("log"))
}
