//! Not joined yet.
use super::CliError;
use super::args::RegisterArgs;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &RegisterArgs) -> Result<(), CliError> {
    Err(CliError::NotJoined("register"))
}
