//! Not joined yet.
use super::CliError;
use super::args::PathInfoArgs;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &PathInfoArgs) -> Result<(), CliError> {
    Err(CliError::NotJoined("path_info"))
}
