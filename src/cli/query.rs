//! Not joined yet.
use super::CliError;
use super::args::QueryArgs;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &QueryArgs) -> Result<(), CliError> {
    Err(CliError::NotJoined("query"))
}
