//! Not joined yet.
use super::CliError;
use super::args::DumpDbArgs;
/// Not joined yet.
///
/// # Errors
/// Always.
pub fn run(_: &super::config::Config, _: &DumpDbArgs) -> Result<(), CliError> {
    Err(CliError::NotJoined("dump_db"))
}
