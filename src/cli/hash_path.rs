//! `drover hash path`: the hash of the archives (NAR) of files and folders.
//!
//! What a derivation with a recursive fixed output states, and what the store keeps of each path.
//! The archive is never made: it is hashed as it would be written.

use crate::store::source::nar_sum;

use super::args::HashArgs;
use super::{CliError, hash_file, output};

/// Prints a hash a line.
///
/// # Errors
/// If a file cannot be read or standard output cannot be written.
pub fn run(args: &HashArgs) -> Result<(), CliError> {
    for path in &args.paths {
        let sum = nar_sum(path, hash_file::algorithm(args.algo))?;
        output::line(&hash_file::show(&sum.hash, args.format))?;
    }
    Ok(())
}
