//! Standard input, read whole and with a bound: an endless one is an error, not the end of memory.
//!
//! For commands that must see all of a text before they act on any of it (registrations,
//! derivations). What can be taken piece by piece, such as an archive, does not go through here.

use std::io::Read;

use super::CliError;

/// Reads standard input to its end, at most `most` bytes.
///
/// # Errors
/// [`CliError`] if it cannot be read or is longer.
pub fn read(most: u64) -> Result<Vec<u8>, CliError> {
    read_from(std::io::stdin().lock(), most)
}

fn read_from(input: impl Read, most: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more.
    input
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| CliError::Input(format!("cannot read standard input: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(CliError::Input(format!("standard input has more than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused() {
        assert_eq!(read_from(&b"1234"[..], 4).unwrap(), b"1234");
        assert!(read_from(&b"12345"[..], 4).is_err());
        let error = read_from(std::io::repeat(0), 1000).unwrap_err().to_string();
        assert_eq!(error, "standard input has more than 1000 bytes");
    }
}
