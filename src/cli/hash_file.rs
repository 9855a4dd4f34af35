//! `drover hash file`: the hash of the contents of files.
//!
//! What a derivation with a flat fixed output states. The file is read once in pieces, so its size
//! does not matter. [`super::hash_path`] shares the flags and forms.

use std::io::{self, Read};
use std::path::Path;

use crate::format::hash::{Algorithm, Hash, Hasher};

use super::args::{HashAlgorithm, HashArgs, HashFormat};
use super::output;

/// Prints a hash a line.
///
/// # Errors
/// If a file cannot be read or standard output cannot be written.
pub fn run(args: &HashArgs) -> io::Result<()> {
    for path in &args.paths {
        let hash = hash(path, algorithm(args.algo)).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot read `{}`: {e}", path.display()))
        })?;
        output::line(&show(&hash, args.format))?;
    }
    Ok(())
}

fn hash(path: &Path, algorithm: Algorithm) -> io::Result<Hash> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// The hash function that a flag names.
#[must_use]
pub fn algorithm(flag: HashAlgorithm) -> Algorithm {
    match flag {
        HashAlgorithm::Md5 => Algorithm::Md5,
        HashAlgorithm::Sha1 => Algorithm::Sha1,
        HashAlgorithm::Sha256 => Algorithm::Sha256,
        HashAlgorithm::Sha512 => Algorithm::Sha512,
    }
}

/// A hash as it was asked for.
#[must_use]
pub fn show(hash: &Hash, format: HashFormat) -> String {
    match format {
        HashFormat::Base16 => hash.base16(),
        HashFormat::Nix32 => hash.base32(),
        HashFormat::Base64 => hash.base64(),
        HashFormat::Sri => hash.sri(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let got = hash(&path, Algorithm::Sha256).unwrap();
        assert_eq!(got, Hash::sha256(b"abc"));
        assert!(show(&got, HashFormat::Sri).starts_with("sha256-ungWv48B"));
        assert!(show(&got, HashFormat::Base16).starts_with("ba7816bf"));
    }
}
