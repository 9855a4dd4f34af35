//! NAR archives: strict reading and exact writing.
//!
//! A NAR is one file tree without owners, times and modes (but for "executable"): what Nix hashes
//! and sends. Each token is an 8-byte little-endian length, the bytes, and zeros up to a multiple
//! of 8. Names and targets are bytes; the entries of a folder are in strict order of their bytes,
//! so one tree has one NAR. Source: `src/libutil/archive.cc` of Nix, whose limits (depth, names,
//! targets) hold here too. Knows no disk: readers drive a [`Visitor`], writers take any `Write`.

mod read;
mod write;

pub use read::{Contents, Visitor, read, read_prefix};
pub use write::Writer;

/// The first token of every NAR.
pub const MAGIC: &[u8] = b"nix-archive-1";
/// Levels of a tree, its root included (`narMaxDepth`).
pub const MAX_DEPTH: usize = 64;
/// Longest name of an entry in bytes.
pub const MAX_NAME: usize = 255;
/// Longest target of a symlink in bytes.
pub const MAX_TARGET: usize = 4095;

/// Whether a regular file may be executed: all that a NAR keeps of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Executable {
    /// Mode 0555 in a store.
    Yes,
    /// Mode 0444 in a store.
    No,
}

/// Why bytes are not a NAR, or a tree cannot be written as one.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The source or the sink failed.
    #[error("cannot read or write the archive")]
    Io(#[from] std::io::Error),
    /// The bytes end in the middle.
    #[error("archive ends at byte {offset}, in the middle of a tree")]
    Truncated {
        /// Bytes that were read.
        offset: u64,
    },
    /// The bytes do not start as a NAR does.
    #[error("not a NAR archive: it does not start with `nix-archive-1`")]
    Magic,
    /// Another token than the grammar has here.
    #[error("bad archive: expected {expected} before byte {offset}, found `{found}`")]
    Token {
        /// What the grammar has here.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// Bytes that were read.
        offset: u64,
    },
    /// A token is longer than its kind may be.
    #[error("bad archive: {what} of {length} bytes before byte {offset}, at most {limit} allowed")]
    TooLong {
        /// Kind of the token.
        what: &'static str,
        /// Its declared length.
        length: u64,
        /// Longest allowed.
        limit: usize,
        /// Bytes that were read.
        offset: u64,
    },
    /// The bytes that fill a token up to a multiple of 8 are not zero.
    #[error("bad archive: padding before byte {offset} is not zero")]
    Padding {
        /// Bytes that were read.
        offset: u64,
    },
    /// A name that no entry may have.
    #[error("bad archive: invalid file name `{0}`")]
    Name(String),
    /// A symlink's target is empty or has a NUL.
    #[error("bad archive: invalid symlink target `{0}`")]
    Target(String),
    /// Names are not in strict order of their bytes.
    #[error("bad archive: `{name}` follows `{previous}`: entries are not sorted or occur twice")]
    Order {
        /// The entry.
        name: String,
        /// The entry before it.
        previous: String,
    },
    /// The tree is deeper than [`MAX_DEPTH`].
    #[error("bad archive: folders are nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Bytes follow the tree.
    #[error("bad archive: bytes follow its end at byte {offset}")]
    Trailing {
        /// Length of the tree in bytes.
        offset: u64,
    },
    /// A writer was given calls in an order that makes no NAR.
    #[error("archive writer misused: {0}")]
    Misuse(&'static str),
}

/// Zeros that follow a token of `len` bytes.
#[must_use]
pub fn padding(len: u64) -> usize {
    ((8 - len % 8) % 8) as usize
}

/// Checks what every name of an entry must fulfil.
///
/// # Errors
/// [`NarError::Name`] if it is empty, `.`, `..`, too long, or has a slash or NUL.
pub fn check_name(name: &[u8]) -> Result<(), NarError> {
    let bad = name.is_empty()
        || name.len() > MAX_NAME
        || name == b"."
        || name == b".."
        || memchr::memchr2(b'/', 0, name).is_some();
    if bad { Err(NarError::Name(lossy(name))) } else { Ok(()) }
}

/// Checks that `name` follows `previous`, empty for none.
fn check_order(previous: &[u8], name: &[u8]) -> Result<(), NarError> {
    if previous.is_empty() || name > previous {
        return Ok(());
    }
    Err(NarError::Order { name: lossy(name), previous: lossy(previous) })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
