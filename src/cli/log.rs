//! `drover log`: the log of a build, as it was.
//!
//! Byte for byte, escapes included, as a file one may pipe elsewhere; only the summary of a run
//! makes logs harmless for terminals. Where the log lies and whether it is compressed is the
//! store's business.

use std::io::{self, Read};

use crate::store::logs::LogFile;

use super::args::LogArgs;
use super::config::Config;
use super::store::{open_to_ask, resolve};
use super::{CliError, output};

/// Bytes copied at once.
const PIECE: usize = 1 << 16;

/// Prints the log.
///
/// # Errors
/// [`CliError::Input`] if there is none, others if it cannot be read.
pub fn run(config: &Config, args: &LogArgs) -> Result<(), CliError> {
    let store = open_to_ask(config)?;
    let path = resolve(store.layout(), &args.path)?;
    let Some(log) = store.find_log(&path)? else {
        let full = store.layout().store_dir.print(&path);
        let place = store.layout().log_dir.display();
        return Err(CliError::Input(format!(
            "build log of `{full}` is not available: none is kept below `{place}`; it was not \
             built here, or with `keep-build-log` off"
        )));
    };
    print(&log)
}

fn print(log: &LogFile) -> Result<(), CliError> {
    let mut source = log.open()?;
    let mut read_error = None;
    output::stream(|out| {
        let mut piece = vec![0; PIECE];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(got) => out.write_all(&piece[..got])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Kept apart: a broken log is no trouble of standard output.
                Err(e) => {
                    read_error = Some(e);
                    return Ok(());
                }
            }
        }
    })?;
    match read_error {
        None => Ok(()),
        Some(e) => {
            Err(CliError::Input(format!("cannot read the log `{}`: {e}", log.path.display())))
        }
    }
}
