//! Where two trees differ first, for a second build that made something else.
//!
//! Sees what archives keep (types, names, contents, the executable bit) and nothing else, so it
//! finds a difference exactly when the hashes differ. Trees are walked without recursion and files
//! read in pieces: neither depth nor size matters.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::IngestError;

/// Compares what NARs keep of two trees and returns the first file, relative to the trees and in
/// the order of NARs, that differs or is in one of them only; empty for the trees themselves.
///
/// # Errors
/// [`IngestError::Io`] if a file of either cannot be read.
pub fn first_difference(a: &Path, b: &Path) -> Result<Option<PathBuf>, IngestError> {
    // Pairs that are still to be compared, the next one last.
    let mut waiting = vec![PathBuf::new()];
    while let Some(at) = waiting.pop() {
        let (left, right) = (join(a, &at), join(b, &at));
        match compare(&left, &right)? {
            Pair::Same => {}
            Pair::Different => return Ok(Some(at)),
            Pair::Folders(names, other) => {
                // The first name that only one of them has comes after the equal ones before it.
                let common = names.iter().zip(&other).take_while(|(x, y)| x == y).count();
                let odd = [names.get(common), other.get(common)].into_iter().flatten().min();
                waiting.extend(odd.map(|name| at.join(OsStr::from_bytes(name))));
                let common = names[..common].iter().rev();
                waiting.extend(common.map(|name| at.join(OsStr::from_bytes(name))));
            }
        }
    }
    Ok(None)
}

enum Pair {
    Same,
    Different,
    Folders(Vec<Vec<u8>>, Vec<Vec<u8>>),
}

/// Without the slash that joining nothing would add.
fn join(root: &Path, at: &Path) -> PathBuf {
    if at.as_os_str().is_empty() { root.to_path_buf() } else { root.join(at) }
}

fn compare(a: &Path, b: &Path) -> Result<Pair, IngestError> {
    let (Some(x), Some(y)) = (look(a)?, look(b)?) else { return Ok(Pair::Different) };
    let same = if x.is_dir() && y.is_dir() {
        return Ok(Pair::Folders(names(a)?, names(b)?));
    } else if x.is_symlink() && y.is_symlink() {
        target(a)? == target(b)?
    } else if x.is_file() && y.is_file() {
        x.len() == y.len() && x.mode() & 0o100 == y.mode() & 0o100 && same_contents(a, b)?
    } else {
        false
    };
    Ok(if same { Pair::Same } else { Pair::Different })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IngestError {
    move |source| IngestError::Io { doing, path: path.to_path_buf(), source }
}

fn look(path: &Path) -> Result<Option<Metadata>, IngestError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("looking at", path)(e)),
    }
}

fn target(path: &Path) -> Result<PathBuf, IngestError> {
    std::fs::read_link(path).map_err(failed("reading the symlink", path))
}

fn names(path: &Path) -> Result<Vec<Vec<u8>>, IngestError> {
    let listing = std::fs::read_dir(path).map_err(failed("listing", path))?;
    let names = listing.map(|entry| Ok(entry?.file_name().as_bytes().to_vec()));
    let mut names: Vec<_> =
        names.collect::<Result<_, io::Error>>().map_err(failed("listing", path))?;
    names.sort_unstable();
    Ok(names)
}

fn same_contents(a: &Path, b: &Path) -> Result<bool, IngestError> {
    let open = |path| {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
        opened.map_err(failed("opening", path))
    };
    let (mut x, mut y) = (open(a)?, open(b)?);
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let got = x.read(&mut left).map_err(failed("reading", a))?;
        if got == 0 {
            return Ok(true);
        }
        match y.read_exact(&mut right[..got]) {
            Ok(()) if left[..got] == right[..got] => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(failed("reading", b)(e)),
        }
    }
}
