//! Not joined yet.
use super::CliError;
use super::args::DerivationCommand;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &DerivationCommand) -> Result<(), CliError> {
    Err(CliError::NotJoined("derivation"))
}
