//! Not joined yet.
use super::CliError;
use super::args::NarCommand;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &NarCommand) -> Result<(), CliError> {
    Err(CliError::NotJoined("nar"))
}
